/* Giving up root. */
#include "emu/sandbox/sandbox.h"

#include <errno.h>
#include <gio/gio.h>
#include <grp.h>
#include <pwd.h>
#include <sys/types.h>
#include <unistd.h>

bool sandbox_drop_user(const char *name, GError **error)
{
    errno = 0;
    const struct passwd *user = getpwnam(name);
    if (!user) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND, "there is no user \"%s\"%s%s", name,
                    errno ? ": " : "", errno ? g_strerror(errno) : "");
        return false;
    }
    uid_t uid = user->pw_uid;
    gid_t gid = user->pw_gid;
    /* The C library has every thread do it. */
    if (initgroups(name, gid) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot become user %s: %s%s",
                    name, g_strerror(errno),
                    errno == EPERM ? "; only root can change the user" : "");
        return false;
    }
    if (uid != 0 && setuid(0) == 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "user %s can still become root", name);
        return false;
    }
    return true;
}

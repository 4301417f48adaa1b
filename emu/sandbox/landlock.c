/* Files: the Landlock part. The kernel's own numbers, since the headers may be older than it. */
#include "emu/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FS_EXECUTE     (UINT64_C(1) << 0)
#define FS_WRITE_FILE  (UINT64_C(1) << 1)
#define FS_READ_FILE   (UINT64_C(1) << 2)
#define FS_READ_DIR    (UINT64_C(1) << 3)
#define FS_REMOVE_FILE (UINT64_C(1) << 5)
#define FS_MAKE_REG    (UINT64_C(1) << 8)
#define FS_MAKE_SOCK   (UINT64_C(1) << 9)
#define FS_TRUNCATE    (UINT64_C(1) << 14) /* version 3 */
#define FS_IOCTL_DEV   (UINT64_C(1) << 15) /* version 5 */
#define FS_OF_FILES    (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

#define NET_BIND_TCP    UINT64_C(1) /* version 4 */
#define NET_CONNECT_TCP UINT64_C(2)
#define SCOPE_ABSTRACT  UINT64_C(1) /* version 6: abstract sockets, signals */
#define SCOPE_SIGNAL    UINT64_C(2)
#define CREATE_VERSION  1u
#define RULE_PATH       1

struct ruleset_attributes {
    uint64_t handled_fs, handled_net, scoped;
};

struct path_attributes {
    uint64_t allowed;
    int32_t parent;
} __attribute__((packed));

struct rule {
    int fd; /* O_PATH */
    unsigned access;
    bool folder;
};

struct sandbox {
    GArray *rules; /* struct rule */
};

struct sandbox *sandbox_new(void)
{
    struct sandbox *sandbox = g_new0(struct sandbox, 1);
    sandbox->rules = g_array_new(FALSE, FALSE, sizeof(struct rule));
    return sandbox;
}

void sandbox_free(struct sandbox *sandbox)
{
    if (!sandbox)
        return;
    for (guint i = 0; i < sandbox->rules->len; i++)
        close(g_array_index(sandbox->rules, struct rule, i).fd);
    g_array_unref(sandbox->rules);
    g_free(sandbox);
}

void sandbox_allow(struct sandbox *sandbox, const char *path, unsigned access)
{
    struct stat status;
    int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &status) != 0) {
        close(fd);
        return;
    }
    struct rule rule = {fd, access, S_ISDIR(status.st_mode)};
    g_array_append_val(sandbox->rules, rule);
}

/* All that a version of Landlock can forbid. */
static struct ruleset_attributes everything(long version, bool network)
{
    unsigned bits = version >= 5 ? 16 : version >= 3 ? 15 : version >= 2 ? 14 : 13;
    return (struct ruleset_attributes){
        .handled_fs = (UINT64_C(1) << bits) - 1,
        .handled_net = version >= 4 && !network ? NET_BIND_TCP | NET_CONNECT_TCP : 0,
        .scoped = version >= 6 ? SCOPE_ABSTRACT | SCOPE_SIGNAL : 0,
    };
}

static size_t attributes_size(long version)
{
    return version >= 6 ? 24 : version >= 4 ? 16 : 8;
}

static uint64_t rights(const struct rule *rule)
{
    uint64_t bits = 0;
    if (rule->access & SANDBOX_READ)
        bits |= FS_READ_FILE | FS_READ_DIR;
    if (rule->access & SANDBOX_WRITE)
        bits |= FS_WRITE_FILE | FS_TRUNCATE;
    if (rule->access & SANDBOX_DEVICE)
        bits |= FS_IOCTL_DEV;
    if (rule->access & SANDBOX_SOCKETS)
        bits |= FS_MAKE_SOCK | FS_REMOVE_FILE;
    if (rule->access & SANDBOX_CREATE)
        bits |= FS_MAKE_REG | FS_REMOVE_FILE;
    return rule->folder ? bits : bits & FS_OF_FILES;
}

static bool fail(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "%s: %s", what, g_strerror(errno));
    return false;
}

static bool add_rules(int ruleset, const struct sandbox *sandbox, uint64_t handled, GError **error)
{
    for (guint i = 0; i < sandbox->rules->len; i++) {
        const struct rule *rule = &g_array_index(sandbox->rules, struct rule, i);
        struct path_attributes path = {rights(rule) & handled, rule->fd};
        if (path.allowed && syscall(SYS_landlock_add_rule, ruleset, RULE_PATH, &path, 0u) != 0)
            return fail(error, "cannot add a Landlock rule");
    }
    return true;
}

bool sandbox_confine_files(struct sandbox *sandbox, bool network, GError **error)
{
    long version = syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, CREATE_VERSION);
    if (version < 1) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED, "this kernel has no Landlock");
        return false;
    }
    struct ruleset_attributes attributes = everything(version, network);
    int ruleset =
        (int)syscall(SYS_landlock_create_ruleset, &attributes, attributes_size(version), 0u);
    if (ruleset < 0)
        return fail(error, "cannot make a Landlock ruleset");
    bool ok = add_rules(ruleset, sandbox, attributes.handled_fs, error);
    if (ok && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
               syscall(SYS_landlock_restrict_self, ruleset, 0u) != 0))
        ok = fail(error, "cannot enter the Landlock ruleset");
    close(ruleset);
    return ok;
}

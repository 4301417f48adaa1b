/*
 * System calls: the seccomp part. One list for all threads: CPU threads run device code, too.
 *
 * Nothing can be made executable from here on (translated code lives in mappings made before), no
 * program can be started, no process made or looked into, no file system or key touched.
 */
#include "emu/sandbox/sandbox.h"

#include <errno.h>
#include <gio/gio.h>
#include <linux/if_tun.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const allowed[] = {
    /* files; which ones is Landlock's matter */
    "access",
    "close",
    "copy_file_range",
    "dup",
    "dup2",
    "dup3",
    "faccessat",
    "faccessat2",
    "fallocate",
    "fadvise64",
    "fcntl",
    "fchmod",
    "fdatasync",
    "flock",
    "fstat",
    "fstatfs",
    "fsync",
    "ftruncate",
    "getcwd",
    "getdents64",
    "link",
    "linkat",
    "lseek",
    "lstat",
    "newfstatat",
    "open",
    "openat",
    "pread64",
    "preadv",
    "preadv2",
    "pwrite64",
    "pwritev",
    "pwritev2",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "stat",
    "statfs",
    "statx",
    "sync_file_range",
    "truncate",
    "umask",
    "unlink",
    "unlinkat",
    "utimensat",
    "write",
    "writev",
    /* memory */
    "brk",
    "madvise",
    "membarrier",
    "memfd_create",
    "mincore",
    "mlock",
    "mremap",
    "msync",
    "munlock",
    "munmap",
    /* threads and time */
    "clock_getres",
    "clock_gettime",
    "clock_nanosleep",
    "exit",
    "exit_group",
    "futex",
    "get_robust_list",
    "getcwd",
    "getcpu",
    "getpid",
    "getrandom",
    "getrusage",
    "gettid",
    "gettimeofday",
    "nanosleep",
    "restart_syscall",
    "rseq",
    "rt_sigpending",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_get_priority_max",
    "sched_get_priority_min",
    "sched_getattr",
    "sched_setattr",
    "sched_getparam",
    "sched_getscheduler",
    "sched_yield",
    "set_robust_list",
    "setitimer",
    "sigaltstack",
    "sysinfo",
    "time",
    "times",
    "timer_create",
    "timer_delete",
    "timer_settime",
    "uname",
    /* waiting */
    "epoll_create",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "epoll_pwait2",
    "epoll_wait",
    "eventfd",
    "eventfd2",
    "pipe",
    "pipe2",
    "poll",
    "ppoll",
    "pselect6",
    "select",
    "signalfd4",
    "timerfd_create",
    "timerfd_gettime",
    "timerfd_settime",
    /* disks */
    "io_uring_enter",
    "io_uring_register",
    /* sockets that are there */
    "accept",
    "accept4",
    "getpeername",
    "getsockname",
    "getsockopt",
    "listen",
    "recvfrom",
    "recvmmsg",
    "recvmsg",
    "sendmmsg",
    "sendmsg",
    "sendto",
    "setsockopt",
    "shutdown",
    /* who we are */
    "getegid",
    "geteuid",
    "getgid",
    "getppid",
    "getuid",
};

/* Refused without ending the process: what uses them knows how to go on. */
static const struct {
    const char *name;
    int error;
} refused[] = {
    {"clone3", ENOSYS},         /* its flags are out of sight; clone() is tried next */
    {"io_uring_setup", ENOSYS}, /* a new ring would know no list of system calls */
    {"prlimit64", EPERM},       {"sched_setaffinity", EPERM}, {"sched_setscheduler", EPERM},
    {"mlock2", EPERM},
};

static bool rule(scmp_filter_ctx filter, uint32_t action, const char *name, unsigned count,
                 const struct scmp_arg_cmp *compare)
{
    int call = seccomp_syscall_resolve_name(name);
    if (call == __NR_SCMP_ERROR)
        return true; /* this architecture, or this libseccomp, does not know it */
    return seccomp_rule_add_array(filter, action, call, count, compare) == 0;
}

static bool allow_if(scmp_filter_ctx filter, const char *name, struct scmp_arg_cmp compare)
{
    return rule(filter, SCMP_ACT_ALLOW, name, 1, &compare);
}

static bool refuse_if(scmp_filter_ctx filter, const char *name, struct scmp_arg_cmp compare)
{
    return rule(filter, SCMP_ACT_ERRNO(EPERM), name, 1, &compare);
}

/* Memory must not become code. */
static bool add_memory_rules(scmp_filter_ctx filter)
{
    return allow_if(filter, "mmap", SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0)) &&
           allow_if(filter, "mprotect", SCMP_A2_64(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
}

/* Threads, but no processes. */
static bool add_thread_rules(scmp_filter_ctx filter)
{
    uint64_t own = (uint64_t)getpid();
    return allow_if(
               filter, "clone",
               SCMP_A0_64(SCMP_CMP_MASKED_EQ, CLONE_THREAD | CLONE_VM, CLONE_THREAD | CLONE_VM)) &&
           allow_if(filter, "tgkill", SCMP_A0_64(SCMP_CMP_EQ, own, 0)) &&
           allow_if(filter, "kill", SCMP_A0_64(SCMP_CMP_EQ, own, 0)) &&
           allow_if(filter, "rt_sigaction", SCMP_A0_64(SCMP_CMP_NE, SIGSYS, 0)) &&
           allow_if(filter, "prctl", SCMP_A0_64(SCMP_CMP_EQ, PR_SET_NAME, 0));
}

static bool add_ioctl_rules(scmp_filter_ctx filter)
{
    /* By type: KVM and block devices. Of terminals, files, sockets and tap interfaces: what sets
     * and asks for their modes, not what types into a terminal. */
    static const uint64_t types[] = {0xae, 0x12};
    static const uint64_t single[] = {TCGETS,   TCSETS,  TCSETSW,  TCSETSF, TIOCGWINSZ,
                                      FIONREAD, FIONBIO, FIONCLEX, FIOCLEX, TUNSETOFFLOAD};
    bool ok = true;
    for (size_t i = 0; i < G_N_ELEMENTS(types); i++)
        ok = ok && allow_if(filter, "ioctl", SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xff00, types[i] << 8));
    for (size_t i = 0; i < G_N_ELEMENTS(single); i++)
        ok = ok && allow_if(filter, "ioctl", SCMP_A1_64(SCMP_CMP_MASKED_EQ, 0xffffffff, single[i]));
    return ok;
}

/* libslirp opens a socket for each of the guest's connections. */
static bool add_network_rules(scmp_filter_ctx filter, bool network)
{
    static const char *const calls[] = {"socket", "connect", "bind"};
    bool ok = true;
    for (size_t i = 0; i < G_N_ELEMENTS(calls); i++) {
        if (!network)
            ok = ok && rule(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0, NULL);
        else if (i > 0)
            ok = ok && rule(filter, SCMP_ACT_ALLOW, calls[i], 0, NULL);
    }
    if (!network)
        return ok;
    /* What the C library may try of itself is told no. */
    return ok && allow_if(filter, "socket", SCMP_A0_64(SCMP_CMP_EQ, AF_INET, 0)) &&
           allow_if(filter, "socket", SCMP_A0_64(SCMP_CMP_EQ, AF_INET6, 0)) &&
           refuse_if(filter, "socket", SCMP_A0_64(SCMP_CMP_EQ, AF_UNIX, 0)) &&
           refuse_if(filter, "socket", SCMP_A0_64(SCMP_CMP_EQ, AF_NETLINK, 0));
}

static bool fill(scmp_filter_ctx filter, bool network)
{
    bool ok = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1) == 0 &&
              seccomp_attr_set(filter, SCMP_FLTATR_CTL_NNP, 1) == 0;
    for (size_t i = 0; i < G_N_ELEMENTS(allowed); i++)
        ok = ok && rule(filter, SCMP_ACT_ALLOW, allowed[i], 0, NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(refused); i++)
        ok = ok &&
             rule(filter, SCMP_ACT_ERRNO((uint32_t)refused[i].error), refused[i].name, 0, NULL);
    return ok && add_memory_rules(filter) && add_thread_rules(filter) && add_ioctl_rules(filter) &&
           add_network_rules(filter, network);
}

/* In a signal handler, on whatever stack there is. libseccomp's names are looked up only now, when
 * nothing is left to lose. */
static void violated(int number, siginfo_t *info, void *context)
{
    char text[96];
    char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, info->si_syscall);
    int length = g_snprintf(text, sizeof(text), "drover-emu: ended by its sandbox: system call %s",
                            name ? name : "");
    if (!name)
        length += g_snprintf(text + length, sizeof(text) - (gulong)length, "%d", info->si_syscall);
    text[length] = '\n';
    if (write(STDERR_FILENO, text, (size_t)length + 1) < 0)
        _exit(128 + SIGSYS);
    _exit(128 + SIGSYS);
}

bool sandbox_confine_calls(bool network, GError **error)
{
    struct sigaction action = {.sa_sigaction = violated, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    /* The handler cannot be replaced from here on: rt_sigaction() of SIGSYS is no longer allowed.
     */
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
    bool ok = filter && fill(filter, network);
    int code = ok ? seccomp_load(filter) : -ENOMEM;
    if (filter)
        seccomp_release(filter);
    if (code == 0)
        return true;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(-code),
                "cannot install the system call filter: %s", g_strerror(-code));
    return false;
}

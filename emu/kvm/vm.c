/* /dev/kvm, what it offers, and the VM of a board. */
#include "emu/kvm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DEVICE "/dev/kvm"

/* Where processors that cannot run real mode by themselves keep helpers of the kernel: below the
 * largest firmware, above the APICs. */
#define IDENTITY_MAP UINT64_C(0xfeffc000)
#define TSS_ADDRESS  UINT64_C(0xfeffd000)

/* ---- the host ---------------------------------------------------------------------------- */

static bool fail(GError **error, const char *what)
{
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "KVM: %s: %s", what,
                g_strerror(errno));
    return false;
}

static bool has_chips(const struct kvm_host *host)
{
    static const int needed[] = {KVM_CAP_IRQCHIP,     KVM_CAP_PIT2,       KVM_CAP_PIT_STATE2,
                                 KVM_CAP_IRQ_ROUTING, KVM_CAP_SIGNAL_MSI, KVM_CAP_MP_STATE};
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (ioctl(host->fd, KVM_CHECK_EXTENSION, needed[i]) <= 0)
            return false;
    }
    return true;
}

static bool check_capabilities(struct kvm_host *host, GError **error)
{
    static const struct {
        int number;
        const char *what;
    } needed[] = {
        {KVM_CAP_USER_MEMORY, "memory of the process as guest memory"},
        {KVM_CAP_READONLY_MEM, "read-only memory"},
        {KVM_CAP_IMMEDIATE_EXIT, "leaving a CPU at once"},
        {KVM_CAP_EXT_CPUID, "CPUID by leaf and subleaf"},
        {KVM_CAP_VCPU_EVENTS, "events in flight"},
        {KVM_CAP_DEBUGREGS, "debug registers"},
        {KVM_CAP_XSAVE, "the floating-point state"},
        {KVM_CAP_USER_NMI, "non-maskable interrupts"},
        {KVM_CAP_X86_USER_SPACE_MSR, "model-specific registers in user space"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (ioctl(host->fd, KVM_CHECK_EXTENSION, needed[i].number) > 0)
            continue;
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "KVM of this host's kernel lacks what the engine needs: %s (capability %d)",
                    needed[i].what, needed[i].number);
        return false;
    }
    host->slots = (unsigned)MAX(ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS), 32);
    host->sregs2 = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_SREGS2) > 0;
    host->msr_filter = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_X86_MSR_FILTER) > 0;
    host->tsc_scaling = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
    host->chips = has_chips(host);
    host->deadline_timer = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
    host->clock = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_ADJUST_CLOCK) > 0;
    host->irqfd = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_IRQFD) > 0;
    host->ioeventfd = ioctl(host->fd, KVM_CHECK_EXTENSION, KVM_CAP_IOEVENTFD) > 0;
    host->deadline = host->chips ? host->deadline_timer : host->msr_filter;
    return true;
}

bool kvm_host_open(struct kvm_host *ret_host, GError **error)
{
    struct kvm_host host = {.fd = open(DEVICE, O_RDWR | O_CLOEXEC)};
    if (host.fd < 0) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno), "cannot open " DEVICE ": %s%s",
                    g_strerror(errno),
                    errno == EACCES   ? "; the user needs to be in its group (kvm)"
                    : errno == ENOENT ? "; this kernel offers no virtualization here"
                                      : "");
        return false;
    }
    int version = ioctl(host.fd, KVM_GET_API_VERSION, 0);
    host.run_size = ioctl(host.fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    bool ok = version == KVM_API_VERSION && host.run_size > 0;
    if (!ok)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "KVM speaks version %d of its interface, this engine %d", version,
                    KVM_API_VERSION);
    if (!ok || !check_capabilities(&host, error)) {
        close(host.fd);
        return false;
    }
    *ret_host = host;
    return true;
}

void kvm_host_close(struct kvm_host *host)
{
    close(host->fd);
}

struct kvm_cpuid2 *kvm_host_cpuid(const struct kvm_host *host, GError **error)
{
    for (unsigned room = 128; room <= 4096; room *= 2) {
        struct kvm_cpuid2 *cpuid =
            g_malloc0(sizeof(*cpuid) + room * sizeof(struct kvm_cpuid_entry2));
        cpuid->nent = room;
        if (ioctl(host->fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0)
            return cpuid;
        g_free(cpuid);
        if (errno != E2BIG)
            break;
    }
    fail(error, "cannot ask for CPUID");
    return NULL;
}

/* ---- the VM ------------------------------------------------------------------------------ */

/* The TSC deadline is the local APIC's. Where that is the board's, or the model has no deadline,
 * the kernel would take it and do nothing. */
bool kvm_vm_filter(struct kvm_vm *vm, const struct cpu_model *model, GError **error)
{
    uint8_t none = 0;
    struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
    filter.ranges[0] =
        (struct kvm_msr_filter_range){.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
                                      .nmsrs = 1,
                                      .base = KVM_MSR_TSC_DEADLINE,
                                      .bitmap = &none};
    bool needed = !vm->chips || !has_feature(&model->features, FEATURE_TSC_DEADLINE);
    if (vm->filtered || !vm->host.msr_filter || !needed)
        return true;
    vm->filtered = true;
    if (ioctl(vm->fd, KVM_X86_SET_MSR_FILTER, &filter) == 0)
        return true;
    return fail(error, "cannot have the TSC deadline in user space");
}

static bool set_up(struct kvm_vm *vm, GError **error)
{
    uint64_t identity = IDENTITY_MAP;
    struct kvm_enable_cap msrs = {.cap = KVM_CAP_X86_USER_SPACE_MSR,
                                  .args[0] =
                                      KVM_MSR_EXIT_REASON_INVAL | KVM_MSR_EXIT_REASON_UNKNOWN |
                                      (vm->host.msr_filter ? KVM_MSR_EXIT_REASON_FILTER : 0)};
    struct kvm_enable_cap failures = {.cap = KVM_CAP_EXIT_ON_EMULATION_FAILURE, .args[0] = 1};
    vm->fd = ioctl(vm->host.fd, KVM_CREATE_VM, 0);
    if (vm->fd < 0)
        return fail(error, "cannot make a virtual machine");
    fcntl(vm->fd, F_SETFD, FD_CLOEXEC);
    if (ioctl(vm->fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
        ioctl(vm->fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0)
        return fail(error, "cannot set the kernel's helper pages");
    if (ioctl(vm->fd, KVM_ENABLE_CAP, &msrs) < 0)
        return fail(error, "cannot have model-specific registers in user space");
    if (!kvm_chips_create(vm, error))
        return false;
    ioctl(vm->fd, KVM_ENABLE_CAP, &failures); /* older kernels do so at level 0 only */
    return kvm_slots_sync(vm, error);
}

static void free_vm(struct kvm_vm *vm)
{
    kvm_chips_finish(vm);
    if (vm->fd >= 0)
        close(vm->fd);
    kvm_host_close(&vm->host);
    g_array_unref(vm->slots);
    g_array_unref(vm->watched);
    g_free(vm->kept);
    pthread_mutex_destroy(&vm->clock.lock);
    pthread_mutex_destroy(&vm->gate.lock);
    pthread_cond_destroy(&vm->gate.changed);
    pthread_mutex_destroy(&vm->lock);
    g_free(vm);
}

struct kvm_vm *kvm_vm_get(struct board *board, GError **error)
{
    struct kvm_vm *vm = board->engine;
    if (!vm) {
        struct kvm_host host;
        if (!kvm_host_open(&host, error))
            return NULL;
        vm = g_new0(struct kvm_vm, 1);
        vm->board = board;
        vm->host = host;
        vm->fd = -1;
        vm->slots = g_array_new(FALSE, TRUE, sizeof(struct kvm_slot));
        vm->watched = g_array_new(FALSE, FALSE, sizeof(struct kvm_watched));
        pthread_mutex_init(&vm->lock, NULL);
        pthread_mutex_init(&vm->clock.lock, NULL);
        pthread_mutex_init(&vm->gate.lock, NULL);
        pthread_cond_init(&vm->gate.changed, NULL);
        if (!set_up(vm, error)) {
            free_vm(vm);
            return NULL;
        }
        board->engine = vm;
        board_lock(board);
        kvm_eventfds_init(vm);
        board_unlock(board);
        dirty_set_source(board->memory, &kvm_dirty_source, vm);
    }
    vm->users++;
    return vm;
}

void kvm_vm_put(struct kvm_vm *vm)
{
    if (!vm || --vm->users > 0)
        return;
    vm->board->engine = NULL;
    board_lock(vm->board);
    kvm_eventfds_finish(vm);
    board_unlock(vm->board);
    dirty_set_source(vm->board->memory, NULL, NULL);
    free_vm(vm);
}

/*
 * Is KVM what `auto` should take? There are kernels that offer /dev/kvm where the processor does
 * not virtualize, and interpret the guest's kernel: slower than this program's own translator. The
 * processor tells: without VMX (Intel) or SVM (AMD) it is not the hardware that runs guests.
 */
#include "emu/kvm/kvm.h"

#include <cpuid.h>
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static bool hardware_virtualizes(void)
{
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) && c >> 5 & 1)
        return true;
    return __get_cpuid(0x80000001, &a, &b, &c, &d) && c >> 2 & 1;
}

/* ---- a CPU of three instructions --------------------------------------------------------- */

#define PROBE_PORT 0x42
/* mov al, 0x17; out PROBE_PORT, al; hlt, at address 0 */
static const uint8_t program[] = {0xb0, 0x17, 0xe6, PROBE_PORT, 0xf4};

static bool run_program(int cpu, const struct kvm_run *run)
{
    struct kvm_sregs sregs;
    struct kvm_regs regs = {.rip = 0, .rflags = 2};
    if (ioctl(cpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(cpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(cpu, KVM_SET_REGS, &regs) < 0 ||
        ioctl(cpu, KVM_RUN, 0) < 0)
        return false;
    return run->exit_reason == KVM_EXIT_IO && run->io.port == PROBE_PORT &&
           *((const uint8_t *)run + run->io.data_offset) == 0x17;
}

static bool probe_with(const struct kvm_host *host, int vm, void *page)
{
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_PAGE_SIZE,
                                                 .userspace_addr = (uintptr_t)page};
    uint64_t identity = 0xfeffc000;
    memcpy(page, program, sizeof(program));
    ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity);
    ioctl(vm, KVM_SET_TSS_ADDR, 0xfeffd000UL);
    int cpu = ioctl(vm, KVM_CREATE_VCPU, 0UL);
    if (cpu < 0)
        return false;
    bool ok = false;
    void *run = mmap(NULL, (size_t)host->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu, 0);
    if (run != MAP_FAILED) {
        ok = ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0 && run_program(cpu, run);
        munmap(run, (size_t)host->run_size);
    }
    close(cpu);
    return ok;
}

bool kvm_host_probe(const struct kvm_host *host, GError **error)
{
    bool ok = false;
    int vm = ioctl(host->fd, KVM_CREATE_VM, 0UL);
    void *page =
        mmap(NULL, MEMORY_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (vm >= 0 && page != MAP_FAILED)
        ok = probe_with(host, vm, page);
    if (vm >= 0)
        close(vm);
    if (page != MAP_FAILED)
        munmap(page, MEMORY_PAGE_SIZE);
    if (!ok)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED,
                    "KVM is there, but a virtual CPU that it makes does not run");
    return ok;
}

bool kvm_recommended(const char *text, GError **error)
{
    struct kvm_host host;
    struct cpu_model model;
    if (!hardware_virtualizes()) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "the processor does not virtualize (neither VMX nor SVM)");
        return false;
    }
    if (!cpu_model_parse(text, &model, error) || !kvm_host_open(&host, error))
        return false;
    g_autofree struct kvm_cpuid2 *cpuid = kvm_host_cpuid(&host, error);
    bool ok = cpuid && kvm_fit_model(&model, &host, cpuid, error) && kvm_host_probe(&host, error);
    kvm_host_close(&host);
    return ok;
}

/*
 * CPU models and CPUID (SDM volume 2, CPUID).
 *
 * Family 6 model 0x36 is an in-order Atom: operating systems know it as free of speculative
 * execution flaws and of the errata of its contemporaries, so they leave out work-arounds that
 * would only cost time here. The features are the model's own, not that Atom's.
 */
#include "emu/cpu/models.h"
#include "emu/cpu/system.h"
#include <string.h>

#define BIT(n) (UINT32_C(1) << (n))

/* leaf 1 EDX */
#define FPU     BIT(0)
#define DE      BIT(2)
#define PSE     BIT(3)
#define TSC     BIT(4)
#define MSR     BIT(5)
#define PAE     BIT(6)
#define MCE     BIT(7)
#define CX8     BIT(8)
#define APIC    BIT(9)
#define SEP     BIT(11)
#define MTRR    BIT(12)
#define PGE     BIT(13)
#define MCA     BIT(14)
#define CMOV    BIT(15)
#define PAT     BIT(16)
#define PSE36   BIT(17)
#define CLFLUSH BIT(19)
#define MMX     BIT(23)
#define FXSR    BIT(24)
#define SSE     BIT(25)
#define SSE2    BIT(26)
#define COMMON_EDX                                                                                 \
    (FPU | DE | PSE | TSC | MSR | PAE | MCE | CX8 | APIC | SEP | MTRR | PGE | MCA | CMOV | PAT |   \
     PSE36 | CLFLUSH | MMX | FXSR | SSE | SSE2)
/* leaf 1 ECX */
#define SSE3         BIT(0)
#define SSSE3        BIT(9)
#define CX16         BIT(13)
#define SSE41        BIT(19)
#define SSE42        BIT(20)
#define X2APIC       BIT(21)
#define POPCNT       BIT(23)
#define TSC_DEADLINE BIT(24)
#define HYPERVISOR   BIT(31)
/* leaf 7 */
#define FSGSBASE   BIT(0)
#define TSC_ADJUST BIT(1)
#define SMEP       BIT(7)
#define ERMS       BIT(9)
#define SMAP       BIT(20)
#define UMIP       BIT(2) /* ECX */
/* leaf 0x80000001 */
#define LAHF64  BIT(0) /* ECX */
#define SYSCALL BIT(11)
#define NX      BIT(20)
#define PAGE1G  BIT(26)
#define RDTSCP  BIT(27)
#define LM      BIT(29)

const struct cpu_model cpu_model_table[] = {
    {
        .name = "x86-64-v2",
        .leaf1_ecx = SSE3 | SSSE3 | CX16 | SSE41 | SSE42 | POPCNT | HYPERVISOR,
        .leaf1_edx = COMMON_EDX,
        .leaf7_ebx = FSGSBASE | TSC_ADJUST | SMEP | ERMS | SMAP,
        .leaf7_ecx = UMIP,
        .extended1_ecx = LAHF64,
        .extended1_edx = SYSCALL | NX | PAGE1G | RDTSCP | LM,
    },
    {
        .name = "x86-64-v1",
        .leaf1_ecx = HYPERVISOR,
        .leaf1_edx = COMMON_EDX,
        .extended1_edx = SYSCALL | NX | LM,
    },
    {0},
};

const struct cpu_model *cpu_model_find(const char *name)
{
    for (const struct cpu_model *model = cpu_model_table; model->name; model++)
        if (!strcmp(model->name, name))
            return model;
    return NULL;
}

#define HIGHEST_BASIC    0x16
#define HIGHEST_EXTENDED 0x80000008

static void set(uint32_t out[4], uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

static void set_brand(uint32_t out[4], unsigned part)
{
    char brand[48] = "Drover Virtual CPU";
    memcpy(out, brand + 16 * part, 16);
}

void system_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    const struct cpu_model *m = cpu->model;

    set(out, 0, 0, 0, 0);
    /* Beyond the range the highest basic leaf answers. */
    if (leaf < 0x40000000 ? leaf > HIGHEST_BASIC : leaf >= 0x80000000 && leaf > HIGHEST_EXTENDED)
        leaf = HIGHEST_BASIC;
    switch (leaf) {
    case 0: /* GenuineIntel */
        set(out, HIGHEST_BASIC, 0x756e6547, 0x6c65746e, 0x49656e69);
        break;
    case 1: {
        uint64_t apic_base;
        uint32_t edx = m->leaf1_edx;
        if (cpu->ops->read_msr(cpu->opaque, 0x1b, &apic_base) && !(apic_base & 0x800))
            edx &= ~APIC;
        set(out, 0x00030661, cpu->index << 24 | 1 << 16 | 8 << 8, m->leaf1_ecx, edx);
        break;
    }
    case 2:
        set(out, 0x00000001, 0, 0, 0);
        break;
    case 4: /* one level of data, instruction and unified cache each */
        if (subleaf == 0)
            set(out, 0x00000121, 7 << 22 | 63, 63, 0);
        else if (subleaf == 1)
            set(out, 0x00000122, 7 << 22 | 63, 63, 0);
        else if (subleaf == 2)
            set(out, 0x00000143, 15 << 22 | 63, 1023, 0);
        break;
    case 7:
        if (subleaf == 0)
            set(out, 0, m->leaf7_ebx, m->leaf7_ecx, 0);
        break;
    case 0x15: /* TSC = crystal; the local APIC's timer counts the same crystal */
        set(out, 1, 1, TSC_HZ, 0);
        break;
    case 0x16:
        set(out, TSC_HZ / 1000000, TSC_HZ / 1000000, TSC_HZ / 1000000, 0);
        break;
    case 0x40000000:
        set(out, 0x40000000, 0x766f7244, 0x72447265, 0x7265766f); /* DroverDrover */
        break;
    case 0x80000000:
        set(out, HIGHEST_EXTENDED, 0, 0, 0);
        break;
    case 0x80000001:
        set(out, 0, 0, m->extended1_ecx, m->extended1_edx);
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        set_brand(out, leaf - 0x80000002);
        break;
    case 0x80000006:
        set(out, 0, 0, 1024 << 16 | 6 << 12 | 64, 0);
        break;
    case 0x80000007:
        set(out, 0, 0, 0, BIT(8)); /* invariant TSC */
        break;
    case 0x80000008:
        set(out, 40 | 48 << 8, 0, 0, 0);
        break;
    }
}

/* Model-specific registers (SDM volume 4). Unknown ones raise #GP, as reserved ones do. */
#include "emu/core/clock.h"
#include "emu/cpu/journal.h"
#include "emu/cpu/mmu.h"
#include "emu/cpu/models.h"
#include "emu/cpu/system.h"
#include <sys/random.h>

enum msr {
    MSR_KVM_WALL_CLOCK_OLD = 0x11,
    MSR_KVM_SYSTEM_TIME_OLD,
    MSR_TSC = 0x10,
    MSR_APIC_BASE = 0x1b,
    MSR_TSC_ADJUST = 0x3b,
    MSR_UCODE = 0x8b,
    MSR_MTRR_CAP = 0xfe,
    MSR_SYSENTER_CS = 0x174,
    MSR_SYSENTER_ESP,
    MSR_SYSENTER_EIP,
    MSR_MCG_CAP = 0x179,
    MSR_MCG_STATUS = 0x17a,
    MSR_MISC_ENABLE = 0x1a0,
    MSR_MTRR_BASE0 = 0x200,
    MSR_MTRR_FIX64 = 0x250,
    MSR_MTRR_FIX16A = 0x258,
    MSR_MTRR_FIX4 = 0x268,
    MSR_PAT = 0x277,
    MSR_MTRR_DEF_TYPE = 0x2ff,
    MSR_TSC_DEADLINE = 0x6e0,
    MSR_XSS = 0xda0,
    MSR_KVM_WALL_CLOCK = 0x4b564d00,
    MSR_KVM_SYSTEM_TIME,
    MSR_EFER = 0xc0000080,
    MSR_STAR,
    MSR_LSTAR,
    MSR_CSTAR,
    MSR_FMASK,
    MSR_FS_BASE = 0xc0000100,
    MSR_GS_BASE,
    MSR_KERNEL_GS_BASE,
    MSR_TSC_AUX,
};

uint64_t cpu_read_tsc(const struct cpu *cpu)
{
    if (unlikely(cpu->journal))
        journal_device(cpu->journal, JOURNAL_CLOCK, 0, 0, 8);
    return (uint64_t)guest_clock_now(cpu->board->clock) + cpu->s.tsc_offset;
}

bool cpu_random(struct cpu *cpu, uint64_t *ret_value)
{
    uint64_t value;
    if (unlikely(cpu->journal))
        journal_device(cpu->journal, JOURNAL_CLOCK, 0, 0, 8);
    if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
        return false;
    *ret_value = value;
    return true;
}

static uint64_t *fixed_mtrr(struct cpu *cpu, uint32_t index)
{
    if (index == MSR_MTRR_FIX64)
        return &cpu->s.mtrr_fixed[0];
    if (index == MSR_MTRR_FIX16A || index == MSR_MTRR_FIX16A + 1)
        return &cpu->s.mtrr_fixed[1 + index - MSR_MTRR_FIX16A];
    if (index >= MSR_MTRR_FIX4 && index < MSR_MTRR_FIX4 + 8)
        return &cpu->s.mtrr_fixed[3 + index - MSR_MTRR_FIX4];
    if (index >= MSR_MTRR_BASE0 && index < MSR_MTRR_BASE0 + 2 * MTRR_VARIABLE) {
        unsigned i = index - MSR_MTRR_BASE0;
        return i & 1 ? &cpu->s.mtrr_mask[i / 2] : &cpu->s.mtrr_base[i / 2];
    }
    return NULL;
}

/* Registers that hold what is written to them. */
static uint64_t *plain(struct cpu *cpu, uint32_t index, bool *ret_address)
{
    *ret_address = false;
    switch (index) {
    case MSR_SYSENTER_CS:
        return &cpu->s.sysenter_cs;
    case MSR_STAR:
        return &cpu->s.star;
    case MSR_FMASK:
        return &cpu->s.fmask;
    case MSR_MISC_ENABLE:
        return &cpu->s.misc_enable;
    case MSR_MTRR_DEF_TYPE:
        return &cpu->s.mtrr_def_type;
    case MSR_MCG_STATUS:
        return &cpu->s.mcg_status;
    case MSR_TSC_AUX:
        return &cpu->s.tsc_aux;
    }
    *ret_address = true;
    switch (index) {
    case MSR_SYSENTER_ESP:
        return &cpu->s.sysenter_esp;
    case MSR_SYSENTER_EIP:
        return &cpu->s.sysenter_eip;
    case MSR_LSTAR:
        return &cpu->s.lstar;
    case MSR_CSTAR:
        return &cpu->s.cstar;
    case MSR_FS_BASE:
        return &cpu->s.seg[SEG_FS].base;
    case MSR_GS_BASE:
        return &cpu->s.seg[SEG_GS].base;
    case MSR_KERNEL_GS_BASE:
        return &cpu->s.kernel_gs_base;
    }
    *ret_address = false;
    return fixed_mtrr(cpu, index);
}

/* Registers that came with a feature; all of them with RDMSR itself. */
static bool exists(const struct cpu *cpu, uint32_t index)
{
    static const struct {
        uint32_t first, last;
        uint16_t feature;
    } rows[] = {
        {MSR_TSC, MSR_TSC, FEATURE_TSC},
        {MSR_APIC_BASE, MSR_APIC_BASE, FEATURE_APIC},
        {MSR_TSC_ADJUST, MSR_TSC_ADJUST, FEATURE_TSC_ADJUST},
        {MSR_MTRR_CAP, MSR_MTRR_CAP, FEATURE_MTRR},
        {MSR_PAT, MSR_PAT, FEATURE_PAT}, /* among the MTRRs */
        {MSR_SYSENTER_CS, MSR_SYSENTER_EIP, FEATURE_SEP},
        {MSR_MCG_CAP, MSR_MCG_STATUS, FEATURE_MCA},
        {MSR_MTRR_BASE0, MSR_MTRR_FIX4 + 7, FEATURE_MTRR},
        {MSR_MTRR_DEF_TYPE, MSR_MTRR_DEF_TYPE, FEATURE_MTRR},
        {MSR_TSC_DEADLINE, MSR_TSC_DEADLINE, FEATURE_TSC_DEADLINE},
        {0x800, 0x8ff, FEATURE_X2APIC},
        {MSR_KVM_WALL_CLOCK_OLD, MSR_KVM_SYSTEM_TIME_OLD, FEATURE_KVMCLOCK},
        {MSR_KVM_WALL_CLOCK, MSR_KVM_SYSTEM_TIME, FEATURE_KVMCLOCK},
        {MSR_STAR, MSR_FMASK, FEATURE_SYSCALL},
        {MSR_FS_BASE, MSR_KERNEL_GS_BASE, FEATURE_LM},
        {MSR_TSC_AUX, MSR_TSC_AUX, FEATURE_RDTSCP},
        {MSR_XSS, MSR_XSS, FEATURE_XSAVES},
    };
    const struct feature_set *set = &cpu->model->features;
    /* Long mode, SYSCALL and NX share EFER. */
    if (index == MSR_EFER)
        return cpu->model->efer_bits;
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++)
        if (index >= rows[i].first && index <= rows[i].last)
            return has_feature(set, rows[i].feature);
    return true;
}

static bool is_apic(uint32_t index)
{
    return index == MSR_APIC_BASE || index == MSR_TSC_DEADLINE || (index >= 0x800 && index < 0x900);
}

/* The local APIC counts guest time, the guest its time stamps. */
static uint64_t to_guest_time(const struct cpu *cpu, uint64_t tsc)
{
    int64_t time = (int64_t)(tsc - cpu->s.tsc_offset);
    return tsc == 0 ? 0 : time <= 0 ? 1 : (uint64_t)time;
}

static bool read_apic(struct cpu *cpu, uint32_t index, uint64_t *ret_value)
{
    if (!cpu->ops->read_msr(cpu->opaque, index, ret_value))
        return false;
    if (index == MSR_TSC_DEADLINE && *ret_value)
        *ret_value += cpu->s.tsc_offset;
    return true;
}

static bool write_apic(struct cpu *cpu, uint32_t index, uint64_t value)
{
    bool extended = index == MSR_APIC_BASE && value & 0x400;
    if (extended && !has_feature(&cpu->model->features, FEATURE_X2APIC))
        return false;
    if (index == MSR_TSC_DEADLINE)
        value = to_guest_time(cpu, value);
    return cpu->ops->write_msr(cpu->opaque, index, value);
}

/* A deadline stays at its time stamp. */
static void set_tsc_offset(struct cpu *cpu, uint64_t offset)
{
    uint64_t deadline = 0;
    bool armed = has_feature(&cpu->model->features, FEATURE_TSC_DEADLINE) &&
                 read_apic(cpu, MSR_TSC_DEADLINE, &deadline) && deadline;
    cpu->s.tsc_offset = offset;
    if (armed)
        write_apic(cpu, MSR_TSC_DEADLINE, deadline);
    paravirtual_write_time(cpu);
}

bool system_read_msr(struct cpu *cpu, uint32_t index, uint64_t *ret_value)
{
    bool address;
    if (!exists(cpu, index))
        return false;
    if (is_apic(index))
        return read_apic(cpu, index, ret_value);
    uint64_t *value = plain(cpu, index, &address);
    if (value) {
        *ret_value = *value;
        return true;
    }
    switch (index) {
    case MSR_TSC:
        *ret_value = cpu_read_tsc(cpu);
        return true;
    case MSR_TSC_ADJUST:
        *ret_value = cpu->s.tsc_offset;
        return true;
    case MSR_UCODE:
        *ret_value = UINT64_C(1) << 32;
        return true;
    case MSR_MTRR_CAP:
        *ret_value = MTRR_VARIABLE | 1 << 8 | 1 << 10; /* fixed ranges, write combining */
        return true;
    case MSR_MCG_CAP:
        *ret_value = 0; /* no banks */
        return true;
    case MSR_PAT:
        *ret_value = cpu->s.pat;
        return true;
    case MSR_KVM_WALL_CLOCK_OLD:
    case MSR_KVM_WALL_CLOCK:
        *ret_value = cpu->s.kvm_wall_clock;
        return true;
    case MSR_KVM_SYSTEM_TIME_OLD:
    case MSR_KVM_SYSTEM_TIME:
        *ret_value = cpu->s.kvm_system_time;
        return true;
    case MSR_EFER:
        *ret_value = cpu->s.efer;
        return true;
    case MSR_XSS: /* there is no supervisor state */
    case 0x17:    /* platform id */
    case 0x2a:    /* power-on configuration */
        *ret_value = 0;
        return true;
    }
    return false;
}

static bool write_efer(struct cpu *cpu, uint64_t value)
{
    uint64_t may = cpu->model->efer_bits;
    uint64_t old = cpu->s.efer;
    if (value & ~(may | EFER_LMA))
        return false;
    if ((old ^ value) & EFER_LME && cpu->s.cr0 & CR0_PG)
        return false;
    cpu->s.efer = (value & may) | (old & EFER_LMA);
    if ((old ^ value) & EFER_NXE)
        mmu_flush(cpu);
    cpu_update_mode(cpu);
    return true;
}

static bool valid_pat(uint64_t value)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned type = value >> (8 * i) & 0xff;
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

bool system_write_msr(struct cpu *cpu, uint32_t index, uint64_t value)
{
    bool address;
    if (!exists(cpu, index))
        return false;
    if (is_apic(index))
        return write_apic(cpu, index, value);
    uint64_t *at = plain(cpu, index, &address);
    if (at) {
        if (address && !canonical(value))
            return false;
        *at = value;
        return true;
    }
    switch (index) {
    case MSR_TSC:
        set_tsc_offset(cpu, cpu->s.tsc_offset + value - cpu_read_tsc(cpu));
        return true;
    case MSR_TSC_ADJUST:
        set_tsc_offset(cpu, value);
        return true;
    case MSR_KVM_WALL_CLOCK_OLD:
    case MSR_KVM_WALL_CLOCK:
        cpu->s.kvm_wall_clock = value;
        paravirtual_write_wall_clock(cpu);
        return true;
    case MSR_KVM_SYSTEM_TIME_OLD:
    case MSR_KVM_SYSTEM_TIME:
        cpu->s.kvm_system_time = value;
        paravirtual_write_time(cpu);
        return true;
    case MSR_EFER:
        return write_efer(cpu, value);
    case MSR_PAT:
        if (!valid_pat(value))
            return false;
        cpu->s.pat = value;
        return true;
    case MSR_UCODE:
        return true;
    case MSR_XSS:
        return value == 0;
    }
    return false;
}

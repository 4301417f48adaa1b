/* A CPU's state, moved between struct cpu_state and the kernel. */
#include "emu/kvm/kvm.h"

#include "emu/core/clock.h"
#include "emu/cpu/system.h"
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/ioctl.h>

#define MSR_APIC_BASE 0x1b

bool kvm_fail(struct kvm_cpu *kv, const char *what)
{
    g_autofree char *why = g_strdup_printf("KVM: %s: %s", what, g_strerror(errno));
    cpu_shutdown(kv->cpu, why);
    return false;
}

/* ---- model-specific registers that the kernel keeps -------------------------------------- */

#define AT(member) offsetof(struct cpu_state, member)

static const struct {
    uint32_t index;
    unsigned count; /* indices that follow each other */
    size_t offset, step;
} kept[] = {
    {0x174, 1, AT(sysenter_cs), 0},
    {0x175, 1, AT(sysenter_esp), 0},
    {0x176, 1, AT(sysenter_eip), 0},
    {0x17a, 1, AT(mcg_status), 0},
    {0x1a0, 1, AT(misc_enable), 0},
    {0x277, 1, AT(pat), 0},
    {0x2ff, 1, AT(mtrr_def_type), 0},
    {0x200, MTRR_VARIABLE, AT(mtrr_base), 2},
    {0x201, MTRR_VARIABLE, AT(mtrr_mask), 2},
    {0x250, 1, AT(mtrr_fixed[0]), 1},
    {0x258, 2, AT(mtrr_fixed[1]), 1},
    {0x268, 8, AT(mtrr_fixed[3]), 1},
    {0xc0000081, 1, AT(star), 0},
    {0xc0000082, 1, AT(lstar), 0},
    {0xc0000083, 1, AT(cstar), 0},
    {0xc0000084, 1, AT(fmask), 0},
    {0xc0000102, 1, AT(kernel_gs_base), 0},
    {0xc0000103, 1, AT(tsc_aux), 0},
};

static uint64_t *msr_place(struct cpu_state *s, uint32_t index)
{
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        unsigned step = MAX(kept[i].step, 1), at = index - kept[i].index;
        if (index >= kept[i].index && at % step == 0 && at / step < kept[i].count)
            return (uint64_t *)((uint8_t *)s + kept[i].offset) + at / step;
    }
    return NULL;
}

static bool one_msr(struct kvm_cpu *kv, unsigned long request, uint32_t index, uint64_t *value)
{
    union {
        struct kvm_msrs msrs;
        uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } one = {.room = {0}};
    one.msrs.nmsrs = 1;
    one.msrs.entries[0] = (struct kvm_msr_entry){.index = index, .data = *value};
    if (ioctl(kv->fd, request, &one) != 1)
        return false;
    *value = one.msrs.entries[0].data;
    return true;
}

bool kvm_get_msr(struct kvm_cpu *kv, uint32_t index, uint64_t *ret_value)
{
    *ret_value = 0;
    return one_msr(kv, KVM_GET_MSRS, index, ret_value);
}

bool kvm_set_msr(struct kvm_cpu *kv, uint32_t index, uint64_t value)
{
    return one_msr(kv, KVM_SET_MSRS, index, &value);
}

static void find_msrs(struct kvm_cpu *kv)
{
    unsigned count = 0, room = 0;
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++)
        room += kept[i].count;
    kv->msrs = g_malloc0(sizeof(*kv->msrs) + room * sizeof(struct kvm_msr_entry));
    for (size_t i = 0; i < G_N_ELEMENTS(kept); i++) {
        for (unsigned j = 0; j < kept[i].count; j++) {
            uint32_t index = kept[i].index + j * (unsigned)MAX(kept[i].step, 1);
            uint64_t value = 0;
            if (one_msr(kv, KVM_GET_MSRS, index, &value))
                kv->msrs->entries[count++].index = index;
        }
    }
    kv->msrs->nmsrs = count;
}

bool kvm_tsc_out(struct kvm_cpu *kv)
{
    uint64_t tsc = 0;
    if (!one_msr(kv, KVM_GET_MSRS, KVM_MSR_TSC, &tsc))
        return kvm_fail(kv, "KVM_GET_MSRS of the time-stamp counter");
    kv->cpu->s.tsc_offset = tsc - (uint64_t)guest_clock_now(kv->cpu->board->clock);
    return true;
}

bool kvm_tsc_in(struct kvm_cpu *kv)
{
    uint64_t tsc = (uint64_t)guest_clock_now(kv->cpu->board->clock) + kv->cpu->s.tsc_offset;
    if (kv->set_tsc && !one_msr(kv, KVM_SET_MSRS, KVM_MSR_TSC, &tsc))
        return kvm_fail(kv, "KVM_SET_MSRS of the time-stamp counter");
    kv->set_tsc = false;
    return true;
}

static uint64_t scale(const struct kvm_cpu *kv, uint64_t tsc, int64_t up, int64_t down)
{
    uint64_t now = (uint64_t)guest_clock_now(kv->cpu->board->clock) + kv->cpu->s.tsc_offset;
    return now + (uint64_t)((__int128)(int64_t)(tsc - now) * up / down);
}

uint64_t kvm_tsc_to_board(const struct kvm_cpu *kv, uint64_t tsc)
{
    return scale(kv, tsc, TSC_HZ / 1000, kv->tsc_khz);
}

uint64_t kvm_tsc_from_board(const struct kvm_cpu *kv, uint64_t tsc)
{
    return scale(kv, tsc, kv->tsc_khz, TSC_HZ / 1000);
}

static bool msrs_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    if (ioctl(kv->fd, KVM_GET_MSRS, kv->msrs) != (int)kv->msrs->nmsrs)
        return kvm_fail(kv, "KVM_GET_MSRS");
    for (unsigned i = 0; i < kv->msrs->nmsrs; i++)
        *msr_place(s, kv->msrs->entries[i].index) = kv->msrs->entries[i].data;
    return kvm_tsc_out(kv);
}

static bool msrs_in(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    for (unsigned i = 0; i < kv->msrs->nmsrs; i++)
        kv->msrs->entries[i].data = *msr_place(s, kv->msrs->entries[i].index);
    int done = ioctl(kv->fd, KVM_SET_MSRS, kv->msrs);
    if (done != (int)kv->msrs->nmsrs) {
        uint32_t index = done >= 0 ? kv->msrs->entries[done].index : 0;
        g_autofree char *what =
            g_strdup_printf("model-specific register %#x cannot be what it is", index);
        errno = EINVAL;
        return kvm_fail(kv, what);
    }
    return kvm_tsc_in(kv);
}

/* ---- general registers ------------------------------------------------------------------- */

static bool regs_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    struct kvm_regs r;
    if (ioctl(kv->fd, KVM_GET_REGS, &r) < 0)
        return kvm_fail(kv, "KVM_GET_REGS");
    const uint64_t values[GPR_COUNT] = {r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi,
                                        r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15};
    memcpy(s->gpr, values, sizeof(values));
    s->rip = kv->out_rip = r.rip;
    s->rflags = r.rflags;
    return true;
}

static bool regs_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    const uint64_t *g = s->gpr;
    struct kvm_regs r = {.rax = g[RAX],
                         .rbx = g[RBX],
                         .rcx = g[RCX],
                         .rdx = g[RDX],
                         .rsi = g[RSI],
                         .rdi = g[RDI],
                         .rsp = g[RSP],
                         .rbp = g[RBP],
                         .r8 = g[R8],
                         .r9 = g[R9],
                         .r10 = g[R10],
                         .r11 = g[R11],
                         .r12 = g[R12],
                         .r13 = g[R13],
                         .r14 = g[R14],
                         .r15 = g[R15],
                         .rip = s->rip,
                         .rflags = s->rflags | 2};
    return ioctl(kv->fd, KVM_SET_REGS, &r) == 0 || kvm_fail(kv, "KVM_SET_REGS");
}

/* In the middle of a port access, whose value the kernel puts into RAX when it is entered again. */
void kvm_registers(struct cpu *cpu, bool to_guest)
{
    struct kvm_cpu *kv = cpu->kvm;
    if (kv->place == KVM_STATE_THERE)
        to_guest ? regs_in(kv) : regs_out(kv);
}

/* ---- segments and control registers ------------------------------------------------------ */

static struct segment segment_out(const struct kvm_segment *k)
{
    unsigned a = k->type | (k->s ? SEG_S : 0) | k->dpl << SEG_DPL_SHIFT |
                 (k->present && !k->unusable ? SEG_P : 0) | (k->avl ? SEG_AVL : 0) |
                 (k->l ? SEG_L : 0) | (k->db ? SEG_DB : 0) | (k->g ? SEG_G : 0);
    return (struct segment){
        .base = k->base, .limit = k->limit, .selector = k->selector, .attributes = (uint16_t)a};
}

static struct kvm_segment segment_in(const struct segment *s)
{
    unsigned a = s->attributes;
    return (struct kvm_segment){.base = s->base,
                                .limit = s->limit,
                                .selector = s->selector,
                                .type = a & SEG_TYPE,
                                .present = (a & SEG_P) != 0,
                                .dpl = SEG_DPL(a),
                                .db = (a & SEG_DB) != 0,
                                .s = (a & SEG_S) != 0,
                                .l = (a & SEG_L) != 0,
                                .g = (a & SEG_G) != 0,
                                .avl = (a & SEG_AVL) != 0,
                                .unusable = !(a & SEG_P)};
}

/* KVM_GET_SREGS2 has no more than KVM_GET_SREGS but for the page directory pointers, and stands
 * where the interrupt bitmap was. */
static bool get_sregs(struct kvm_cpu *kv, struct kvm_sregs2 *ret)
{
    struct kvm_sregs old;
    if (kv->vm->host.sregs2)
        return ioctl(kv->fd, KVM_GET_SREGS2, ret) == 0 || kvm_fail(kv, "KVM_GET_SREGS2");
    if (ioctl(kv->fd, KVM_GET_SREGS, &old) < 0)
        return kvm_fail(kv, "KVM_GET_SREGS");
    memset(ret, 0, sizeof(*ret));
    memcpy(ret, &old, offsetof(struct kvm_sregs, interrupt_bitmap));
    return true;
}

static bool set_sregs(struct kvm_cpu *kv, const struct kvm_sregs2 *sregs)
{
    struct kvm_sregs old = {0};
    if (kv->vm->host.sregs2)
        return ioctl(kv->fd, KVM_SET_SREGS2, sregs) == 0 || kvm_fail(kv, "KVM_SET_SREGS2");
    memcpy(&old, sregs, offsetof(struct kvm_sregs, interrupt_bitmap));
    return ioctl(kv->fd, KVM_SET_SREGS, &old) == 0 || kvm_fail(kv, "KVM_SET_SREGS");
}

static bool pae_paging(const struct cpu_state *s)
{
    return s->cr0 & CR0_PG && s->cr4 & CR4_PAE && !(s->efer & EFER_LMA);
}

static void pointers_out(struct kvm_cpu *kv, const struct kvm_sregs2 *sregs)
{
    struct cpu_state *s = &kv->cpu->s;
    if (sregs->flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
        memcpy(s->pdpte, sregs->pdptrs, sizeof(s->pdpte));
    else if (pae_paging(s))
        memory_read(kv->vm->board->memory, s->cr3 & 0xffffffe0, s->pdpte, sizeof(s->pdpte));
}

static bool sregs_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    struct kvm_sregs2 k;
    if (!get_sregs(kv, &k))
        return false;
    const struct kvm_segment *segments[] = {&k.es, &k.cs, &k.ss, &k.ds, &k.fs, &k.gs};
    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++)
        s->seg[i] = segment_out(segments[i]);
    s->ldtr = segment_out(&k.ldt);
    s->tr = segment_out(&k.tr);
    s->gdtr = (struct descriptor_table){k.gdt.base, k.gdt.limit};
    s->idtr = (struct descriptor_table){k.idt.base, k.idt.limit};
    s->cpl = k.cr0 & CR0_PE ? k.ss.dpl : 0;
    s->cr0 = k.cr0;
    s->cr2 = k.cr2;
    s->cr3 = k.cr3;
    s->cr4 = k.cr4;
    s->efer = k.efer;
    pointers_out(kv, &k);
    if (kv->vm->chips) {
        kv->cr8 = (unsigned)k.cr8;
        kv->apic_base = k.apic_base;
    }
    return true;
}

static bool sregs_in(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    const struct cpu_state *s = &cpu->s;
    struct kvm_sregs2 k = {.cr0 = s->cr0,
                           .cr2 = s->cr2,
                           .cr3 = s->cr3,
                           .cr4 = s->cr4,
                           .cr8 = kv->cr8,
                           .efer = s->efer};
    struct kvm_segment *segments[] = {&k.es, &k.cs, &k.ss, &k.ds, &k.fs, &k.gs};
    for (unsigned i = 0; i < G_N_ELEMENTS(segments); i++)
        *segments[i] = segment_in(&s->seg[i]);
    k.ss.dpl = s->cpl; /* where the kernel takes the privilege level from */
    k.ldt = segment_in(&s->ldtr);
    k.tr = segment_in(&s->tr);
    k.gdt.base = s->gdtr.base;
    k.gdt.limit = s->gdtr.limit;
    k.idt.base = s->idtr.base;
    k.idt.limit = s->idtr.limit;
    if (!kv->vm->chips && !cpu->ops->read_msr(cpu->opaque, MSR_APIC_BASE, &kv->apic_base))
        kv->apic_base = 0;
    k.apic_base = kv->apic_base;
    if (pae_paging(s)) {
        k.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
        memcpy(k.pdptrs, s->pdpte, sizeof(k.pdptrs));
    }
    return set_sregs(kv, &k);
}

/* ---- the rest ---------------------------------------------------------------------------- */

static bool debug_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    struct kvm_debugregs d;
    if (ioctl(kv->fd, KVM_GET_DEBUGREGS, &d) < 0)
        return kvm_fail(kv, "KVM_GET_DEBUGREGS");
    memcpy(s->dr, d.db, sizeof(d.db));
    s->dr[6] = d.dr6;
    s->dr[7] = d.dr7;
    return true;
}

static bool debug_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    struct kvm_debugregs d = {.dr6 = s->dr[6], .dr7 = s->dr[7]};
    memcpy(d.db, s->dr, sizeof(d.db));
    return ioctl(kv->fd, KVM_SET_DEBUGREGS, &d) == 0 || kvm_fail(kv, "KVM_SET_DEBUGREGS");
}

static bool events_out(struct kvm_cpu *kv)
{
    struct cpu *cpu = kv->cpu;
    struct kvm_vcpu_events e;
    if (ioctl(kv->fd, KVM_GET_VCPU_EVENTS, &e) < 0)
        return kvm_fail(kv, "KVM_GET_VCPU_EVENTS");
    cpu->s.shadow = e.interrupt.shadow != 0;
    cpu->s.nmi_blocked = e.nmi.masked;
    if (e.nmi.pending) {
        atomic_fetch_or(&cpu->requests, REQUEST_NMI);
        atomic_store(&cpu->attention, 1);
    }
    kv->event.is_there = true;
    kv->event.has_error = false;
    if (e.exception.injected || e.exception.pending) {
        kv->event.vector = e.exception.nr;
        kv->event.has_error = e.exception.has_error_code;
        kv->event.error = e.exception.error_code;
    } else if (e.nmi.injected) {
        kv->event.vector = VEC_NMI;
    } else if (e.interrupt.injected && !e.interrupt.soft) {
        kv->event.vector = e.interrupt.nr;
    } else {
        kv->event.is_there = false; /* INT n is simply executed again */
    }
    return true;
}

static bool events_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    struct kvm_vcpu_events e = {.flags =
                                    KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW};
    e.interrupt.shadow = s->shadow ? KVM_X86_SHADOW_INT_STI : 0;
    e.nmi.masked = s->nmi_blocked;
    return ioctl(kv->fd, KVM_SET_VCPU_EVENTS, &e) == 0 || kvm_fail(kv, "KVM_SET_VCPU_EVENTS");
}

static bool xcr0_out(struct kvm_cpu *kv)
{
    struct kvm_xcrs x;
    if (!has_feature(&kv->cpu->model->features, FEATURE_XSAVE))
        return true;
    if (ioctl(kv->fd, KVM_GET_XCRS, &x) < 0)
        return kvm_fail(kv, "KVM_GET_XCRS");
    for (unsigned i = 0; i < x.nr_xcrs && i < KVM_MAX_XCRS; i++) {
        if (x.xcrs[i].xcr == 0)
            kv->cpu->s.xcr0 = x.xcrs[i].value;
    }
    return true;
}

static bool xcr0_in(struct kvm_cpu *kv)
{
    struct kvm_xcrs x = {.nr_xcrs = 1, .xcrs[0] = {.xcr = 0, .value = kv->cpu->s.xcr0}};
    if (!has_feature(&kv->cpu->model->features, FEATURE_XSAVE))
        return true;
    return ioctl(kv->fd, KVM_SET_XCRS, &x) == 0 || kvm_fail(kv, "KVM_SET_XCRS");
}

/* ---- what the kernel's local APIC decides -------------------------------------------------- */

/* Acts on an INIT or SIPI that has come: before anything else is taken out. */
static bool mp_state_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    struct kvm_mp_state mp;
    if (!kv->vm->chips)
        return true;
    if (ioctl(kv->fd, KVM_GET_MP_STATE, &mp) < 0)
        return kvm_fail(kv, "KVM_GET_MP_STATE");
    kv->out_mp_state = mp.mp_state;
    s->halted = mp.mp_state == KVM_MP_STATE_HALTED;
    s->wait_for_sipi =
        mp.mp_state == KVM_MP_STATE_UNINITIALIZED || mp.mp_state == KVM_MP_STATE_INIT_RECEIVED;
    return true;
}

static bool mp_state_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    struct kvm_mp_state mp = {.mp_state = s->wait_for_sipi ? KVM_MP_STATE_INIT_RECEIVED
                                          : s->halted      ? KVM_MP_STATE_HALTED
                                                           : KVM_MP_STATE_RUNNABLE};
    if (!kv->vm->chips)
        return true;
    return ioctl(kv->fd, KVM_SET_MP_STATE, &mp) == 0 || kvm_fail(kv, "KVM_SET_MP_STATE");
}

void kvm_state_late(struct kvm_cpu *kv)
{
    struct kvm_mp_state mp;
    struct kvm_regs regs;
    struct kvm_vcpu_events events;
    if (kv->place != KVM_STATE_HERE || kv->inside || !kv->was_there)
        return;
    if (ioctl(kv->fd, KVM_GET_MP_STATE, &mp) < 0 || ioctl(kv->fd, KVM_GET_REGS, &regs) < 0 ||
        ioctl(kv->fd, KVM_GET_VCPU_EVENTS, &events) < 0) {
        kvm_fail(kv, "KVM_GET_MP_STATE");
        return;
    }
    if (mp.mp_state != kv->out_mp_state || regs.rip != kv->out_rip) {
        kv->place = KVM_STATE_THERE;
        kvm_state_out(kv);
        kv->event.is_there = false;
    } else if (events.nmi.pending) {
        atomic_fetch_or(&kv->cpu->requests, REQUEST_NMI);
    }
    kv->cpu->s.nmi_pending = atomic_load(&kv->cpu->requests) & REQUEST_NMI;
}

/* ---- all of it --------------------------------------------------------------------------- */

bool kvm_state_init(struct kvm_cpu *kv, GError **error)
{
    int khz;
    if (kv->vm->host.tsc_scaling)
        ioctl(kv->fd, KVM_SET_TSC_KHZ, (unsigned long)(TSC_HZ / 1000));
    khz = ioctl(kv->fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                    "KVM does not tell how fast its time-stamp counter is");
        return false;
    }
    kv->tsc_khz = (uint32_t)khz;
    find_msrs(kv);
    return true;
}

void kvm_state_finish(struct kvm_cpu *kv)
{
    g_free(kv->msrs);
}

bool kvm_state_out(struct kvm_cpu *kv)
{
    if (kv->place == KVM_STATE_HERE)
        return true;
    if (!kvm_finish_instruction(kv))
        return false;
    kv->place = KVM_STATE_HERE;
    kv->was_there = true;
    return mp_state_out(kv) && regs_out(kv) && sregs_out(kv) && kvm_fpu_out(kv) && xcr0_out(kv) &&
           msrs_out(kv) && kvm_clock_out(kv) && debug_out(kv) && events_out(kv);
}

bool kvm_state_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    if (kv->place == KVM_STATE_THERE)
        return true;
    kv->place = KVM_STATE_THERE;
    kv->unfinished = false;
    kv->accepts = s->rflags & FLAG_IF && !s->shadow;
    return sregs_in(kv) && regs_in(kv) && xcr0_in(kv) && kvm_fpu_in(kv) && msrs_in(kv) &&
           kvm_clock_in(kv) && debug_in(kv) && events_in(kv) && mp_state_in(kv);
}

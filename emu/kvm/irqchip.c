/*
 * The kernel's interrupt controllers and interval timer (api.rst: KVM_CREATE_IRQCHIP,
 * KVM_GET_LAPIC, KVM_GET_IRQCHIP, KVM_GET_PIT2), and how their state gets there and back
 * (emu/core/chips.h).
 *
 * What the kernel does not tell or take, so that it does not survive the way:
 * - the phase of counter 0 of the PIT: its period begins anew, and so do the other counters;
 * - whether a one-shot count of a local APIC that is down to nothing has fired: it fires again;
 * - the low four bits of the task priority, which go through CR8;
 * - the 8259s' initialisation words that it ignores (single mode, level mode for all inputs).
 * The kernel's I/O APIC is an older version than ours: without the EOI register. Its PIT makes up
 * for ticks that a guest could not take, as it does for every user of KVM; ours does not.
 */
#include "emu/kvm/kvm.h"

#include "emu/core/clock.h"
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#define MSR_APIC_BASE   0x1b
#define AT_TPR          0x08 /* of chip_lapic.registers */
#define AT_LVT_TIMER    0x32
#define BY_DEADLINE     0x40000u
#define IOAPIC_ADDRESS  0xfec00000
#define PICS_LEVEL_MASK ((const uint8_t[]){0xf8, 0xde}) /* inputs that may be level triggered */

static void refused(struct kvm_vm *vm, const char *what)
{
    for (unsigned i = 0; i < KVM_CPUS_MAX; i++) {
        if (vm->cpus[i]) {
            kvm_fail(vm->cpus[i], what);
            return;
        }
    }
}

/* ---- no CPU in the guest ----------------------------------------------------------------- */

/* A CPU says that it is inside before it looks whether it may be; who closes the gate looks who is
 * inside after he has closed it. So one of the two sees the other. */
void kvm_gate_enter(struct kvm_cpu *kv)
{
    struct kvm_vm *vm = kv->vm;
    for (;;) {
        atomic_store(&kv->in_guest, true);
        if (!atomic_load(&vm->gate.closed))
            return;
        kvm_gate_leave(kv);
        pthread_mutex_lock(&vm->gate.lock);
        while (atomic_load(&vm->gate.closed))
            pthread_cond_wait(&vm->gate.changed, &vm->gate.lock);
        pthread_mutex_unlock(&vm->gate.lock);
    }
}

void kvm_gate_leave(struct kvm_cpu *kv)
{
    struct kvm_vm *vm = kv->vm;
    atomic_store(&kv->in_guest, false);
    if (!atomic_load(&vm->gate.closed))
        return;
    pthread_mutex_lock(&vm->gate.lock);
    pthread_cond_broadcast(&vm->gate.changed);
    pthread_mutex_unlock(&vm->gate.lock);
}

/* Who is inside has reset immediate_exit before, so that no kick is missed. */
static void stop(void *engine)
{
    struct kvm_vm *vm = engine;
    atomic_store(&vm->gate.closed, true);
    for (unsigned i = 0; i < KVM_CPUS_MAX; i++) {
        struct kvm_cpu *kv = vm->cpus[i];
        if (!kv)
            continue;
        pthread_mutex_lock(&kv->cpu->wait_lock);
        kvm_kick(kv->cpu);
        pthread_mutex_unlock(&kv->cpu->wait_lock);
    }
    pthread_mutex_lock(&vm->gate.lock);
    for (unsigned i = 0; i < KVM_CPUS_MAX; i++) {
        while (vm->cpus[i] && atomic_load(&vm->cpus[i]->in_guest))
            pthread_cond_wait(&vm->gate.changed, &vm->gate.lock);
    }
    pthread_mutex_unlock(&vm->gate.lock);
    vm->borrowed++;
}

static void go(void *engine)
{
    struct kvm_vm *vm = engine;
    pthread_mutex_lock(&vm->gate.lock);
    atomic_store(&vm->gate.closed, false);
    pthread_cond_broadcast(&vm->gate.changed);
    pthread_mutex_unlock(&vm->gate.lock);
}

/* ---- local APICs ------------------------------------------------------------------------- */

/* The kernel's counter and the board's clock at one moment. */
static bool pair_clocks(struct kvm_cpu *kv, uint64_t *ret_tsc, int64_t *ret_now)
{
    *ret_now = guest_clock_now(kv->cpu->board->clock);
    return kvm_get_msr(kv, KVM_MSR_TSC, ret_tsc);
}

static int64_t deadline_out(struct kvm_cpu *kv)
{
    uint64_t deadline = 0, tsc;
    int64_t now;
    if (!kvm_get_msr(kv, KVM_MSR_TSC_DEADLINE, &deadline) || !deadline ||
        !pair_clocks(kv, &tsc, &now))
        return INT64_MAX;
    return now + (int64_t)((__int128)(int64_t)(deadline - tsc) * 1000000 / kv->tsc_khz);
}

static bool deadline_in(struct kvm_cpu *kv, int64_t deadline)
{
    uint64_t value = 0, tsc;
    int64_t now;
    if (deadline != INT64_MAX) {
        if (!pair_clocks(kv, &tsc, &now))
            return false;
        value = tsc + (uint64_t)((__int128)(deadline - now) * kv->tsc_khz / 1000000);
        value = MAX(value, 1);
    }
    return kvm_set_msr(kv, KVM_MSR_TSC_DEADLINE, value);
}

static void get_lapic(void *engine, unsigned index, struct chip_lapic *image)
{
    struct kvm_vm *vm = engine;
    struct kvm_cpu *kv = vm->cpus[index];
    struct kvm_lapic_state state;
    kvm_state_late(kv);
    if (!kvm_get_msr(kv, MSR_APIC_BASE, &image->base) || ioctl(kv->fd, KVM_GET_LAPIC, &state) < 0) {
        refused(vm, "KVM_GET_LAPIC");
        return;
    }
    for (unsigned i = 0; i < CHIP_LAPIC_REGISTERS; i++)
        memcpy(&image->registers[i], state.regs + i * 16, 4);
    image->deadline = image->registers[AT_LVT_TIMER] & BY_DEADLINE ? deadline_out(kv) : INT64_MAX;
}

/* The deadline needs the counter and the timer's mode to be there. */
static void set_lapic(void *engine, unsigned index, const struct chip_lapic *image)
{
    struct kvm_vm *vm = engine;
    struct kvm_cpu *kv = vm->cpus[index];
    struct kvm_lapic_state state = {{0}};
    for (unsigned i = 0; i < CHIP_LAPIC_REGISTERS; i++)
        memcpy(state.regs + i * 16, &image->registers[i], 4);
    kv->apic_base = image->base;
    kv->cr8 = image->registers[AT_TPR] >> 4 & 15;
    if (!kvm_tsc_in(kv) || !kvm_set_msr(kv, MSR_APIC_BASE, image->base) ||
        ioctl(kv->fd, KVM_SET_LAPIC, &state) < 0 ||
        (image->registers[AT_LVT_TIMER] & BY_DEADLINE && !deadline_in(kv, image->deadline)))
        refused(vm, "KVM_SET_LAPIC");
}

/* ---- the I/O APIC ------------------------------------------------------------------------ */

static void get_ioapic(void *engine, struct chip_ioapic *image)
{
    struct kvm_vm *vm = engine;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0) {
        refused(vm, "KVM_GET_IRQCHIP of the I/O APIC");
        return;
    }
    for (unsigned i = 0; i < CHIPS_IOAPIC_INPUTS; i++)
        image->entries[i] = chip.chip.ioapic.redirtbl[i].bits;
    image->requests = chip.chip.ioapic.irr;
    image->id = (uint8_t)chip.chip.ioapic.id;
    image->select = (uint8_t)chip.chip.ioapic.ioregsel;
}

static void set_ioapic(void *engine, const struct chip_ioapic *image)
{
    struct kvm_vm *vm = engine;
    struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};
    struct kvm_ioapic_state *state = &chip.chip.ioapic;
    *state = (struct kvm_ioapic_state){.base_address = IOAPIC_ADDRESS,
                                       .ioregsel = image->select,
                                       .id = image->id,
                                       .irr = image->requests};
    for (unsigned i = 0; i < CHIPS_IOAPIC_INPUTS; i++)
        state->redirtbl[i].bits = image->entries[i];
    if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
        refused(vm, "KVM_SET_IRQCHIP of the I/O APIC");
}

/* ---- the 8259s --------------------------------------------------------------------------- */

static void get_pics(void *engine, struct chip_pic images[2])
{
    struct kvm_vm *vm = engine;
    for (unsigned i = 0; i < 2; i++) {
        struct kvm_irqchip chip = {.chip_id = i};
        const struct kvm_pic_state *state = &chip.chip.pic;
        if (ioctl(vm->fd, KVM_GET_IRQCHIP, &chip) < 0)
            refused(vm, "KVM_GET_IRQCHIP of an 8259");
        images[i] = (struct chip_pic){
            .lines = state->last_irr,
            .irr = state->irr,
            .imr = state->imr,
            .isr = state->isr,
            .level_mode = state->elcr,
            .vector_base = state->irq_base,
            .next_word = state->init_state ? state->init_state + 1 : 0,
            .lowest = (state->priority_add - 1) & 7,
            .fourth_word = state->init4,
            .auto_eoi = state->auto_eoi,
            .special_nested = state->special_fully_nested_mode,
            .special_mask = state->special_mask,
            .rotate_on_auto_eoi = state->rotate_on_auto_eoi,
            .read_isr = state->read_reg_select,
            .poll = state->poll,
        };
    }
}

static void set_pics(void *engine, const struct chip_pic images[2])
{
    struct kvm_vm *vm = engine;
    for (unsigned i = 0; i < 2; i++) {
        const struct chip_pic *image = &images[i];
        struct kvm_irqchip chip = {.chip_id = i};
        chip.chip.pic = (struct kvm_pic_state){
            .last_irr = image->lines,
            .irr = image->irr,
            .imr = image->imr,
            .isr = image->isr,
            .priority_add = (image->lowest + 1) & 7,
            .irq_base = image->vector_base,
            .read_reg_select = image->read_isr,
            .poll = image->poll,
            .special_mask = image->special_mask,
            .init_state = image->next_word ? image->next_word - 1 : 0,
            .auto_eoi = image->auto_eoi,
            .rotate_on_auto_eoi = image->rotate_on_auto_eoi,
            .special_fully_nested_mode = image->special_nested,
            .init4 = image->fourth_word,
            .elcr = image->level_mode,
            .elcr_mask = PICS_LEVEL_MASK[i],
        };
        if (ioctl(vm->fd, KVM_SET_IRQCHIP, &chip) < 0)
            refused(vm, "KVM_SET_IRQCHIP of an 8259");
    }
}

/* ---- the PIT ----------------------------------------------------------------------------- */

enum { HALF_LOW = 1, HALF_HIGH = 2, WORD_LOW = 3, WORD_HIGH = 4 }; /* which byte is next */

static int64_t host_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_SECOND + now.tv_nsec;
}

static bool get_pit_state(struct kvm_vm *vm, struct kvm_pit_state2 *ret_state)
{
    if (ioctl(vm->fd, KVM_GET_PIT2, ret_state) == 0)
        return true;
    refused(vm, "KVM_GET_PIT2");
    return false;
}

static void get_pit(void *engine, struct chip_pit *image)
{
    struct kvm_vm *vm = engine;
    struct kvm_pit_state2 state;
    int64_t now = guest_clock_now(vm->board->clock), host = host_now();
    if (!get_pit_state(vm, &state))
        return;
    image->speaker = state.flags & KVM_PIT_FLAGS_SPEAKER_DATA_ON;
    image->replaced = state.flags & KVM_PIT_FLAGS_HPET_LEGACY;
    for (unsigned i = 0; i < 3; i++) {
        const struct kvm_pit_channel_state *c = &state.channels[i];
        image->counters[i] = (struct chip_pit_counter){
            .start = i == 0 ? now : now - (host - c->count_load_time),
            .count = c->count,
            .latch = c->latched_count,
            .latch_left = c->count_latched == WORD_LOW ? 2 : c->count_latched != 0,
            .status = c->status,
            .status_latched = c->status_latched,
            .mode = c->mode,
            .access = c->rw_mode ? c->rw_mode : WORD_LOW,
            .bcd = c->bcd,
            .gate = c->gate,
            .read_high = c->read_state == WORD_HIGH,
            .write_high = c->write_state == WORD_HIGH,
            .write_low = c->write_latch,
        };
    }
}

static uint8_t latch_state(const struct chip_pit_counter *c)
{
    if (c->latch_left == 0)
        return 0;
    if (c->latch_left == 2)
        return WORD_LOW;
    return c->access == HALF_LOW ? HALF_LOW : HALF_HIGH;
}

static void set_pit(void *engine, const struct chip_pit *image)
{
    struct kvm_vm *vm = engine;
    struct kvm_pit_state2 state = {.flags = (image->speaker ? KVM_PIT_FLAGS_SPEAKER_DATA_ON : 0) |
                                            (image->replaced ? KVM_PIT_FLAGS_HPET_LEGACY : 0)};
    int64_t now = guest_clock_now(vm->board->clock), host = host_now();
    for (unsigned i = 0; i < 3; i++) {
        const struct chip_pit_counter *c = &image->counters[i];
        state.channels[i] = (struct kvm_pit_channel_state){
            .count = c->count,
            .latched_count = c->latch,
            .count_latched = latch_state(c),
            .status_latched = c->status_latched,
            .status = c->status,
            .read_state = c->access == WORD_LOW && c->read_high ? WORD_HIGH : c->access,
            .write_state = c->access == WORD_LOW && c->write_high ? WORD_HIGH : c->access,
            .write_latch = c->write_low,
            .rw_mode = c->access,
            .mode = c->mode,
            .bcd = c->bcd,
            .gate = c->gate,
            .count_load_time = host - (now - c->start),
        };
    }
    if (ioctl(vm->fd, KVM_SET_PIT2, &state) < 0)
        refused(vm, "KVM_SET_PIT2");
}

static void pit_replaced(void *engine, bool replaced)
{
    struct kvm_vm *vm = engine;
    struct kvm_pit_state2 state;
    if (!get_pit_state(vm, &state))
        return;
    state.flags = (state.flags & ~(unsigned)KVM_PIT_FLAGS_HPET_LEGACY) |
                  (replaced ? KVM_PIT_FLAGS_HPET_LEGACY : 0);
    if (ioctl(vm->fd, KVM_SET_PIT2, &state) < 0)
        refused(vm, "KVM_SET_PIT2");
}

/* ---- life -------------------------------------------------------------------------------- */

static void line(void *engine, unsigned number, bool level)
{
    struct kvm_vm *vm = engine;
    struct kvm_irq_level request = {.irq = number, .level = level};
    __atomic_fetch_add(&vm->lines, 1, __ATOMIC_RELAXED);
    if (ioctl(vm->fd, KVM_IRQ_LINE, &request) < 0)
        refused(vm, "KVM_IRQ_LINE");
}

static void message(void *engine, uint32_t address, uint32_t data)
{
    kvm_message(engine, address, data);
}

static void settle(void *engine)
{
    kvm_messages_end(engine);
}

static const struct chips_ops ops = {
    .settle = settle,
    .line = line,
    .message = message,
    .pit_replaced = pit_replaced,
    .stop = stop,
    .go = go,
    .get_lapic = get_lapic,
    .set_lapic = set_lapic,
    .get_ioapic = get_ioapic,
    .set_ioapic = set_ioapic,
    .get_pics = get_pics,
    .set_pics = set_pics,
    .get_pit = get_pit,
    .set_pit = set_pit,
};

static bool wanted(const struct kvm_vm *vm, bool *ret_wanted, GError **error)
{
    enum chips_wish wish = chips_wish(vm->board->chips);
    *ret_wanted = wish != CHIPS_OFF && vm->host.chips && chips_complete(vm->board->chips);
    if (wish != CHIPS_ON || *ret_wanted)
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "KVM of this host's kernel lacks interrupt controllers and a timer of its own with "
                "all that the engine needs of them; leave out --kernel-irqchip on");
    return false;
}

bool kvm_chips_create(struct kvm_vm *vm, GError **error)
{
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};
    bool create;
    if (!wanted(vm, &create, error))
        return false;
    vm->host.deadline = create ? vm->host.deadline_timer : vm->host.msr_filter;
    if (!create)
        return true;
    if (ioctl(vm->fd, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm->fd, KVM_CREATE_PIT2, &pit) < 0 ||
        !kvm_routes_init(vm)) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "KVM: cannot make the interrupt controllers: %s; try --kernel-irqchip off",
                    g_strerror(errno));
        return false;
    }
    vm->chips = true;
    chips_offer(vm->board->chips, &ops, vm);
    return true;
}

void kvm_chips_finish(struct kvm_vm *vm)
{
    if (vm->chips)
        chips_offer(vm->board->chips, NULL, NULL);
    kvm_routes_finish(vm);
}

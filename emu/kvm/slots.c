/*
 * Memory slots, made as the memory map is. What can be read but not written in place (ROM, RAM that
 * shows through for reading only) becomes a read-only slot: writes to it come out as MMIO and find
 * their way through memory_write(). Everything else without a slot is MMIO altogether.
 *
 * A slot cannot be changed, only taken out and put in again. A CPU that runs meanwhile finds memory
 * missing for a moment: its access comes out as MMIO and is done through the map; an instruction
 * fetch comes out as an internal error and is done by the interpreter.
 */
#include "emu/kvm/kvm.h"

#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/ioctl.h>

#define MIB (UINT64_C(1) << 20)
/* While A20 is off, odd MiB below this show what the even ones before them hold. Programs that turn
 * it off have no more than real mode and reach the first of them. */
#define A20_TOP (16 * MIB)

static void add(GArray *slots, uint64_t start, uint64_t end, const struct memory_stretch *stretch)
{
    struct kvm_slot slot = {.start = (start + MEMORY_PAGE_SIZE - 1) & ~(MEMORY_PAGE_SIZE - 1),
                            .end = end & ~(MEMORY_PAGE_SIZE - 1),
                            .read_only = stretch->write != stretch->read,
                            .used = true};
    slot.host = stretch->read + (slot.start - stretch->start);
    if (slot.start < slot.end && !((uintptr_t)slot.host & (MEMORY_PAGE_SIZE - 1)))
        g_array_append_val(slots, slot);
}

static void add_below_a20(GArray *slots, const struct memory_stretch *stretch)
{
    for (uint64_t even = 0; even < A20_TOP; even += 2 * MIB) {
        uint64_t start = MAX(stretch->start, even), end = MIN(stretch->end, even + MIB);
        if (start >= end)
            continue;
        add(slots, start, end, stretch);
        struct memory_stretch alias = *stretch;
        alias.start += MIB;
        add(slots, start + MIB, end + MIB, &alias);
    }
    if (stretch->end > A20_TOP)
        add(slots, MAX(stretch->start, A20_TOP), stretch->end, stretch);
}

static GArray *wanted_slots(struct kvm_vm *vm, uint32_t *ret_version)
{
    GArray *slots = g_array_new(FALSE, FALSE, sizeof(struct kvm_slot));
    g_autoptr(GArray) stretches = memory_layout(vm->board->memory, ret_version);
    bool a20 = memory_a20_mask(vm->board->memory) == UINT64_MAX;
    for (guint i = 0; i < stretches->len; i++) {
        const struct memory_stretch *s = &g_array_index(stretches, struct memory_stretch, i);
        if (!s->read)
            continue;
        if (a20)
            add(slots, s->start, s->end, s);
        else
            add_below_a20(slots, s);
    }
    return slots;
}

static bool tell_kernel(struct kvm_vm *vm, guint number, const struct kvm_slot *slot,
                        GError **error)
{
    struct kvm_userspace_memory_region region = {
        .slot = number,
        .flags = slot->read_only ? KVM_MEM_READONLY
                 : vm->logging   ? KVM_MEM_LOG_DIRTY_PAGES
                                 : 0,
        .guest_phys_addr = slot->start,
        .memory_size = slot->used ? slot->end - slot->start : 0,
        .userspace_addr = (uintptr_t)slot->host,
    };
    if (ioctl(vm->fd, KVM_SET_USER_MEMORY_REGION, &region) == 0)
        return true;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                "KVM: cannot have memory at %#" G_GINT64_MODIFIER "x-%#" G_GINT64_MODIFIER "x: %s",
                slot->start, slot->end, g_strerror(errno));
    return false;
}

/* ---- what was written ----------------------------------------------------------------------- */

/* Adds what a slot has kept. The kernel forgets it, and watches the pages again. */
static void collect_slot(struct kvm_vm *vm, guint number, const struct kvm_slot *slot,
                         uint64_t *pages)
{
    const uint8_t *ram = memory_ram_host(vm->board->memory);
    uint64_t count = (slot->end - slot->start) / MEMORY_PAGE_SIZE;
    if (!slot->used || slot->read_only || slot->host < ram ||
        slot->host >= ram + memory_ram_size(vm->board->memory))
        return;
    uint64_t first = (uint64_t)(slot->host - ram) / MEMORY_PAGE_SIZE;
    g_autofree uint64_t *bits = g_new0(uint64_t, (count + 63) / 64);
    struct kvm_dirty_log log = {.slot = number, .dirty_bitmap = bits};
    bool known = ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) == 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!known || bits[i / 64] >> i % 64 & 1) /* better too many than one too few */
            dirty_set(pages, first + i);
    }
}

static void collect(void *opaque, uint64_t *pages)
{
    struct kvm_vm *vm = opaque;
    uint64_t words = (memory_ram_size(vm->board->memory) / MEMORY_PAGE_SIZE + 63) / 64;
    pthread_mutex_lock(&vm->lock);
    for (guint i = 0; i < vm->slots->len; i++)
        collect_slot(vm, i, &g_array_index(vm->slots, struct kvm_slot, i), pages);
    for (uint64_t i = 0; i < words; i++) {
        __atomic_fetch_or(&pages[i], vm->kept[i], __ATOMIC_ACQ_REL);
        vm->kept[i] = 0;
    }
    pthread_mutex_unlock(&vm->lock);
}

static void watch(void *opaque, bool on)
{
    struct kvm_vm *vm = opaque;
    uint64_t words = (memory_ram_size(vm->board->memory) / MEMORY_PAGE_SIZE + 63) / 64;
    pthread_mutex_lock(&vm->lock);
    vm->logging = on;
    g_clear_pointer(&vm->kept, g_free);
    if (on)
        vm->kept = g_new0(uint64_t, words);
    for (guint i = 0; i < vm->slots->len; i++) {
        const struct kvm_slot *slot = &g_array_index(vm->slots, struct kvm_slot, i);
        if (slot->used && !slot->read_only)
            tell_kernel(vm, i, slot, NULL); /* refused, it would be found to know nothing */
    }
    pthread_mutex_unlock(&vm->lock);
}

const struct dirty_source kvm_dirty_source = {watch, collect};

/* ---- keeping up with the map ----------------------------------------------------------------- */

static bool is_same(const struct kvm_slot *a, const struct kvm_slot *b)
{
    return a->start == b->start && a->end == b->end && a->host == b->host &&
           a->read_only == b->read_only;
}

static bool take(GArray *slots, const struct kvm_slot *slot)
{
    for (guint i = 0; i < slots->len; i++) {
        if (is_same(&g_array_index(slots, struct kvm_slot, i), slot)) {
            g_array_remove_index_fast(slots, i);
            return true;
        }
    }
    return false;
}

static guint free_number(struct kvm_vm *vm)
{
    for (guint i = 0; i < vm->slots->len; i++) {
        if (!g_array_index(vm->slots, struct kvm_slot, i).used)
            return i;
    }
    g_array_set_size(vm->slots, vm->slots->len + 1);
    return vm->slots->len - 1;
}

static bool change(struct kvm_vm *vm, GArray *wanted, GError **error)
{
    bool ok = true;
    for (guint i = 0; i < vm->slots->len; i++) {
        struct kvm_slot *slot = &g_array_index(vm->slots, struct kvm_slot, i);
        if (!slot->used || take(wanted, slot))
            continue;
        if (vm->logging)
            collect_slot(vm, i, slot, vm->kept);
        slot->used = false;
        ok = tell_kernel(vm, i, slot, ok ? error : NULL) && ok;
    }
    for (guint i = 0; i < wanted->len && ok; i++) {
        struct kvm_slot slot = g_array_index(wanted, struct kvm_slot, i);
        guint number = free_number(vm);
        ok = tell_kernel(vm, number, &slot, error);
        slot.used = ok;
        g_array_index(vm->slots, struct kvm_slot, number) = slot;
    }
    return ok;
}

bool kvm_slots_sync(struct kvm_vm *vm, GError **error)
{
    uint32_t version;
    bool ok = true;
    pthread_mutex_lock(&vm->lock);
    if (kvm_slots_stale(vm)) {
        g_autoptr(GArray) wanted = wanted_slots(vm, &version);
        ok = change(vm, wanted, error);
        __atomic_store_n(&vm->slots_version, version, __ATOMIC_RELEASE);
    }
    pthread_mutex_unlock(&vm->lock);
    return ok;
}

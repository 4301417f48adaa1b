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

static bool meets(struct kvm_vm *vm, const struct kvm_slot *slot, const struct kvm_watched *watched)
{
    uint64_t first, count = (slot->end - slot->start) / MEMORY_PAGE_SIZE;
    return slot->used && !slot->read_only &&
           memory_page_number(vm->board->memory, slot->host, &first) &&
           first < watched->first + watched->count && watched->first < first + count;
}

static bool is_watched(struct kvm_vm *vm, const struct kvm_slot *slot)
{
    for (guint i = 0; i < vm->watched->len; i++) {
        if (meets(vm, slot, &g_array_index(vm->watched, struct kvm_watched, i)))
            return true;
    }
    return false;
}

static bool tell_kernel(struct kvm_vm *vm, guint number, const struct kvm_slot *slot,
                        GError **error)
{
    struct kvm_userspace_memory_region region = {
        .slot = number,
        .flags = slot->read_only        ? KVM_MEM_READONLY
                 : is_watched(vm, slot) ? KVM_MEM_LOG_DIRTY_PAGES
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

/* Keeps what a slot has found. The kernel forgets it, and watches the pages again. */
static void collect_slot(struct kvm_vm *vm, guint number, const struct kvm_slot *slot)
{
    uint64_t count = (slot->end - slot->start) / MEMORY_PAGE_SIZE, first;
    if (!is_watched(vm, slot) || !memory_page_number(vm->board->memory, slot->host, &first))
        return;
    g_autofree uint64_t *bits = g_new0(uint64_t, (count + 63) / 64);
    struct kvm_dirty_log log = {.slot = number, .dirty_bitmap = bits};
    bool known = ioctl(vm->fd, KVM_GET_DIRTY_LOG, &log) == 0;
    for (uint64_t i = 0; i < count; i++) {
        if (!known || bits[i / 64] >> i % 64 & 1) /* better too many than one too few */
            dirty_set(vm->kept, first + i);
    }
}

static void collect(void *opaque, uint64_t first, uint64_t count, uint64_t *pages)
{
    struct kvm_vm *vm = opaque;
    struct kvm_watched asked = {first, count};
    pthread_mutex_lock(&vm->lock);
    for (guint i = 0; i < vm->slots->len; i++) {
        const struct kvm_slot *slot = &g_array_index(vm->slots, struct kvm_slot, i);
        if (meets(vm, slot, &asked))
            collect_slot(vm, i, slot);
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t page = first + i, bit = UINT64_C(1) << page % 64;
        if (!vm->kept[page / 64] && page % 64 == 0) {
            i += 63; /* none of these */
        } else if (vm->kept[page / 64] & bit) {
            vm->kept[page / 64] &= ~bit;
            dirty_set(pages, i);
        }
    }
    pthread_mutex_unlock(&vm->lock);
}

static void forget_watched(struct kvm_vm *vm, uint64_t first, uint64_t count)
{
    for (guint i = 0; i < vm->watched->len; i++) {
        const struct kvm_watched *w = &g_array_index(vm->watched, struct kvm_watched, i);
        if (w->first == first && w->count == count) {
            g_array_remove_index(vm->watched, i);
            break;
        }
    }
    for (uint64_t page = first; page < first + count; page++)
        vm->kept[page / 64] &= ~(UINT64_C(1) << page % 64);
}

static void watch(void *opaque, uint64_t first, uint64_t count, bool on)
{
    struct kvm_vm *vm = opaque;
    struct kvm_watched watched = {first, count};
    pthread_mutex_lock(&vm->lock);
    if (!vm->kept)
        vm->kept = g_new0(uint64_t, (memory_page_count(vm->board->memory) + 63) / 64);
    if (on)
        g_array_append_val(vm->watched, watched);
    else
        forget_watched(vm, first, count);
    for (guint i = 0; i < vm->slots->len; i++) {
        const struct kvm_slot *slot = &g_array_index(vm->slots, struct kvm_slot, i);
        if (meets(vm, slot, &watched))
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
        collect_slot(vm, i, slot);
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

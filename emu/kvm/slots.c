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
        .flags = slot->read_only ? KVM_MEM_READONLY : 0,
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

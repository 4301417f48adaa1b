/*
 * Registers whose writing only rings a device (KVM_IOEVENTFD), and messages that come by eventfd
 * (KVM_IRQFD).
 *
 * A message that is sent again and again gets a route and an eventfd of its own: its sender, the
 * device thread or a disk's worker, then only writes to that. Which messages these are shows when
 * they are sent; no device needs to know. What changes now and then (a guest moves an interrupt to
 * another CPU) makes room for the new.
 *
 * Lines stay with KVM_IRQ_LINE: the devices drive them up and down, and so tell the end of a level
 * interrupt themselves; a resample eventfd is for those who cannot know it.
 */
#include "emu/kvm/kvm.h"

#include "emu/core/doorbell.h"
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* ---- doorbells --------------------------------------------------------------------------- */

static bool set_doorbell(struct kvm_vm *vm, const struct doorbell_place *place, int fd,
                         unsigned flags)
{
    struct kvm_ioeventfd request = {.addr = place->address,
                                    .len = place->size,
                                    .fd = fd,
                                    .datamatch = place->by_value ? place->value : 0,
                                    .flags = flags | (place->is_port ? KVM_IOEVENTFD_FLAG_PIO : 0) |
                                             (place->by_value ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0)};
    return ioctl(vm->fd, KVM_IOEVENTFD, &request) == 0;
}

static bool add(void *engine, const struct doorbell_place *place, int fd)
{
    return set_doorbell(engine, place, fd, 0);
}

static void drop(void *engine, const struct doorbell_place *place, int fd)
{
    set_doorbell(engine, place, fd, KVM_IOEVENTFD_FLAG_DEASSIGN);
}

static const struct doorbell_ops doorbell_ops = {add, drop};

/* ---- messages ---------------------------------------------------------------------------- */

#define OFTEN 4 /* times that a message is sent before it gets an eventfd */

static void signal_message(struct kvm_vm *vm, uint32_t address, uint32_t data)
{
    struct kvm_msi msi = {.address_lo = address, .data = data};
    vm->messages++;
    ioctl(vm->fd, KVM_SIGNAL_MSI, &msi); /* an error is a message to nobody */
}

static unsigned line_of(const struct kvm_vm *vm, const struct kvm_sender *sender)
{
    return CHIPS_LINES + (unsigned)(sender - vm->senders);
}

/* Returns when nothing is on its way any more. */
static void close_sender(struct kvm_vm *vm, struct kvm_sender *sender)
{
    if (sender->count && sender->fd >= 0) {
        struct kvm_irqfd request = {.fd = (unsigned)sender->fd,
                                    .gsi = line_of(vm, sender),
                                    .flags = KVM_IRQFD_FLAG_DEASSIGN};
        ioctl(vm->fd, KVM_IRQFD, &request);
        close(sender->fd);
    }
    *sender = (struct kvm_sender){.fd = -1};
}

/* The message's own, or the next to make room, for one that is new. */
static struct kvm_sender *find_sender(struct kvm_vm *vm, uint32_t address, uint32_t data)
{
    for (unsigned i = 0; i < KVM_SENDERS; i++) {
        struct kvm_sender *sender = &vm->senders[i];
        if (sender->count && sender->address == address && sender->data == data)
            return sender;
    }
    struct kvm_sender *sender = &vm->senders[vm->next_sender++ % KVM_SENDERS];
    close_sender(vm, sender);
    *sender = (struct kvm_sender){.address = address, .data = data, .fd = -1};
    return sender;
}

static void open_sender(struct kvm_vm *vm, struct kvm_sender *sender)
{
    struct kvm_irqfd request = {.gsi = line_of(vm, sender)};
    sender->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sender->fd < 0)
        return;
    request.fd = (unsigned)sender->fd;
    if (kvm_route_message(vm, line_of(vm, sender), sender->address, sender->data) &&
        ioctl(vm->fd, KVM_IRQFD, &request) == 0)
        return;
    close(sender->fd);
    sender->fd = -1;
}

void kvm_message(struct kvm_vm *vm, uint32_t address, uint32_t data)
{
    static const uint64_t one = 1;
    unsigned delivery = data >> 8 & 7;
    if (!vm->host.irqfd || delivery > 1) { /* neither fixed nor lowest priority */
        signal_message(vm, address, data);
        return;
    }
    struct kvm_sender *sender = find_sender(vm, address, data);
    sender->count++;
    if (sender->count == OFTEN)
        open_sender(vm, sender);
    if (sender->fd >= 0 && write(sender->fd, &one, sizeof(one)) == sizeof(one))
        vm->by_eventfd++;
    else
        signal_message(vm, address, data);
}

void kvm_messages_end(struct kvm_vm *vm)
{
    for (unsigned i = 0; i < KVM_SENDERS; i++)
        close_sender(vm, &vm->senders[i]);
}

/* ---- life -------------------------------------------------------------------------------- */

void kvm_eventfds_init(struct kvm_vm *vm)
{
    for (unsigned i = 0; i < KVM_SENDERS; i++)
        vm->senders[i].fd = -1;
    if (vm->host.ioeventfd)
        doorbells_offer(vm->board->doorbells, &doorbell_ops, vm);
}

void kvm_eventfds_finish(struct kvm_vm *vm)
{
    kvm_messages_end(vm);
    doorbells_offer(vm->board->doorbells, NULL, NULL);
}

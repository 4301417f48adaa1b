/*
 * Where interrupts go that come to the kernel by number (KVM_SET_GSI_ROUTING): the ISA interrupts
 * to the 8259s and to the I/O APIC, where the timer's is input 2, and the I/O APIC's other inputs;
 * after them messages that have an eventfd (eventfds.c).
 */
#include "emu/kvm/kvm.h"

#include <errno.h>
#include <sys/ioctl.h>

#define CASCADE 2
#define TIMER   0

static void add(GArray *routes, unsigned line, unsigned chip, unsigned pin)
{
    struct kvm_irq_routing_entry entry = {.gsi = line, .type = KVM_IRQ_ROUTING_IRQCHIP};
    entry.u.irqchip.irqchip = chip;
    entry.u.irqchip.pin = pin;
    g_array_append_val(routes, entry);
}

static GArray *fixed_routes(void)
{
    GArray *routes = g_array_new(FALSE, TRUE, sizeof(struct kvm_irq_routing_entry));
    for (unsigned i = 0; i < CHIPS_LINES; i++) {
        if (i == CASCADE)
            continue;
        if (i < 16)
            add(routes, i, i < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, i & 7);
        add(routes, i, KVM_IRQCHIP_IOAPIC, i == TIMER ? 2 : i);
    }
    return routes;
}

static bool set_routes(struct kvm_vm *vm, GArray *routes)
{
    size_t size =
        sizeof(struct kvm_irq_routing) + routes->len * sizeof(struct kvm_irq_routing_entry);
    g_autofree struct kvm_irq_routing *table = g_malloc0(size);
    table->nr = routes->len;
    memcpy(table->entries, routes->data, routes->len * sizeof(struct kvm_irq_routing_entry));
    return ioctl(vm->fd, KVM_SET_GSI_ROUTING, table) == 0;
}

bool kvm_routes_init(struct kvm_vm *vm)
{
    vm->routes = fixed_routes();
    return set_routes(vm, vm->routes);
}

void kvm_routes_finish(struct kvm_vm *vm)
{
    g_clear_pointer(&vm->routes, g_array_unref);
}

bool kvm_route_message(struct kvm_vm *vm, unsigned line, uint32_t address, uint32_t data)
{
    struct kvm_irq_routing_entry entry = {.gsi = line, .type = KVM_IRQ_ROUTING_MSI};
    entry.u.msi.address_lo = address;
    entry.u.msi.data = data;
    for (guint i = 0; i < vm->routes->len; i++) {
        if (g_array_index(vm->routes, struct kvm_irq_routing_entry, i).gsi != line)
            continue;
        g_array_remove_index_fast(vm->routes, i);
        break;
    }
    g_array_append_val(vm->routes, entry);
    return set_routes(vm, vm->routes);
}

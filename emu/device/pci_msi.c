#include "emu/device/pci_msi.h"

#include "emu/core/bytes.h"
#include "emu/core/memory.h"
#include "emu/device/lapic.h"

/* The MSI capability, 64-bit addresses and a mask: control +2, address +4, data +12, mask +16,
 * pending +20. */
#define MSI_SIZE     24
#define MSI_CONTROL  0x0180
#define MSI_ENABLE   0x0001
#define MSIX_SIZE    12
#define MSIX_ENABLE  0x8000
#define MSIX_MASKED  0x4000
#define ENTRY_MASKED 1u
#define PBA_OFFSET   0x800
#define BAR_SIZE     0x1000

static uint32_t config(const struct pci_device *device, unsigned offset, unsigned size)
{
    return (uint32_t)bytes_load(device->config + offset, size);
}

bool pci_msi_enabled(const struct pci_device *device)
{
    const struct pci_msi *msi = device->msi;
    return msi && msi->msi_at && config(device, msi->msi_at + 2u, 2) & MSI_ENABLE;
}

bool pci_msix_enabled(const struct pci_device *device)
{
    const struct pci_msi *msi = device->msi;
    return msi && msi->msix_at && config(device, msi->msix_at + 2u, 2) & MSIX_ENABLE;
}

static void send(struct pci_device *device, uint64_t address, uint32_t data)
{
    if (!pci_is_master(device))
        return;
    if (address >> 20 == LAPIC_BASE >> 20 && device->bus->lapic_bus)
        lapic_bus_message(device->bus->lapic_bus, (uint32_t)address, data);
    else
        memory_dma_write(device->device.board->memory, address, &data, 4);
}

static bool is_masked(const struct pci_device *device, unsigned vector)
{
    const struct pci_msi *msi = device->msi;
    return config(device, msi->msix_at + 2u, 2) & MSIX_MASKED ||
           bytes_load(msi->table + vector * 16 + 12, 4) & ENTRY_MASKED;
}

static void send_msix(struct pci_device *device, unsigned vector)
{
    const uint8_t *entry = device->msi->table + vector * 16;
    send(device, bytes_load(entry, 8) & ~UINT64_C(3), (uint32_t)bytes_load(entry + 8, 4));
}

static void send_msi(struct pci_device *device)
{
    unsigned at = device->msi->msi_at;
    uint64_t address = config(device, at + 4, 4) | (uint64_t)config(device, at + 8, 4) << 32;
    send(device, address & ~UINT64_C(3), config(device, at + 12, 2));
}

void pci_msi_notify(struct pci_device *device, unsigned vector)
{
    struct pci_msi *msi = device->msi;
    if (pci_msix_enabled(device)) {
        if (vector >= msi->vectors)
            return;
        if (is_masked(device, vector))
            msi->pending |= UINT32_C(1) << vector;
        else
            send_msix(device, vector);
    } else if (pci_msi_enabled(device)) {
        if (config(device, msi->msi_at + 16u, 4) & 1)
            msi->pending |= 1;
        else
            send_msi(device);
    }
}

/* Sends what waited for a mask that is gone. */
static void send_pending(struct pci_device *device)
{
    struct pci_msi *msi = device->msi;
    if (pci_msix_enabled(device)) {
        for (unsigned i = 0; i < msi->vectors && msi->pending; i++) {
            if (!(msi->pending >> i & 1) || is_masked(device, i))
                continue;
            msi->pending &= ~(UINT32_C(1) << i);
            send_msix(device, i);
        }
    } else if (pci_msi_enabled(device) && msi->pending & 1 &&
               !(config(device, msi->msi_at + 16u, 4) & 1)) {
        msi->pending = 0;
        send_msi(device);
    }
}

void pci_msi_written(struct pci_device *device)
{
    struct pci_msi *msi = device->msi;
    if (msi->pending)
        send_pending(device);
    if (msi->msi_at)
        bytes_store(device->config + msi->msi_at + 20, pci_msix_enabled(device) ? 0 : msi->pending,
                    4);
}

void pci_msi_reset(struct pci_device *device)
{
    struct pci_msi *msi = device->msi;
    msi->pending = 0;
    memset(msi->table, 0, sizeof(msi->table));
    for (unsigned i = 0; i < msi->vectors; i++)
        msi->table[i * 16 + 12] = ENTRY_MASKED;
}

/* ---- the table and the pending bits ------------------------------------------------------ */

static uint64_t table_read(void *opaque, uint64_t offset, unsigned size)
{
    const struct pci_device *device = opaque;
    const struct pci_msi *msi = device->msi;
    if (offset + size <= msi->vectors * 16)
        return bytes_load(msi->table + offset, size);
    if (offset >= PBA_OFFSET && offset < PBA_OFFSET + 8)
        return (uint64_t)msi->pending >> ((offset - PBA_OFFSET) * 8) & bytes_mask(size);
    return 0;
}

static void table_write(void *opaque, uint64_t offset, uint64_t value, unsigned size)
{
    struct pci_device *device = opaque;
    if (size < 4 || offset + size > device->msi->vectors * 16)
        return; /* accesses are of 4 or 8 bytes (6.8.2) */
    bytes_store(device->msi->table + offset, value, size);
    if (device->msi->pending)
        send_pending(device);
}

static const struct mmio_ops table_ops = {table_read, table_write, 8};

void pci_add_msi(struct pci_device *device, struct pci_msi *msi)
{
    device->msi = msi;
    unsigned at = pci_add_capability(device, PCI_CAPABILITY_MSI, MSI_SIZE);
    msi->msi_at = (uint8_t)at;
    bytes_store(device->initial + at + 2, MSI_CONTROL, 2);
    device->writable[at + 2] = MSI_ENABLE;
    bytes_store(device->writable + at + 4, 0xfffffffc, 4);
    bytes_store(device->writable + at + 8, 0xffffffff, 4);
    bytes_store(device->writable + at + 12, 0xffff, 2);
    device->writable[at + 16] = 1;
}

void pci_add_msix(struct pci_device *device, struct pci_msi *msi, unsigned bar, unsigned vectors)
{
    device->msi = msi;
    msi->vectors = MIN(vectors, (unsigned)PCI_MSIX_MAX);
    unsigned at = pci_add_capability(device, PCI_CAPABILITY_MSIX, MSIX_SIZE);
    msi->msix_at = (uint8_t)at;
    bytes_store(device->initial + at + 2, msi->vectors - 1, 2);
    bytes_store(device->initial + at + 4, bar, 4);
    bytes_store(device->initial + at + 8, PBA_OFFSET | bar, 4);
    bytes_store(device->writable + at + 2, MSIX_ENABLE | MSIX_MASKED, 2);
    struct memory_region *region =
        memory_add_mmio(device->device.board->memory, "msix", 0, BAR_SIZE, 1, &table_ops, device);
    pci_add_memory_bar(device, bar, BAR_SIZE, false, region);
}

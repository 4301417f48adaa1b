/*
 * Message-signalled interrupts (PCI Local Bus Specification 3.0, 6.8): MSI with one vector and
 * MSI-X with up to 32. A message is a write of the guest's choosing; one into 0xfee00000 reaches
 * the local APICs, another goes to memory as any DMA does.
 *
 * A device embeds struct pci_msi beside its struct pci_device. Board lock held throughout.
 */
#pragma once

#include "emu/device/pci.h"

#define PCI_MSIX_MAX 32

struct pci_msi {
    uint8_t msi_at, msix_at; /* of the capabilities; 0: not there */
    unsigned vectors;        /* of MSI-X */
    uint8_t table[PCI_MSIX_MAX * 16];
    uint32_t pending; /* vectors that wait for their mask to go; MSI's is bit 0 */
};

#define PCI_MSI_STATE(type, member)                                                                \
    STATE_BYTES(type, member.table), STATE_UINT(type, member.pending)

/* In realize, one or both of them. */
void pci_add_msi(struct pci_device *device, struct pci_msi *msi);
/* The table and the pending bits take up the memory register `bar`, 4 KiB. */
void pci_add_msix(struct pci_device *device, struct pci_msi *msi, unsigned bar, unsigned vectors);

bool pci_msi_enabled(const struct pci_device *device);
bool pci_msix_enabled(const struct pci_device *device);
/* Sends one message: `vector` of MSI-X where that is enabled, else MSI's. Nothing happens where
 * neither is, or the vector is beyond the table. */
void pci_msi_notify(struct pci_device *device, unsigned vector);

/* For pci.c. */
void pci_msi_reset(struct pci_device *device);
void pci_msi_written(struct pci_device *device); /* the configuration space changed */

/*
 * The absolute pointer that VMware's machines have, behind their "backdoor", port 0x5658: a 32-bit
 * IN with a magic number in EAX, a command in CX and arguments in EBX carries an answer back in EAX
 * to EDX (open-vm-tools, backdoor_def.h and vmmouse_defs.h tell the numbers). Events wait in a
 * queue of words; that there are some is told by a packet of the PS/2 mouse.
 */
#pragma once

#include "emu/device/device.h"

extern const struct device_ops vmmouse_ops;

enum { VMMOUSE_EAX, VMMOUSE_EBX, VMMOUSE_ECX, VMMOUSE_EDX, VMMOUSE_REGISTERS };

struct vmmouse_ends {
    /* The low halves of the registers of the CPU that is in the port access now; false: there is
     * none. And back into them, the upper halves zeroed. */
    bool (*get)(void *opaque, uint32_t registers[VMMOUSE_REGISTERS]);
    void (*set)(void *opaque, const uint32_t registers[VMMOUSE_REGISTERS]);
    void (*nudge)(void *opaque); /* has the PS/2 mouse send a packet */
    uint64_t ram_size;
    void *opaque;
};

void vmmouse_connect(struct device *device, const struct vmmouse_ends *ends); /* before realize */
/* Whether the guest's driver listens and wants places, not movements. */
bool vmmouse_is_absolute(const struct device *device);
/* The pointer is at a place of 0 to 65535 each way; buttons: bit 0 left, 1 right, 2 middle; `wheel`
 * notches towards the user. Dropped when the guest does not keep up. */
void vmmouse_point(struct device *device, unsigned x, unsigned y, unsigned buttons, int wheel);

/* Where the guest's registers are while translated code runs. */
#pragma once

#include "emu/cpu/internal.h"
#include "emu/jit/emit.h"

/* Host registers of the translator's own. T0 is RAX because LAHF wants it. */
#define T0 H_RAX
#define T1 H_R11
/* Guest registers that live in memory. */
#define IN_MEMORY(guest) ((guest) == R11 || (guest) == R14 || (guest) == R15)
/* The host register of a guest's that lives in one. */
static inline unsigned host_of(unsigned guest)
{
    return guest == RAX ? H_R14 : guest == RSP ? H_R15 : guest;
}

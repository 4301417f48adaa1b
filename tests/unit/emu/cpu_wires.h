/*
 * A CPU's way to its local APIC, where a test has none: no interrupt is to be had, and of the
 * registers there is only the base, which stays where it is.
 */
#pragma once

#include "emu/cpu/cpu.h"

static int wires_acknowledge(void *opaque)
{
    return -1;
}
static unsigned wires_read_tpr(void *opaque)
{
    return 0;
}
static void wires_write_tpr(void *opaque, unsigned value)
{
}
static bool wires_read_msr(void *opaque, uint32_t index, uint64_t *ret_value)
{
    *ret_value = 0xfee00900;
    return index == 0x1b;
}
static bool wires_write_msr(void *opaque, uint32_t index, uint64_t value)
{
    return index == 0x1b;
}

static const struct cpu_ops quiet_wires = {wires_acknowledge, wires_read_tpr, wires_write_tpr,
                                           wires_read_msr, wires_write_msr};

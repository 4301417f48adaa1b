/*
 * A CPU on a board with nothing but memory, in 64-bit mode, for tests of engines: code at CODE,
 * pages mapped one to one.
 */
#pragma once

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/internal.h"
#include "emu/cpu/state.h"
#include "tests/unit/emu/cpu_wires.h"
#include <string.h>

#define TABLES 0x10000u
#define CODE   0x20000u
#define DATA   0x40000u
#define STACK  0x60000u
#define RAM    (1u << 20)

/* A board whose first `mapped` bytes (at most 2 MiB) are in the page tables. */
static inline void bare_board(struct board *board, uint32_t mapped)
{
    uint64_t entry[4] = {(TABLES + 0x1000) | 3, (TABLES + 0x2000) | 3, (TABLES + 0x3000) | 3};
    assert_true(board_init(board, RAM, NULL));
    uint8_t *ram = memory_ram_host(board->memory);
    for (unsigned i = 0; i < 3; i++)
        memcpy(ram + TABLES + i * 0x1000, &entry[i], 8);
    for (uint32_t at = 0; at < mapped; at += 0x1000) {
        uint64_t page = at | 3;
        memcpy(ram + TABLES + 0x3000 + (at >> 12) * 8, &page, 8);
    }
}

static inline struct cpu *bare_cpu(struct board *board, const char *engine)
{
    struct cpu *cpu = cpu_new(board, 0, engine, "x86-64-v2", &quiet_wires, NULL, NULL);
    assert_non_null(cpu);
    return cpu;
}

/* The state before the code; NULL: what is there already. */
static inline void bare_begin(struct cpu *cpu, const void *code, size_t size)
{
    struct cpu_state *s = cpu_state(cpu);
    if (code)
        memory_write(cpu->board->memory, CODE, code, size);
    memset(memory_ram_host(cpu->board->memory) + DATA, 0, 0x1000);
    memset(s->gpr, 0, sizeof(s->gpr));
    memset(s->vec, 0, sizeof(s->vec));
    s->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_NE | CR0_ET;
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR;
    s->efer = EFER_LME | EFER_LMA;
    s->seg[SEG_CS] =
        (struct segment){.limit = UINT32_MAX,
                         .selector = 8,
                         .attributes = SEG_P | SEG_S | SEG_CODE | SEG_WRITABLE | SEG_L};
    s->gpr[RDI] = DATA;
    s->gpr[RSP] = STACK;
    s->rip = CODE;
    s->rflags = 2;
    s->halted = s->shutdown = false;
}

/* As bare_begin(), and runs to the HLT or wherever it ends. */
static inline enum cpu_exit bare_run(struct cpu *cpu, const void *code, size_t size)
{
    bare_begin(cpu, code, size);
    if (code)
        cpu_state_changed(cpu);
    else
        atomic_store(&cpu->attention, 1); /* what is translated stays */
    cpu->flags = 0x200;
    return cpu_run(cpu);
}

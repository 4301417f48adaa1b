/*
 * The architectural state of one x86-64 processor: all that a guest can see or that outlives an
 * instruction, and nothing that an engine derives from it. This is what is saved and migrated.
 *
 * Layouts follow the Intel 64 and IA-32 Architectures Software Developer's Manual (SDM).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum gpr {
    RAX,
    RCX,
    RDX,
    RBX,
    RSP,
    RBP,
    RSI,
    RDI,
    R8,
    R9,
    R10,
    R11,
    R12,
    R13,
    R14,
    R15,
    GPR_COUNT,
    GPR_NONE = GPR_COUNT, /* always 0: stands for an absent base or index register */
    GPR_CODE,             /* engine's: RIP of the running block's first byte */
    GPR_SLOTS,
};

enum segment_index { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_NONE, SEG_COUNT };

/* A segment register with its cached descriptor (SDM 3.4.3). `attributes` holds the descriptor's
 * bits 40-47 and 52-55 at 0-7 and 12-15; `limit` is in bytes, the granularity applied. */
struct segment {
    uint64_t base;
    uint32_t limit;
    uint16_t selector;
    uint16_t attributes;
};

#define SEG_TYPE      0x000f
#define SEG_ACCESSED  0x0001
#define SEG_WRITABLE  0x0002 /* data; for code: readable */
#define SEG_EXPAND    0x0004 /* data: expand down; for code: conforming */
#define SEG_CODE      0x0008
#define SEG_S         0x0010 /* code or data, not a system descriptor */
#define SEG_DPL_SHIFT 5
#define SEG_DPL(attr) (((attr) >> SEG_DPL_SHIFT) & 3)
#define SEG_P         0x0080
#define SEG_AVL       0x1000
#define SEG_L         0x2000
#define SEG_DB        0x4000
#define SEG_G         0x8000

struct descriptor_table {
    uint64_t base;
    uint16_t limit;
};

#define FLAG_CF          UINT64_C(0x000001)
#define FLAG_PF          UINT64_C(0x000004)
#define FLAG_AF          UINT64_C(0x000010)
#define FLAG_ZF          UINT64_C(0x000040)
#define FLAG_SF          UINT64_C(0x000080)
#define FLAG_TF          UINT64_C(0x000100)
#define FLAG_IF          UINT64_C(0x000200)
#define FLAG_DF          UINT64_C(0x000400)
#define FLAG_OF          UINT64_C(0x000800)
#define FLAG_IOPL        UINT64_C(0x003000)
#define FLAG_NT          UINT64_C(0x004000)
#define FLAG_RF          UINT64_C(0x010000)
#define FLAG_VM          UINT64_C(0x020000)
#define FLAG_AC          UINT64_C(0x040000)
#define FLAG_VIF         UINT64_C(0x080000)
#define FLAG_VIP         UINT64_C(0x100000)
#define FLAG_ID          UINT64_C(0x200000)
#define FLAGS_ARITHMETIC (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)

#define CR0_PE UINT64_C(0x00000001)
#define CR0_MP UINT64_C(0x00000002)
#define CR0_EM UINT64_C(0x00000004)
#define CR0_TS UINT64_C(0x00000008)
#define CR0_ET UINT64_C(0x00000010)
#define CR0_NE UINT64_C(0x00000020)
#define CR0_WP UINT64_C(0x00010000)
#define CR0_AM UINT64_C(0x00040000)
#define CR0_NW UINT64_C(0x20000000)
#define CR0_CD UINT64_C(0x40000000)
#define CR0_PG UINT64_C(0x80000000)

#define CR4_VME        UINT64_C(0x000001)
#define CR4_PVI        UINT64_C(0x000002)
#define CR4_TSD        UINT64_C(0x000004)
#define CR4_DE         UINT64_C(0x000008)
#define CR4_PSE        UINT64_C(0x000010)
#define CR4_PAE        UINT64_C(0x000020)
#define CR4_MCE        UINT64_C(0x000040)
#define CR4_PGE        UINT64_C(0x000080)
#define CR4_PCE        UINT64_C(0x000100)
#define CR4_OSFXSR     UINT64_C(0x000200)
#define CR4_OSXMMEXCPT UINT64_C(0x000400)
#define CR4_UMIP       UINT64_C(0x000800)
#define CR4_FSGSBASE   UINT64_C(0x010000)
#define CR4_PCIDE      UINT64_C(0x020000)
#define CR4_OSXSAVE    UINT64_C(0x040000)
#define CR4_SMEP       UINT64_C(0x100000)
#define CR4_SMAP       UINT64_C(0x200000)

/* State components (SDM volume 1, 13.1); the vectors' upper halves count only with the lower. */
#define XCR0_X87 UINT64_C(1)
#define XCR0_SSE UINT64_C(2)
#define XCR0_YMM UINT64_C(4)
#define XCR0_AVX (XCR0_SSE | XCR0_YMM)

#define EFER_SCE UINT64_C(0x001)
#define EFER_LME UINT64_C(0x100)
#define EFER_LMA UINT64_C(0x400)
#define EFER_NXE UINT64_C(0x800)

#define DR6_B0_B3   UINT64_C(0x000f)
#define DR6_BD      UINT64_C(0x2000)
#define DR6_BS      UINT64_C(0x4000)
#define DR7_ENABLED UINT64_C(0x00ff) /* L0, G0 to L3, G3 */
#define DR6_BT      UINT64_C(0x8000)
#define DR7_LOCAL   UINT64_C(0x0155) /* L0 to L3, LE */
#define DR7_GD      UINT64_C(0x2000)

#define MTRR_VARIABLE 8
#define MTRR_FIXED    11

/* The x87 unit. Registers are the physical R0-R7 (SDM 8.1.2); ST(i) is R((TOP + i) mod 8). MMX
 * registers are their low 64 bits. */
struct fpu_state {
    uint8_t reg[8][16]; /* 80 bits each, the rest 0 */
    uint16_t control;
    uint16_t status; /* TOP at bits 11-13 */
    uint8_t valid;   /* the abridged tag word: bit i set when Ri is not empty */
    uint16_t opcode;
    uint64_t ip, dp;
    uint16_t ip_selector, dp_selector;
};

struct vector {
    uint64_t q[4]; /* XMM in 0 and 1, YMM's upper half in 2 and 3 */
};

struct cpu_state {
    uint64_t gpr[GPR_SLOTS];
    uint64_t rip;
    uint64_t rflags; /* arithmetic flags are exact only while the CPU is not running */
    struct segment seg[SEG_COUNT];
    struct segment ldtr, tr;
    struct descriptor_table gdtr, idtr;
    uint8_t cpl;

    uint64_t cr0, cr2, cr3, cr4, xcr0;
    uint64_t dr[8];    /* 4 and 5 unused */
    uint64_t pdpte[4]; /* loaded with CR3 under PAE paging outside long mode */

    uint64_t efer, star, lstar, cstar, fmask, kernel_gs_base;
    uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
    uint64_t pat, misc_enable, tsc_offset, tsc_aux, mcg_status;
    uint64_t mtrr_def_type, mtrr_base[MTRR_VARIABLE], mtrr_mask[MTRR_VARIABLE];
    uint64_t mtrr_fixed[MTRR_FIXED];

    struct fpu_state fpu;
    struct vector vec[16] __attribute__((aligned(32)));
    uint32_t mxcsr;

    /* Between instructions. */
    bool halted;
    bool wait_for_sipi;
    bool shadow; /* interrupts are held off for one instruction (STI, MOV SS) */
    bool nmi_blocked;
    bool nmi_pending;
    bool init_pending;
    bool sipi_pending;
    uint8_t sipi_vector;
    bool shutdown;

    bool smm;             /* in system management mode */
    bool smm_nmi_blocked; /* nmi_blocked as RSM brings it back */
    bool smi_pending;
    uint32_t smbase;

    uint64_t kvm_system_time, kvm_wall_clock; /* KVM's clock: where the guest wants it */
};

#define CPU_STATE_VERSION 1

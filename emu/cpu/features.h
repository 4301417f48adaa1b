/*
 * CPU features: one list, from which come CPUID's bits, the names that the command line takes, and
 * what each operation needs (sse_ops.h has a column for it, features.c a table for the rest).
 *
 * Bits are those of CPUID (SDM volume 2; the extended leaves also in AMD's volume 3).
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

/* The registers of CPUID's leaves that hold features. */
enum feature_word {
    WORD_1_EDX,
    WORD_1_ECX,
    WORD_7_EBX,
    WORD_7_ECX,
    WORD_7_EDX,
    WORD_D_EAX,   /* leaf 0xd, subleaf 1 */
    WORD_EXT_EDX, /* leaf 0x80000001 */
    WORD_EXT_ECX,
    WORD_EXT7_EDX, /* leaf 0x80000007 */
    WORD_KVM_EAX,  /* leaf 0x40000001 */
    WORD_COUNT,
};

/* clang-format off */
/* FEATURE(id, name, word, bit, the feature it needs; its own id for none) */
#define CPU_FEATURES(FEATURE) \
    FEATURE(FPU, "fpu", 1_EDX, 0, FPU) \
    FEATURE(VME, "vme", 1_EDX, 1, VME) \
    FEATURE(DE, "de", 1_EDX, 2, DE) \
    FEATURE(PSE, "pse", 1_EDX, 3, PSE) \
    FEATURE(TSC, "tsc", 1_EDX, 4, TSC) \
    FEATURE(MSR, "msr", 1_EDX, 5, MSR) \
    FEATURE(PAE, "pae", 1_EDX, 6, PAE) \
    FEATURE(MCE, "mce", 1_EDX, 7, MCE) \
    FEATURE(CX8, "cx8", 1_EDX, 8, CX8) \
    FEATURE(APIC, "apic", 1_EDX, 9, APIC) \
    FEATURE(SEP, "sep", 1_EDX, 11, MSR) \
    FEATURE(MTRR, "mtrr", 1_EDX, 12, MSR) \
    FEATURE(PGE, "pge", 1_EDX, 13, PGE) \
    FEATURE(MCA, "mca", 1_EDX, 14, MSR) \
    FEATURE(CMOV, "cmov", 1_EDX, 15, CMOV) \
    FEATURE(PAT, "pat", 1_EDX, 16, MSR) \
    FEATURE(PSE36, "pse36", 1_EDX, 17, PSE) \
    FEATURE(CLFLUSH, "clflush", 1_EDX, 19, CLFLUSH) \
    FEATURE(MMX, "mmx", 1_EDX, 23, FPU) \
    FEATURE(FXSR, "fxsr", 1_EDX, 24, FPU) \
    FEATURE(SSE1, "sse", 1_EDX, 25, FXSR) \
    FEATURE(SSE2, "sse2", 1_EDX, 26, SSE1) \
    FEATURE(SSE3, "sse3", 1_ECX, 0, SSE2) \
    FEATURE(PCLMULQDQ, "pclmulqdq", 1_ECX, 1, SSE2) \
    FEATURE(SSSE3, "ssse3", 1_ECX, 9, SSE3) \
    FEATURE(FMA, "fma", 1_ECX, 12, AVX) \
    FEATURE(CX16, "cx16", 1_ECX, 13, LM) \
    FEATURE(PCID, "pcid", 1_ECX, 17, LM) \
    FEATURE(SSE41, "sse4.1", 1_ECX, 19, SSSE3) \
    FEATURE(SSE42, "sse4.2", 1_ECX, 20, SSE41) \
    FEATURE(X2APIC, "x2apic", 1_ECX, 21, APIC) \
    FEATURE(MOVBE, "movbe", 1_ECX, 22, MOVBE) \
    FEATURE(POPCNT, "popcnt", 1_ECX, 23, POPCNT) \
    FEATURE(TSC_DEADLINE, "tsc-deadline", 1_ECX, 24, APIC) \
    FEATURE(AES, "aes", 1_ECX, 25, SSE2) \
    FEATURE(XSAVE, "xsave", 1_ECX, 26, FXSR) \
    FEATURE(AVX, "avx", 1_ECX, 28, XSAVE) \
    FEATURE(F16C, "f16c", 1_ECX, 29, AVX) \
    FEATURE(RDRAND, "rdrand", 1_ECX, 30, RDRAND) \
    FEATURE(HYPERVISOR, "hypervisor", 1_ECX, 31, HYPERVISOR) \
    FEATURE(FSGSBASE, "fsgsbase", 7_EBX, 0, LM) \
    FEATURE(TSC_ADJUST, "tsc-adjust", 7_EBX, 1, TSC) \
    FEATURE(BMI1, "bmi1", 7_EBX, 3, BMI1) \
    FEATURE(AVX2, "avx2", 7_EBX, 5, AVX) \
    FEATURE(SMEP, "smep", 7_EBX, 7, SMEP) \
    FEATURE(BMI2, "bmi2", 7_EBX, 8, BMI2) \
    FEATURE(ERMS, "erms", 7_EBX, 9, ERMS) \
    FEATURE(INVPCID, "invpcid", 7_EBX, 10, INVPCID) \
    FEATURE(RDSEED, "rdseed", 7_EBX, 18, RDSEED) \
    FEATURE(ADX, "adx", 7_EBX, 19, ADX) \
    FEATURE(SMAP, "smap", 7_EBX, 20, SMAP) \
    FEATURE(CLFLUSHOPT, "clflushopt", 7_EBX, 23, CLFLUSH) \
    FEATURE(CLWB, "clwb", 7_EBX, 24, CLFLUSH) \
    FEATURE(SHA, "sha", 7_EBX, 29, SSE2) \
    FEATURE(UMIP, "umip", 7_ECX, 2, UMIP) \
    FEATURE(VAES, "vaes", 7_ECX, 9, AVX) \
    FEATURE(VPCLMULQDQ, "vpclmulqdq", 7_ECX, 10, AVX) \
    FEATURE(RDPID, "rdpid", 7_ECX, 22, RDPID) \
    FEATURE(FSRM, "fsrm", 7_EDX, 4, FSRM) \
    FEATURE(XSAVEOPT, "xsaveopt", D_EAX, 0, XSAVE) \
    FEATURE(XSAVEC, "xsavec", D_EAX, 1, XSAVE) \
    FEATURE(XGETBV1, "xgetbv1", D_EAX, 2, XSAVE) \
    FEATURE(XSAVES, "xsaves", D_EAX, 3, XSAVE) \
    FEATURE(SYSCALL, "syscall", EXT_EDX, 11, LM) \
    FEATURE(NX, "nx", EXT_EDX, 20, PAE) \
    FEATURE(PDPE1GB, "pdpe1gb", EXT_EDX, 26, LM) \
    FEATURE(RDTSCP, "rdtscp", EXT_EDX, 27, TSC) \
    FEATURE(LM, "lm", EXT_EDX, 29, PAE) \
    FEATURE(LAHF64, "lahf-lm", EXT_ECX, 0, LM) \
    FEATURE(LZCNT, "lzcnt", EXT_ECX, 5, LZCNT) \
    FEATURE(PREFETCHW, "prefetchw", EXT_ECX, 8, PREFETCHW) \
    FEATURE(INVTSC, "invtsc", EXT7_EDX, 8, TSC) \
    FEATURE(KVMCLOCK, "kvmclock", KVM_EAX, 3, HYPERVISOR)

/* A feature's number is its place in the words; FEATURE_NONE, a reserved bit, is no feature. */
enum feature {
#define FEATURE(id, name, word, bit, needs) FEATURE_##id = WORD_##word * 32 + bit,
    CPU_FEATURES(FEATURE)
#undef FEATURE
    FEATURE_NONE = WORD_1_EDX * 32 + 10,
};
/* clang-format on */

struct feature_set {
    uint32_t word[WORD_COUNT];
};

static inline bool has_feature(const struct feature_set *set, enum feature feature)
{
    return set->word[feature / 32] >> feature % 32 & 1;
}

/* Adds features by name, separated by spaces, with what each needs. False on an unknown name. */
bool features_add(struct feature_set *set, const char *names);
/* Takes one away, with all that need it. False on an unknown name. */
bool features_remove(struct feature_set *set, const char *name);
/* The first feature of `set` that is not in `within`; NULL when there is none. */
const char *features_beyond(const struct feature_set *set, const struct feature_set *within);
/* Names, separated by spaces; free it. */
char *features_describe(const struct feature_set *set);
/* What the processor that runs this program tells of itself. */
struct feature_set features_of_host(void);

struct insn;
/* After decoding: an instruction whose feature is missing becomes what the processor would take it
 * for, an older instruction or OP_INVALID. False when it has become invalid. */
bool features_check(const struct feature_set *set, struct insn *insn, bool code64);

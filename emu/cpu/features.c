/* Which features there are, what needs them, and what the host has. */
#include "emu/cpu/features.h"
#include "emu/cpu/decode.h"
#include <cpuid.h>
#include <string.h>

struct feature_info {
    const char *name;
    uint16_t id, needs;
};

static const struct feature_info features[] = {
#define FEATURE(id, name, word, bit, needs) {name, FEATURE_##id, FEATURE_##needs},
    CPU_FEATURES(FEATURE)
#undef FEATURE
};

static const struct feature_info *find_name(const char *name, size_t length)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        if (strlen(features[i].name) == length && !memcmp(features[i].name, name, length))
            return &features[i];
    return NULL;
}

static const struct feature_info *find_id(enum feature id)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        if (features[i].id == id)
            return &features[i];
    return NULL;
}

static void add_one(struct feature_set *set, const struct feature_info *info)
{
    for (;;) {
        set->word[info->id / 32] |= UINT32_C(1) << info->id % 32;
        if (info->needs == info->id)
            return;
        info = find_id(info->needs);
    }
}

bool features_add(struct feature_set *set, const char *names)
{
    for (;;) {
        names += strspn(names, " ");
        size_t length = strcspn(names, " ");
        if (!length)
            return true;
        const struct feature_info *info = find_name(names, length);
        if (!info)
            return false;
        add_one(set, info);
        names += length;
    }
}

bool features_remove(struct feature_set *set, const char *name)
{
    const struct feature_info *info = find_name(name, strlen(name));
    if (!info)
        return false;
    set->word[info->id / 32] &= ~(UINT32_C(1) << info->id % 32);
    /* Needs form chains: as many rounds as the longest is long. */
    for (bool again = true; again;) {
        again = false;
        for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
            enum feature id = features[i].id;
            if (has_feature(set, id) && !has_feature(set, features[i].needs)) {
                set->word[id / 32] &= ~(UINT32_C(1) << id % 32);
                again = true;
            }
        }
    }
    return true;
}

const char *features_beyond(const struct feature_set *set, const struct feature_set *within)
{
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        if (has_feature(set, features[i].id) && !has_feature(within, features[i].id))
            return features[i].name;
    return NULL;
}

char *features_describe(const struct feature_set *set)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(features); i++)
        if (has_feature(set, features[i].id))
            g_string_append_printf(text, "%s%s", text->len ? " " : "", features[i].name);
    return g_string_free(text, FALSE);
}

struct feature_set features_of_host(void)
{
    struct feature_set set = {{0}};
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        set.word[WORD_1_ECX] = c;
        set.word[WORD_1_EDX] = d;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        set.word[WORD_7_EBX] = b;
        set.word[WORD_7_ECX] = c;
        set.word[WORD_7_EDX] = d;
    }
    if (__get_cpuid_count(0xd, 1, &a, &b, &c, &d))
        set.word[WORD_D_EAX] = a;
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
        set.word[WORD_EXT_ECX] = c;
        set.word[WORD_EXT_EDX] = d;
    }
    return set;
}

/* ---- what instructions need ------------------------------------------------------------------ */

/* An operation's feature, and what its bytes mean to a processor without it. */
struct need {
    uint16_t feature, fallback;
};

/*
 * What sse_ops.h does not say. Nothing here: the 486 has it. Where CPUID has no bit of its own for
 * an instruction, the feature is one that appeared with the same processors: RDPMC, the hint space
 * of NOPs (0F 18 to 0F 1F) and UD1 came with CMOV.
 */
#define NARROW_AVX        FEATURE_AVX
#define NARROW_AVXI       FEATURE_AVX
#define NARROW_AVX2       FEATURE_AVX2
#define NARROW_FMA        FEATURE_FMA
#define NARROW_F16C       FEATURE_F16C
#define NARROW_VAES       FEATURE_AES
#define NARROW_VPCLMULQDQ FEATURE_PCLMULQDQ
static const struct need needs[OP_COUNT] = {
#define SSE(id, name, map, prefix, opcode, kind, feature) [OP_##id] = {FEATURE_##feature, 0},
    SSE_TABLE_OPS(SSE)
#undef SSE
#define SHIFT(id, name, opcode, reg, mmx) [OP_##id] = {FEATURE_SSE2, 0},
        SSE_SHIFT_OPS(SHIFT)
#undef SHIFT
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    [OP_##id] = {NARROW_##feature, 0},
            VEX_TABLE_OPS(VEX)
#undef VEX
#define VEX_SHIFT(id, ...) [OP_##id] = {FEATURE_AVX, 0},
                VEX_SHIFT_OPS(VEX_SHIFT)
#undef VEX_SHIFT
                    [OP_VLDMXCSR] = {FEATURE_AVX, 0},
    [OP_VSTMXCSR] = {FEATURE_AVX, 0},
    [OP_TZCNT] = {FEATURE_BMI1, OP_BSF},
    [OP_LZCNT] = {FEATURE_LZCNT, OP_BSR},
    [OP_MOVBE_LOAD] = {FEATURE_MOVBE, 0},
    [OP_MOVBE_STORE] = {FEATURE_MOVBE, 0},
    [OP_ADCX] = {FEATURE_ADX, 0},
    [OP_ADOX] = {FEATURE_ADX, 0},
    [OP_RDRAND] = {FEATURE_RDRAND, 0},
    [OP_RDSEED] = {FEATURE_RDSEED, 0},
    [OP_RDPID] = {FEATURE_RDPID, 0},
    [OP_CLFLUSHOPT] = {FEATURE_CLFLUSHOPT, OP_CLFLUSH},
    [OP_CLWB] = {FEATURE_CLWB, 0},
    [OP_XGETBV] = {FEATURE_XSAVE, 0},
    [OP_XSETBV] = {FEATURE_XSAVE, 0},
    [OP_XSAVE] = {FEATURE_XSAVE, 0},
    [OP_XRSTOR] = {FEATURE_XSAVE, 0},
    [OP_XSAVEOPT] = {FEATURE_XSAVEOPT, 0},
    [OP_XSAVEC] = {FEATURE_XSAVEC, 0},
    [OP_XSAVES] = {FEATURE_XSAVES, 0},
    [OP_XRSTORS] = {FEATURE_XSAVES, 0},
    [OP_ANDN] = {FEATURE_BMI1, 0},
    [OP_BLSR] = {FEATURE_BMI1, 0},
    [OP_BLSMSK] = {FEATURE_BMI1, 0},
    [OP_BLSI] = {FEATURE_BMI1, 0},
    [OP_BEXTR] = {FEATURE_BMI1, 0},
    [OP_BZHI] = {FEATURE_BMI2, 0},
    [OP_PEXT] = {FEATURE_BMI2, 0},
    [OP_PDEP] = {FEATURE_BMI2, 0},
    [OP_MULX] = {FEATURE_BMI2, 0},
    [OP_SHLX] = {FEATURE_BMI2, 0},
    [OP_SARX] = {FEATURE_BMI2, 0},
    [OP_SHRX] = {FEATURE_BMI2, 0},
    [OP_RORX] = {FEATURE_BMI2, 0},
    [OP_CMOVCC] = {FEATURE_CMOV, 0},
    [OP_NOP_E] = {FEATURE_CMOV, 0},
    [OP_RDPMC] = {FEATURE_CMOV, 0},
    [OP_CMPXCHG8B] = {FEATURE_CX8, 0},
    [OP_POPCNT] = {FEATURE_POPCNT, 0},
    [OP_CRC32_8] = {FEATURE_SSE42, 0},
    [OP_CRC32] = {FEATURE_SSE42, 0},
    [OP_MOVNTI] = {FEATURE_SSE2, 0},
    [OP_CLFLUSH] = {FEATURE_CLFLUSH, 0},
    [OP_RDMSR] = {FEATURE_MSR, 0},
    [OP_WRMSR] = {FEATURE_MSR, 0},
    [OP_RDTSC] = {FEATURE_TSC, 0},
    [OP_RDTSCP] = {FEATURE_RDTSCP, 0},
    [OP_SYSCALL] = {FEATURE_SYSCALL, 0},
    [OP_SYSRET] = {FEATURE_SYSCALL, 0},
    [OP_SYSENTER] = {FEATURE_SEP, 0},
    [OP_SYSEXIT] = {FEATURE_SEP, 0},
    [OP_SWAPGS] = {FEATURE_LM, 0},
    [OP_INVPCID] = {FEATURE_INVPCID, 0},
    [OP_VMCALL] = {FEATURE_KVMCLOCK, 0}, /* VMMCALL, too */
    [OP_CLAC] = {FEATURE_SMAP, 0},
    [OP_STAC] = {FEATURE_SMAP, 0},
    [OP_RDFSBASE] = {FEATURE_FSGSBASE, 0},
    [OP_RDGSBASE] = {FEATURE_FSGSBASE, 0},
    [OP_WRFSBASE] = {FEATURE_FSGSBASE, 0},
    [OP_WRGSBASE] = {FEATURE_FSGSBASE, 0},
    [OP_FXSAVE] = {FEATURE_FXSR, 0},
    [OP_FXRSTOR] = {FEATURE_FXSR, 0},
    [OP_LDMXCSR] = {FEATURE_SSE1, 0},
    [OP_STMXCSR] = {FEATURE_SSE1, 0},
    [OP_EMMS] = {FEATURE_MMX, 0},
};

/* What the 256-bit forms need; 0: the same as the others. */
#define WIDE_AVX        0
#define WIDE_AVXI       FEATURE_AVX2
#define WIDE_AVX2       0
#define WIDE_FMA        0
#define WIDE_F16C       0
#define WIDE_VAES       FEATURE_VAES
#define WIDE_VPCLMULQDQ FEATURE_VPCLMULQDQ
static const uint16_t wide_needs[OP_COUNT] = {
#define VEX(id, name, map, prefix, opcode, w, l, operands, bytes, kind, feature)                   \
    [OP_##id] = WIDE_##feature,
    VEX_TABLE_OPS(VEX)
#undef VEX
#define VEX_SHIFT(id, ...) [OP_##id] = FEATURE_AVX2,
        VEX_SHIFT_OPS(VEX_SHIFT)
#undef VEX_SHIFT
};

/* Forms of one operation that need more than the others. */
static enum feature need_of_form(const struct insn *insn, bool code64)
{
    bool memory = insn->modrm < 0xc0;
    unsigned reg = insn->modrm >> 3 & 7;
    switch (insn->op) {
    case OP_CMPXCHG8B:
        return insn->size == SIZE_64 ? FEATURE_CX16 : FEATURE_NONE;
    case OP_LAHF:
    case OP_SAHF:
        return code64 ? FEATURE_LAHF64 : FEATURE_NONE;
    case OP_FENCE: /* SFENCE; LFENCE, MFENCE */
        return insn->modrm >= 0xf8 ? FEATURE_SSE1 : FEATURE_SSE2;
    case OP_X87_DA: /* FCMOVcc */
        return !memory && reg < 4 ? FEATURE_CMOV : FEATURE_NONE;
    case OP_X87_DB: /* FCMOVcc, FUCOMI, FCOMI; FISTTP */
        if (memory)
            return reg == 1 ? FEATURE_SSE3 : FEATURE_NONE;
        return reg < 4 || reg == 5 || reg == 6 ? FEATURE_CMOV : FEATURE_NONE;
    case OP_X87_DD:
        return memory && reg == 1 ? FEATURE_SSE3 : FEATURE_NONE;
    case OP_X87_DF:
        if (memory)
            return reg == 1 ? FEATURE_SSE3 : FEATURE_NONE;
        return reg == 5 || reg == 6 ? FEATURE_CMOV : FEATURE_NONE;
    case OP_VBROADCASTSS:
    case OP_VBROADCASTSD:
        return insn_has_memory(insn) ? FEATURE_NONE : FEATURE_AVX2;
    default:
        return insn->prefix & PREFIX_VEX_L && wide_needs[insn->op] ? wide_needs[insn->op]
                                                                   : FEATURE_NONE;
    }
}

bool features_check(const struct feature_set *set, struct insn *insn, bool code64)
{
    struct need need = needs[insn->op];
    /* The shifts of MMX registers share their operations with the XMM ones. */
    if (insn->op >= OP_PSRLW_I && insn->op <= OP_PSLLQ_I && !(insn->prefix & PREFIX_OPSIZE))
        need.feature = FEATURE_MMX;
    if (need.feature && !has_feature(set, need.feature))
        insn->op = need.fallback;
    enum feature form = need_of_form(insn, code64);
    if (form != FEATURE_NONE && !has_feature(set, form))
        insn->op = OP_INVALID;
    return insn->op != OP_INVALID;
}

/*
 * CPU models and CPUID (SDM volume 2, CPUID).
 *
 * Family 6 model 0x36 is an in-order Atom: operating systems know it as free of speculative
 * execution flaws and of the errata of its contemporaries, so they leave out work-arounds that
 * would only cost time here. The features are the model's own, not that Atom's.
 */
#include "emu/cpu/models.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/system.h"
#include <string.h>

#define BIT(n) (UINT32_C(1) << (n))

struct model_row {
    const char *name, *about;
    const char *base; /* the model whose features it has, too */
    const char *features;
    uint32_t signature, highest_basic, highest_extended;
    unsigned physical_bits;
};

#define LEVEL_64 0x30661, 0x16, 0x80000008, 40

static const struct model_row models[] = {
    {"486", "late 80486 with CPUID", NULL, "fpu vme pse", 0x480, 1, 0, 32},
    {"pentium3", "Pentium III: PAE, SYSENTER, SSE, no NX", NULL,
     "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr sse "
     "hypervisor kvmclock",
     0x683, 3, 0, 36},
    {"x86-64-v1", "the first 64-bit processors", "pentium3", "clflush sse2 syscall nx lm",
     LEVEL_64},
    {"x86-64-v2", "to SSE4.2 and POPCNT (about 2009); the default", "x86-64-v1",
     "sse3 ssse3 cx16 sse4.1 sse4.2 popcnt lahf-lm rdtscp pdpe1gb fsgsbase tsc-adjust smep erms "
     "smap umip",
     LEVEL_64},
    {"x86-64-v3", "to AVX2, FMA3 and BMI2 (about 2013)", "x86-64-v2",
     "xsave xsaveopt avx f16c fma movbe bmi1 avx2 bmi2 lzcnt", LEVEL_64},
    {"host", "of what this host's processor has, all that Drover does", NULL, "", LEVEL_64},
};

/* All that the engines do; a model may have no more. */
static const char implemented_base[] = "x86-64-v3",
                  implemented_more[] =
                      "aes pclmulqdq sha vaes vpclmulqdq rdrand rdseed rdpid adx clflushopt clwb "
                      "xsavec xgetbv1 xsaves prefetchw pcid invpcid invtsc x2apic tsc-deadline";
/* What the host's own unit does for the guest. */
static const char run_by_host[] = "sse4.2 aes pclmulqdq sha f16c fma avx2 vaes vpclmulqdq";

static const struct model_row *find_row(const char *name, size_t length)
{
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++)
        if (strlen(models[i].name) == length && !memcmp(models[i].name, name, length))
            return &models[i];
    return NULL;
}

static void add_row(struct feature_set *set, const struct model_row *row)
{
    if (row->base)
        add_row(set, find_row(row->base, strlen(row->base)));
    features_add(set, row->features);
}

static struct feature_set implemented(void)
{
    struct feature_set set = {{0}};
    add_row(&set, find_row(implemented_base, strlen(implemented_base)));
    features_add(&set, implemented_more);
    return set;
}

char *cpu_model_help(void)
{
    GString *text = g_string_new("CPU models:\n");
    for (size_t i = 0; i < G_N_ELEMENTS(models); i++)
        g_string_append_printf(text, "  %-12s %s\n", models[i].name, models[i].about);
    struct feature_set all = implemented();
    g_autofree char *names = features_describe(&all);
    g_string_append_printf(text, "Features, to add or leave out as in x86-64-v2,-sse4.2:\n  %s\n",
                           names);
    return g_string_free(text, FALSE);
}

/* ---- parsing --------------------------------------------------------------------------------- */

static bool fail(GError **error, char *text)
{
    g_set_error_literal(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, text);
    g_free(text);
    return false;
}

static bool toggle(struct feature_set *set, const char *text, GError **error)
{
    struct feature_set all = implemented(), wanted = {{0}};
    if (text[0] == '-' && features_remove(set, text + 1))
        return true;
    if (text[0] != '+' || !text[1] || strchr(text, ' ') || !features_add(&wanted, text + 1) ||
        features_beyond(&wanted, &all)) {
        g_autofree char *names = features_describe(&all);
        return fail(error, g_strdup_printf("CPU feature %s: give +NAME or -NAME; this build has %s",
                                           text, names));
    }
    return features_add(set, text + 1);
}

/* Which bits of the control registers a feature brings. */
static void set_register_bits(struct cpu_model *model)
{
    static const struct {
        uint16_t feature;
        uint64_t cr4, efer;
    } rows[] = {
        {FEATURE_TSC, CR4_TSD, 0},       {FEATURE_DE, CR4_DE, 0},
        {FEATURE_PSE, CR4_PSE, 0},       {FEATURE_PAE, CR4_PAE, 0},
        {FEATURE_MCE, CR4_MCE, 0},       {FEATURE_PGE, CR4_PGE, 0},
        {FEATURE_CMOV, CR4_PCE, 0}, /* RDPMC came with it */
        {FEATURE_FXSR, CR4_OSFXSR, 0},   {FEATURE_SSE1, CR4_OSXMMEXCPT, 0},
        {FEATURE_XSAVE, CR4_OSXSAVE, 0}, {FEATURE_FSGSBASE, CR4_FSGSBASE, 0},
        {FEATURE_PCID, CR4_PCIDE, 0},    {FEATURE_VME, CR4_VME | CR4_PVI, 0},
        {FEATURE_SMEP, CR4_SMEP, 0},     {FEATURE_SMAP, CR4_SMAP, 0},
        {FEATURE_UMIP, CR4_UMIP, 0},     {FEATURE_SYSCALL, 0, EFER_SCE},
        {FEATURE_LM, 0, EFER_LME},       {FEATURE_NX, 0, EFER_NXE},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(rows); i++) {
        if (has_feature(&model->features, rows[i].feature)) {
            model->cr4_bits |= rows[i].cr4;
            model->efer_bits |= rows[i].efer;
        }
    }
}

/* False with an error when the host has not the units that do the work. */
static bool host_can_run(const struct feature_set *set, const char *text, GError **error)
{
    struct feature_set host = features_of_host(), by_host = {{0}};
    features_add(&by_host, run_by_host);
    for (unsigned i = 0; i < WORD_COUNT; i++)
        by_host.word[i] &= set->word[i];
    const char *missing = features_beyond(&by_host, &host);
    if (!missing)
        return true;
    return fail(error, g_strdup_printf("CPU model %s: it has %s, which this host's processor would "
                                       "have to run and has not; leave it out (%s,-%s), or take "
                                       "a model without it",
                                       text, missing, text, missing));
}

void cpu_model_limit(struct cpu_model *model, const struct feature_set *within)
{
    for (unsigned i = 0; i < WORD_COUNT; i++)
        model->features.word[i] &= within->word[i];
    model->cr4_bits = model->efer_bits = 0;
    set_register_bits(model);
}

bool cpu_model_parse(const char *text, struct cpu_model *ret_model, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", 0);
    const struct model_row *row = parts[0] ? find_row(parts[0], strlen(parts[0])) : NULL;
    if (!row) {
        GString *known = g_string_new(NULL);
        g_string_printf(known, "there is no CPU model \"%s\"; there are:", text);
        for (size_t i = 0; i < G_N_ELEMENTS(models); i++)
            g_string_append_printf(known, " %s", models[i].name);
        return fail(error, g_string_free(known, FALSE));
    }
    struct cpu_model model = {
        .signature = row->signature,
        .highest_basic = row->highest_basic,
        .highest_extended = row->highest_extended,
        .physical_bits = row->physical_bits,
    };
    add_row(&model.features, row);
    if (!strcmp(row->name, "host")) {
        model.of_host = true;
        struct feature_set all = implemented(), host = features_of_host();
        for (unsigned i = 0; i < WORD_COUNT; i++)
            model.features.word[i] = all.word[i] & host.word[i];
        /* What is ours to give, whatever the host has. */
        features_add(&model.features,
                     "x2apic tsc-deadline hypervisor kvmclock tsc-adjust erms umip smep smap");
        for (unsigned i = 0; i < WORD_COUNT; i++)
            model.features.word[i] &= all.word[i];
    }
    for (char **part = parts + 1; *part; part++)
        if (!toggle(&model.features, *part, error))
            return false;
    if (!host_can_run(&model.features, text, error))
        return false;
    set_register_bits(&model);
    *ret_model = model;
    return true;
}

bool cpu_check_model(const char *text, GError **error)
{
    struct cpu_model model;
    return cpu_model_parse(text, &model, error);
}

void cpu_describe_model(const struct cpu *cpu, uint32_t ret_words[CPU_MODEL_WORDS])
{
    G_STATIC_ASSERT(WORD_COUNT < CPU_MODEL_WORDS);
    memset(ret_words, 0, CPU_MODEL_WORDS * sizeof(uint32_t));
    memcpy(ret_words, cpu->model->features.word, sizeof(cpu->model->features.word));
    ret_words[CPU_MODEL_WORDS - 1] = cpu->model->signature;
}

/* ---- CPUID ----------------------------------------------------------------------------------- */

static void set(uint32_t out[4], uint32_t a, uint32_t b, uint32_t c, uint32_t d)
{
    out[0] = a;
    out[1] = b;
    out[2] = c;
    out[3] = d;
}

static void set_brand(uint32_t out[4], unsigned part)
{
    char brand[48] = "Drover Virtual CPU";
    memcpy(out, brand + 16 * part, 16);
}

/* The cores of the one package, and the bits of the APIC id that tell them apart. */
static unsigned core_count(const struct cpu *cpu)
{
    return MAX(cpu->board->cpus, 1);
}

static unsigned core_bits(const struct cpu *cpu)
{
    unsigned cores = core_count(cpu);
    return cores > 1 ? 32 - __builtin_clz(cores - 1) : 0;
}

static void version_leaf(struct cpu *cpu, uint32_t out[4])
{
    const struct cpu_model *m = cpu->model;
    uint32_t edx = m->features.word[WORD_1_EDX], ecx = m->features.word[WORD_1_ECX];
    uint64_t apic_base;
    if (cpu->ops->read_msr(cpu->opaque, 0x1b, &apic_base) && !(apic_base & 0x800))
        edx &= ~(UINT32_C(1) << FEATURE_APIC % 32);
    if (has_feature(&m->features, FEATURE_XSAVE) && cpu->s.cr4 & CR4_OSXSAVE)
        ecx |= BIT(27);
    uint32_t flush = has_feature(&m->features, FEATURE_CLFLUSH) ? 8 << 8 : 0,
             cores = core_count(cpu);
    if (cores > 1)
        edx |= BIT(28); /* the count of logical processors is valid */
    set(out, m->signature, cpu->index << 24 | cores << 16 | flush, ecx, edx);
}

/* One level of data and instruction cache for each core, one unified cache for all. Counts are of
 * ids, so powers of two. */
static void cache_leaf(const struct cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
    uint32_t ids = UINT32_C(1) << core_bits(cpu), package = (ids - 1) << 26;
    if (subleaf == 0)
        set(out, 0x00000121 | package, 7 << 22 | 63, 63, 0);
    else if (subleaf == 1)
        set(out, 0x00000122 | package, 7 << 22 | 63, 63, 0);
    else if (subleaf == 2)
        set(out, 0x00000143 | package | (ids - 1) << 14, 15 << 22 | 63, 1023, 0);
}

/* Leaf 0xb: threads (one for each core), then cores. */
static void topology_leaf(const struct cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
    if (subleaf == 0)
        set(out, 0, 1, 1 << 8, cpu->index);
    else if (subleaf == 1)
        set(out, core_bits(cpu), core_count(cpu), 2 << 8 | 1, cpu->index);
    else
        set(out, 0, 0, subleaf & 0xff, cpu->index);
}

static void extended_leaf(const struct cpu_model *m, uint32_t leaf, uint32_t out[4])
{
    switch (leaf) {
    case 0x80000000:
        set(out, m->highest_extended, 0, 0, 0);
        break;
    case 0x80000001:
        set(out, 0, 0, m->features.word[WORD_EXT_ECX], m->features.word[WORD_EXT_EDX]);
        break;
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
        set_brand(out, leaf - 0x80000002);
        break;
    case 0x80000006:
        set(out, 0, 0, 1024 << 16 | 6 << 12 | 64, 0);
        break;
    case 0x80000007:
        set(out, 0, 0, 0, m->features.word[WORD_EXT7_EDX]);
        break;
    case 0x80000008:
        set(out, m->physical_bits | 48 << 8, 0, 0, 0);
        break;
    }
}

/* The state that XSAVE saves: which components, how large the area is, where each lies. */
static void xsave_leaf(const struct cpu *cpu, uint32_t subleaf, uint32_t out[4])
{
    const struct feature_set *set_of = &cpu->model->features;
    bool avx = has_feature(set_of, FEATURE_AVX);
    uint32_t enabled = cpu->s.xcr0 & XCR0_YMM ? 832 : 576;
    if (!has_feature(set_of, FEATURE_XSAVE))
        return;
    if (subleaf == 0)
        set(out, XCR0_X87 | XCR0_SSE | (avx ? XCR0_YMM : 0), enabled, avx ? 832 : 576, 0);
    else if (subleaf == 1)
        set(out, set_of->word[WORD_D_EAX],
            has_feature(set_of, FEATURE_XSAVEC) || has_feature(set_of, FEATURE_XSAVES) ? enabled
                                                                                       : 0,
            0, 0);
    else if (subleaf == 2 && avx)
        set(out, 256, 576, 0, 0);
}

/* KVM's interface where the model has its clock, else nobody's. */
static void hypervisor_leaf(const struct cpu_model *m, uint32_t leaf, uint32_t out[4])
{
    bool kvm = has_feature(&m->features, FEATURE_KVMCLOCK);
    if (leaf == 0x40000000 && kvm)
        set(out, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d); /* KVMKVMKVM */
    else if (leaf == 0x40000000)
        set(out, 0x40000000, 0x766f7244, 0x72447265, 0x7265766f); /* DroverDrover */
    else if (leaf == 0x40000001 && kvm) /* the old registers, no I/O delay; a stable clock */
        set(out, m->features.word[WORD_KVM_EAX] | BIT(0) | BIT(1) | BIT(24), 0, 0, 0);
}

void system_cpuid(struct cpu *cpu, uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    const struct cpu_model *m = cpu->model;

    set(out, 0, 0, 0, 0);
    if (leaf >> 8 == 0x400000 && has_feature(&m->features, FEATURE_HYPERVISOR)) {
        hypervisor_leaf(m, leaf, out);
        return;
    }
    /* Beyond the range the highest basic leaf answers. */
    if (leaf < 0x80000000 ? leaf > m->highest_basic : leaf > m->highest_extended)
        leaf = m->highest_basic;
    switch (leaf) {
    case 0: /* GenuineIntel */
        set(out, m->highest_basic, 0x756e6547, 0x6c65746e, 0x49656e69);
        break;
    case 1:
        version_leaf(cpu, out);
        break;
    case 2:
        set(out, 0x00000001, 0, 0, 0);
        break;
    case 4:
        cache_leaf(cpu, subleaf, out);
        break;
    case 7:
        if (subleaf == 0)
            set(out, 0, m->features.word[WORD_7_EBX], m->features.word[WORD_7_ECX],
                m->features.word[WORD_7_EDX]);
        break;
    case 0xb:
        topology_leaf(cpu, subleaf, out);
        break;
    case 0xd:
        xsave_leaf(cpu, subleaf, out);
        break;
    case 0x15: /* TSC = crystal; the local APIC's timer counts the same crystal */
        set(out, 1, 1, TSC_HZ, 0);
        break;
    case 0x16:
        set(out, TSC_HZ / 1000000, TSC_HZ / 1000000, TSC_HZ / 1000000, 0);
        break;
    default:
        extended_leaf(m, leaf, out);
    }
}

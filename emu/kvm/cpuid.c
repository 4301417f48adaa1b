/* The CPU model as KVM is to show it (SDM volume 2, CPUID). */
#include "emu/kvm/kvm.h"

#include "emu/cpu/system.h"
#include <errno.h>
#include <gio/gio.h>
#include <string.h>
#include <sys/ioctl.h>

#define ENTRIES_MAX 128

struct table {
    unsigned count;
    struct kvm_cpuid_entry2 entries[ENTRIES_MAX];
};

/* ---- what there is ----------------------------------------------------------------------- */

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t leaf,
                                           uint32_t subleaf)
{
    for (unsigned i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == leaf && cpuid->entries[i].index == subleaf)
            return &cpuid->entries[i];
    }
    return NULL;
}

static struct feature_set offered_features(const struct kvm_cpuid2 *cpuid)
{
    static const struct {
        enum feature_word word;
        uint32_t leaf, subleaf;
        size_t reg;
    } places[] = {
        {WORD_1_EDX, 1, 0, offsetof(struct kvm_cpuid_entry2, edx)},
        {WORD_1_ECX, 1, 0, offsetof(struct kvm_cpuid_entry2, ecx)},
        {WORD_7_EBX, 7, 0, offsetof(struct kvm_cpuid_entry2, ebx)},
        {WORD_7_ECX, 7, 0, offsetof(struct kvm_cpuid_entry2, ecx)},
        {WORD_7_EDX, 7, 0, offsetof(struct kvm_cpuid_entry2, edx)},
        {WORD_D_EAX, 0xd, 1, offsetof(struct kvm_cpuid_entry2, eax)},
        {WORD_KVM_EAX, 0x40000001, 0, offsetof(struct kvm_cpuid_entry2, eax)},
        {WORD_EXT_EDX, 0x80000001, 0, offsetof(struct kvm_cpuid_entry2, edx)},
        {WORD_EXT_ECX, 0x80000001, 0, offsetof(struct kvm_cpuid_entry2, ecx)},
    };
    struct feature_set set = {{0}};
    for (size_t i = 0; i < G_N_ELEMENTS(places); i++) {
        const struct kvm_cpuid_entry2 *entry = find(cpuid, places[i].leaf, places[i].subleaf);
        if (entry)
            set.word[places[i].word] |= *(const uint32_t *)((const uint8_t *)entry + places[i].reg);
    }
    /* The first only tell that something is fast; the others are the board's to give. */
    features_add(&set, "erms fsrm apic x2apic hypervisor invtsc");
    return set;
}

bool kvm_fit_model(struct cpu_model *model, const struct kvm_host *host,
                   const struct kvm_cpuid2 *offered, GError **error)
{
    struct feature_set there = offered_features(offered), missing;
    if (host->deadline)
        features_add(&there, "tsc-deadline");
    else
        features_remove(&there, "tsc-deadline");
    if (model->of_host)
        cpu_model_limit(model, &there);
    if (!host->clock)
        features_remove(&there, "kvmclock");
    if (!features_beyond(&model->features, &there))
        return true;
    for (unsigned i = 0; i < WORD_COUNT; i++)
        missing.word[i] = model->features.word[i] & ~there.word[i];
    g_autofree char *names = features_describe(&missing);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_SUPPORTED,
                "KVM of this host does not offer what the CPU model has: %s; take them from the "
                "model (--cpu-model NAME,-FEATURE), or --cpu-model host, or another engine",
                names);
    return false;
}

/* ---- what the guest is told -------------------------------------------------------------- */

static bool add(struct table *t, struct cpu *cpu, uint32_t leaf, uint32_t subleaf, bool indexed,
                uint32_t ret[4])
{
    system_cpuid(cpu, leaf, subleaf, ret);
    if (t->count == ENTRIES_MAX)
        return false;
    t->entries[t->count++] =
        (struct kvm_cpuid_entry2){.function = leaf,
                                  .index = subleaf,
                                  .flags = indexed ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
                                  .eax = ret[0],
                                  .ebx = ret[1],
                                  .ecx = ret[2],
                                  .edx = ret[3]};
    return true;
}

/* How many subleaves a leaf has, from its first; 0 where the subleaf does not matter. */
static unsigned subleaves(uint32_t leaf, const uint32_t first[4])
{
    switch (leaf) {
    case 4:
        return 4;
    case 7:
        return first[0] + 1;
    case 0xb:
        return 3;
    case 0xd:
        return 10;
    default:
        return 0;
    }
}

static bool add_range(struct table *t, struct cpu *cpu, uint32_t base, uint32_t last)
{
    uint32_t out[4];
    for (uint32_t leaf = base; leaf <= last; leaf++) {
        system_cpuid(cpu, leaf, 0, out);
        unsigned count = subleaves(leaf, out);
        if (count == 0 && !add(t, cpu, leaf, 0, false, out))
            return false;
        for (unsigned i = 0; i < count; i++) {
            if (!add(t, cpu, leaf, i, true, out))
                return false;
        }
    }
    return true;
}

/* The crystal stays the board's 1 GHz, which the local APIC's timer counts. */
static void set_frequency(struct kvm_cpu *kv, struct table *t)
{
    for (unsigned i = 0; i < t->count; i++) {
        struct kvm_cpuid_entry2 *entry = &t->entries[i];
        if (entry->function == 0x15 && entry->eax) {
            entry->eax = TSC_HZ / 1000;
            entry->ebx = kv->tsc_khz;
        } else if (entry->function == 0x16 && entry->eax) {
            entry->eax = entry->ebx = kv->tsc_khz / 1000;
        } else if (entry->function == 1) {
            entry->edx |= kv->cpu->model->features.word[WORD_1_EDX] & UINT32_C(1)
                                                                          << FEATURE_APIC % 32;
        }
    }
}

bool kvm_set_cpuid(struct kvm_cpu *kv, GError **error)
{
    struct cpu *cpu = kv->cpu;
    const struct cpu_model *m = cpu->model;
    g_autofree struct table *t = g_new0(struct table, 1);
    uint32_t out[4] = {0};
    if (has_feature(&m->features, FEATURE_HYPERVISOR))
        system_cpuid(cpu, 0x40000000, 0, out);
    bool fits = add_range(t, cpu, 0, m->highest_basic) &&
                (!out[0] || add_range(t, cpu, 0x40000000, MIN(out[0], 0x40000010))) &&
                (!m->highest_extended || add_range(t, cpu, 0x80000000, m->highest_extended));
    set_frequency(kv, t);
    g_autofree struct kvm_cpuid2 *cpuid =
        g_malloc0(sizeof(*cpuid) + t->count * sizeof(t->entries[0]));
    cpuid->nent = t->count;
    memcpy(cpuid->entries, t->entries, t->count * sizeof(t->entries[0]));
    errno = E2BIG;
    if (fits && ioctl(kv->fd, KVM_SET_CPUID2, cpuid) == 0)
        return true;
    g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                "KVM: cannot give the CPU its model's CPUID: %s", g_strerror(errno));
    return false;
}

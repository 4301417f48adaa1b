/*
 * CPU models: what CPUID tells, what the command line may ask for, and that an instruction whose
 * feature is missing is what the processor would take it for, on every engine.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/board.h"
#include "emu/core/memory.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/decode.h"
#include "emu/cpu/models.h"
#include "emu/cpu/state.h"
#include "emu/cpu/system.h"
#include "emu/jit/jit.h"
#include "tests/unit/emu/cpu_wires.h"
#include <string.h>

static struct cpu_model model(const char *text)
{
    struct cpu_model parsed;
    GError *error = NULL;
    if (!cpu_model_parse(text, &parsed, &error))
        fail_msg("%s", error->message);
    return parsed;
}

static bool has(const char *text, enum feature feature)
{
    struct cpu_model m = model(text);
    return has_feature(&m.features, feature);
}

static void test_parse(void **state)
{
    static const char *const wrong[] = {
        "",          "z80", "x86-64-v2,sse",      "x86-64-v2,+", "x86-64-v2,-", "x86-64-v2,+warp",
        "486,-warp", ",",   "x86-64-v2,+sse sse2"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        struct cpu_model parsed;
        assert_false(cpu_model_parse(wrong[i], &parsed, &error));
        assert_non_null(error);
    }
    assert_true(has("x86-64-v2", FEATURE_SSE42));
    assert_false(has("x86-64-v2,-sse4.2", FEATURE_SSE42));
    assert_true(has("x86-64-v2,-sse4.2", FEATURE_SSE41));
    /* What needs it goes with it; what it needs comes with it. */
    assert_false(has("x86-64-v2,-sse3", FEATURE_SSE42));
    assert_true(has("x86-64-v1,+sse4.2", FEATURE_SSSE3));
    assert_false(has("x86-64-v1", FEATURE_SSE3));
    assert_false(has("pentium3", FEATURE_NX));
    assert_false(has("pentium3", FEATURE_LM));
    assert_false(has("486", FEATURE_TSC));
    g_autofree char *help = cpu_model_help();
    assert_non_null(strstr(help, "x86-64-v1"));
}

/* No model offers more than what is implemented, the host's no more than the host has. */
static void test_host(void **state)
{
    struct cpu_model host = model("host");
    struct feature_set real = features_of_host();
    assert_true(has_feature(&host.features, FEATURE_LM));
    assert_true(!has_feature(&host.features, FEATURE_SSE42) || has_feature(&real, FEATURE_SSE42));
    assert_null(features_beyond(&real, &real));
}

struct sample {
    const char *bytes;
    size_t length;
    const char *without; /* a model that lacks the feature, and one that has it */
    const char *with;
    enum op op; /* what it is then; what it was before, or OP_INVALID, without */
    enum op before;
};
#define S(bytes) bytes, sizeof(bytes) - 1

static void test_instructions(void **state)
{
    static const struct sample samples[] = {
        {S("\x0f\x44\xc1"), "486", "pentium3", OP_CMOVCC, 0},
        {S("\x0f\xc7\x0f"), "486", "pentium3", OP_CMPXCHG8B, 0},
        {S("\x48\x0f\xc7\x0f"), "x86-64-v1", "x86-64-v2", OP_CMPXCHG8B, 0},
        {S("\x0f\xae\x07"), "486", "pentium3", OP_FXSAVE, 0},
        {S("\x0f\xfc\xc1"), "486", "pentium3", OP_PADDB_P, 0},
        {S("\x66\x0f\xfc\xc1"), "pentium3", "x86-64-v1", OP_PADDB, 0},
        {S("\x0f\x71\xd1\x01"), "486", "pentium3", OP_PSRLW_I, 0},
        {S("\x66\x0f\x71\xd1\x01"), "pentium3", "x86-64-v1", OP_PSRLW_I, 0},
        {S("\x0f\x58\xc1"), "486", "pentium3", OP_ADDPS, 0},
        {S("\x0f\xe0\xc1"), "pentium3,-sse", "pentium3", OP_PAVGB_P, 0},
        {S("\x0f\xd4\xc1"), "pentium3", "x86-64-v1", OP_PADDQ_P, 0},
        {S("\xf3\x0f\x5b\xc1"), "pentium3", "x86-64-v1", OP_CVTTPS2DQ, 0},
        {S("\xf2\x0f\x7c\xc1"), "x86-64-v1", "x86-64-v2", OP_HADDPS, 0},
        {S("\x0f\x38\x00\xc1"), "x86-64-v2,-ssse3", "x86-64-v2", OP_PSHUFB_P, 0},
        {S("\x66\x0f\x38\x10\xc1"), "x86-64-v2,-sse4.1", "x86-64-v2", OP_PBLENDVB, 0},
        {S("\xf2\x0f\x38\xf1\xc1"), "x86-64-v2,-sse4.2", "x86-64-v2", OP_CRC32, 0},
        {S("\xf3\x0f\xb8\xc1"), "x86-64-v1", "x86-64-v2", OP_POPCNT, 0},
        {S("\x0f\x05"), "pentium3", "x86-64-v1", OP_SYSCALL, 0},
        {S("\x0f\x34"), "486", "pentium3", OP_SYSENTER, 0},
        {S("\x0f\x31"), "486", "pentium3", OP_RDTSC, 0},
        {S("\x0f\x01\xf9"), "x86-64-v1", "x86-64-v2", OP_RDTSCP, 0},
        {S("\x0f\x32"), "486", "pentium3", OP_RDMSR, 0},
        {S("\x0f\x01\xca"), "x86-64-v1", "x86-64-v2", OP_CLAC, 0},
        {S("\xf3\x0f\xae\xc0"), "x86-64-v1", "x86-64-v2", OP_RDFSBASE, 0},
        {S("\x0f\xae\x3f"), "pentium3", "x86-64-v1", OP_CLFLUSH, 0},
        {S("\x0f\xae\xf8"), "486", "pentium3", OP_FENCE, 0},
        {S("\x0f\xae\xe8"), "pentium3", "x86-64-v1", OP_FENCE, 0},
        {S("\x9f"), "x86-64-v1", "x86-64-v2", OP_LAHF, 0},
        {S("\xda\xc1"), "486", "pentium3", OP_X87_DA, 0},
        {S("\xdb\xf1"), "486", "pentium3", OP_X87_DB, 0},
        {S("\xdf\x0f"), "pentium3", "x86-64-v2", OP_X87_DF, 0},
        {S("\x0f\x1f\x00"), "486", "pentium3", OP_NOP_E, 0},
        /* The form with 256 bits may need more than that with 128. */
        {S("\xc5\xf0\x58\xc1"), "x86-64-v2", "x86-64-v2,+avx", OP_VADDPS, 0},
        {S("\xc5\xf1\xfc\xc1"), "x86-64-v2", "x86-64-v2,+avx", OP_VPADDB, 0},
        {S("\xc5\xf5\xfc\xc1"), "x86-64-v3,-avx2", "x86-64-v3", OP_VPADDB, 0},
        {S("\xc5\xf5\x71\xd1\x01"), "x86-64-v3,-avx2", "x86-64-v3", OP_VPSRLW_I, 0},
        {S("\xc4\xe2\x79\x18\x00"), "x86-64-v2", "x86-64-v3,-avx2", OP_VBROADCASTSS, 0},
        {S("\xc4\xe2\x79\x18\xc0"), "x86-64-v3,-avx2", "x86-64-v3", OP_VBROADCASTSS, 0},
        {S("\xc4\xe2\x71\xdc\xc1"), "x86-64-v3", "x86-64-v3,+aes", OP_VAESENC, 0},
        {S("\xc4\xe2\x75\xdc\xc1"), "x86-64-v3,+aes", "x86-64-v3,+aes,+vaes", OP_VAESENC, 0},
        {S("\xc4\xe2\x70\xf2\xc1"), "x86-64-v2", "x86-64-v3", OP_ANDN, 0},
        /* These the 486 has. */
        {S("\x0f\xa2"), "486", "486", OP_CPUID, OP_CPUID},
        {S("\x0f\x01\x3f"), "486", "486", OP_INVLPG, OP_INVLPG},
        {S("\x0f\xc1\xc8"), "486", "486", OP_XADD, OP_XADD},
        {S("\x0f\xc8"), "486", "486", OP_BSWAP, OP_BSWAP},
        {S("\xdb\xe3"), "486", "486", OP_X87_DB, OP_X87_DB},
        /* Prefixes that an older processor does not mind. */
        {S("\xf3\x0f\xbd\xc1"), "x86-64-v2", "x86-64-v2,+lzcnt", OP_LZCNT, OP_BSR},
        {S("\xf3\x0f\xbc\xc1"), "x86-64-v2", "x86-64-v2,+bmi1", OP_TZCNT, OP_BSF},
        {S("\x66\x0f\xae\x3f"), "x86-64-v2", "x86-64-v2,+clflushopt", OP_CLFLUSHOPT, OP_CLFLUSH},
        {S("\x0f\x38\xf0\x07"), "x86-64-v2", "x86-64-v2,+movbe", OP_MOVBE_LOAD, 0},
        {S("\x0f\xc7\xf0"), "x86-64-v2", "x86-64-v2,+rdrand", OP_RDRAND, 0},
        {S("\x0f\xc7\xf8"), "x86-64-v2", "x86-64-v2,+rdseed", OP_RDSEED, 0},
        {S("\xf3\x0f\xc7\xf8"), "x86-64-v2", "x86-64-v2,+rdpid", OP_RDPID, 0},
        {S("\x66\x0f\x38\xf6\xc1"), "x86-64-v2", "x86-64-v2,+adx", OP_ADCX, 0},
        {S("\x0f\x01\xd0"), "x86-64-v2", "x86-64-v2,+xsave", OP_XGETBV, 0},
        {S("\x0f\xae\x27"), "x86-64-v2", "x86-64-v2,+xsave", OP_XSAVE, 0},
        {S("\x0f\xae\x37"), "x86-64-v2,+xsave", "x86-64-v3", OP_XSAVEOPT, 0},
        {S("\x0f\xc7\x27"), "x86-64-v3", "x86-64-v3,+xsavec", OP_XSAVEC, 0},
        {S("\x0f\xc7\x2f"), "x86-64-v3", "x86-64-v3,+xsaves", OP_XSAVES, 0},
        {S("\x0f\xc7\x1f"), "x86-64-v3,+xsavec", "x86-64-v3,+xsaves", OP_XRSTORS, 0},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(samples); i++) {
        const struct sample *s = &samples[i];
        struct cpu_model with = model(s->with), without = model(s->without);
        struct insn insn;
        assert_int_equal(decode(&insn, (const uint8_t *)s->bytes, s->length, DECODE_64), DECODE_OK);
        struct insn copy = insn;
        if (!features_check(&with.features, &copy, true) || copy.op != s->op)
            fail_msg("%s of %s is %s", op_table[insn.op].name, s->with, op_table[copy.op].name);
        copy = insn;
        if (features_check(&without.features, &copy, true) != !!s->before || copy.op != s->before)
            fail_msg("%s of %s is %s", op_table[insn.op].name, s->without, op_table[copy.op].name);
    }
}

/* ---- on a CPU -------------------------------------------------------------------------------- */

/* Runs real-mode code at 0x1000 until HLT; #UD goes to a HLT at 0x2000. Returns where it ended. */
static uint64_t run_code(const char *engine, const char *name, const char *code, size_t length)
{
    struct board board;
    assert_true(board_init(&board, 1 << 20, NULL));
    struct cpu *cpu = cpu_new(&board, 0, engine, name, &quiet_wires, NULL, NULL);
    assert_non_null(cpu);
    jit_set_hot(cpu, 1);
    uint8_t *ram = memory_ram_host(board.memory);
    memcpy(ram + 0x1000, code, length);
    ram[0x1000 + length] = 0xf4;
    ram[0x2000] = 0xf4;
    ram[6 * 4 + 1] = 0x20;
    struct cpu_state *s = cpu_state(cpu);
    s->seg[SEG_CS].base = s->seg[SEG_CS].selector = 0;
    s->rip = 0x1000;
    s->gpr[RSP] = 0x8000;
    cpu_state_changed(cpu);
    assert_int_equal(cpu_run(cpu), CPU_EXIT_HALTED);
    uint64_t rip = cpu_state(cpu)->rip;
    cpu_free(cpu);
    board_finish(&board);
    return rip;
}

static void test_engines(void **state)
{
    for (const char *const *engine = cpu_engines(); *engine; engine++) {
        /* Under KVM the host's processor runs what it has, whatever CPUID says. */
        if (!strcmp(*engine, "kvm") || !strcmp(*engine, "auto"))
            continue;
        /* A loop, so that an engine that translates hot code translates it. */
        static const char loop[] = "\xb9\x40\x00\x0f\x44\xc3\xe2\xfb"; /* mov cx; cmovz; loop */
        assert_int_equal(run_code(*engine, "pentium3", loop, 8), 0x1009);
        assert_int_equal(run_code(*engine, "486", loop, 8), 0x2001);
        static const char cr4[] = "\x66\xb8\x20\x00\x00\x00\x0f\x22\xe0"; /* CR4.PAE */
        assert_int_equal(run_code(*engine, "pentium3", cr4, 9), 0x100a);
        /* Real mode knows no VEX, whatever the model: C4 is LES, which has no register form. */
        static const char andn[] = "\xc4\xe2\x78\xf2\xc0", les[] = "\xc4\x07";
        if (cpu_check_model("x86-64-v3", NULL)) {
            assert_int_equal(run_code(*engine, "x86-64-v3", andn, 5), 0x2001);
            assert_int_equal(run_code(*engine, "x86-64-v3", les, 2), 0x1003);
        }
    }
}

static void test_cpuid(void **state)
{
    struct board board;
    uint32_t r[4];
    assert_true(board_init(&board, 1 << 20, NULL));
    struct cpu *cpu = cpu_new(&board, 0, "interp", "486", &quiet_wires, NULL, NULL);
    system_cpuid(cpu, 0, 0, r);
    assert_int_equal(r[0], 1);
    system_cpuid(cpu, 1, 0, r);
    assert_int_equal(r[0] >> 8 & 15, 4);
    assert_int_equal(r[3], 1 << 0 | 1 << 1 | 1 << 3);
    assert_int_equal(cpu_state(cpu)->gpr[RDX], r[0]);
    cpu_free(cpu);
    /* Six cores of one package: three bits of the APIC id. */
    board.cpus = 6;
    cpu = cpu_new(&board, 5, "interp", "x86-64-v2", &quiet_wires, NULL, NULL);
    system_cpuid(cpu, 1, 0, r);
    assert_int_equal(r[1] >> 16, 5 << 8 | 6);
    assert_true(r[3] & 1 << 28);
    system_cpuid(cpu, 4, 0, r);
    assert_int_equal(r[0] >> 26, 7);
    assert_int_equal(r[0] >> 14 & 0xfff, 0);
    system_cpuid(cpu, 4, 2, r);
    assert_int_equal(r[0] >> 14 & 0xfff, 7);
    system_cpuid(cpu, 0xb, 0, r);
    assert_int_equal(r[0] | r[1] << 8 | r[2] << 16 | r[3] << 28, 1 << 8 | 1 << 24 | 5u << 28);
    system_cpuid(cpu, 0xb, 1, r);
    assert_int_equal(r[0], 3);
    assert_int_equal(r[1], 6);
    assert_int_equal(r[2], 0x201);
    system_cpuid(cpu, 0xb, 2, r);
    assert_int_equal(r[2], 2);
    cpu_free(cpu);
    board.cpus = 1;
    cpu = cpu_new(&board, 0, "interp", "x86-64-v2,-syscall", &quiet_wires, NULL, NULL);
    system_cpuid(cpu, 0x80000001, 0, r);
    assert_int_equal(r[3] & 1 << 11, 0);
    assert_true(r[3] & 1 << 29);
    cpu_free(cpu);
    board_finish(&board);
}

/* ---- XSAVES ---------------------------------------------------------------------------------- */

#define XSAVES_MODEL "x86-64-v3,+xsavec,+xsaves"
#define AREA         0x4000u

struct xsaves {
    struct board board;
    struct cpu *cpu;
};

/* Runs one instruction of real mode at 0x1000; faults go to HLTs. The area is at BX. */
static uint64_t step(struct xsaves *x, const char *code, size_t length)
{
    struct cpu_state *s = cpu_state(x->cpu);
    uint8_t *ram = memory_ram_host(x->board.memory);
    memset(ram + 0x1000, 0xf4, 32);
    memcpy(ram + 0x1000, code, length);
    for (unsigned vector = 6; vector < 14; vector++) {
        ram[vector * 4 + 1] = (uint8_t)(0x20 + vector);
        ram[0x2000 + vector * 0x100] = 0xf4;
    }
    s->seg[SEG_CS].base = s->seg[SEG_CS].selector = 0;
    s->rip = 0x1000;
    s->gpr[RSP] = 0x8000;
    s->gpr[RAX] = 7;
    s->gpr[RBX] = AREA;
    s->gpr[RDX] = 0;
    s->halted = false;
    s->cr4 |= CR4_OSXSAVE | CR4_OSFXSR;
    s->xcr0 = 7;
    cpu_state_changed(x->cpu);
    assert_int_equal(cpu_run(x->cpu), CPU_EXIT_HALTED);
    return cpu_state(x->cpu)->rip - 1;
}

/* XSAVES writes what XSAVEC does, which is held against the host's processor elsewhere; XRSTORS
 * takes that, and no area of the standard format. Supervisor state there is none. */
static void test_xsaves(void **state)
{
    static const char xsavec[] = "\x0f\xc7\x27", xsaves[] = "\x0f\xc7\x2f",
                      xrstors[] = "\x0f\xc7\x1f", xsave[] = "\x0f\xae\x27",
                      rdmsr[] = "\x66\xb9\xa0\x0d\x00\x00\x0f\x32",
                      wrmsr[] = "\x66\xb9\xa0\x0d\x00\x00\x0f\x30";
    struct xsaves x;
    uint8_t area[832], *ram;
    uint32_t r[4];
    if (!cpu_check_model(XSAVES_MODEL, NULL)) {
        print_message("this host has no AVX2\n");
        return;
    }
    assert_true(board_init(&x.board, 1 << 20, NULL));
    x.cpu = cpu_new(&x.board, 0, "interp", XSAVES_MODEL, &quiet_wires, NULL, NULL);
    struct cpu_state *s = cpu_state(x.cpu);
    ram = memory_ram_host(x.board.memory);
    for (unsigned used = 0; used < 4; used++) {
        memset(s->vec, 0, sizeof(s->vec));
        s->vec[3].q[1] = used & 1 ? 0x1122334455667788 : 0;
        s->vec[5].q[2] = used & 2 ? 0x99aabbccddeeff00 : 0;
        memset(ram + AREA, 0x5a, sizeof(area));
        assert_int_equal(step(&x, xsavec, 3), 0x1003);
        memcpy(area, ram + AREA, sizeof(area));
        memset(ram + AREA, 0x5a, sizeof(area));
        assert_int_equal(step(&x, xsaves, 3), 0x1003);
        assert_memory_equal(ram + AREA, area, sizeof(area));
        s->vec[3].q[1] = s->vec[5].q[2] = 1;
        memset(ram + AREA + 528, 0, 48);
        assert_int_equal(step(&x, xrstors, 3), 0x1003);
        assert_int_equal(s->vec[3].q[1], used & 1 ? 0x1122334455667788 : 0);
        assert_int_equal(s->vec[5].q[2], used & 2 ? 0x99aabbccddeeff00 : 0);
    }
    memset(ram + AREA, 0, sizeof(area));
    assert_int_equal(step(&x, xsave, 3), 0x1003);
    assert_int_equal(step(&x, xrstors, 3), 0x2d00);
    assert_int_equal(step(&x, rdmsr, 8), 0x1008);
    assert_int_equal(s->gpr[RAX] | s->gpr[RDX], 0);
    assert_int_equal(step(&x, wrmsr, 8), 0x2d00); /* EAX is 7 */
    system_cpuid(x.cpu, 0xd, 1, r);
    assert_int_equal(r[0] & 0xa, 0xa);
    assert_int_equal(r[1], 832);
    assert_int_equal(r[2] | r[3], 0);
    cpu_free(x.cpu);
    x.cpu = cpu_new(&x.board, 0, "interp", "x86-64-v3,+xsavec", &quiet_wires, NULL, NULL);
    assert_int_equal(step(&x, xsaves, 3), 0x2600);
    assert_int_equal(step(&x, rdmsr, 8), 0x2d00);
    cpu_free(x.cpu);
    board_finish(&x.board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),        cmocka_unit_test(test_host),
        cmocka_unit_test(test_instructions), cmocka_unit_test(test_engines),
        cmocka_unit_test(test_cpuid),        cmocka_unit_test(test_xsaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

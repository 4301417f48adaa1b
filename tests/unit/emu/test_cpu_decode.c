/* The decoder against Zydis, byte string by byte string, and the opcode tables against themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/state.h"
#include "emu/cpu/cpu.h"
#include "emu/cpu/decode.h"
#include "emu/cpu/opcodes.h"
#include "emu/cpu/state.h"
#include <Zydis/Zydis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t seed = 88172645463325252u;
static uint64_t random64(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Every row of the one-byte and two-byte maps decodes in some mode, with any ModRM byte's length.
 */
static void test_rows(void **state)
{
    unsigned rows = 0;
    for (unsigned map = 0; map < 2; map++) {
        const struct opcode *table = map ? opcode_0f : opcode_one;
        for (unsigned byte = 0; byte < 256; byte++) {
            if (table[byte].op == OP_INVALID || table[byte].attributes & A_GROUP)
                continue;
            bool decoded = false;
            for (unsigned mode = 0; mode < DECODE_MODE_COUNT; mode++) {
                for (unsigned modrm = 0; modrm < 256; modrm++) {
                    uint8_t code[15] = {0};
                    unsigned n = 0;
                    struct insn insn;
                    if (map)
                        code[n++] = 0x0f;
                    code[n++] = byte;
                    code[n++] = modrm;
                    if (decode(&insn, code, sizeof(code), mode) != DECODE_OK)
                        continue;
                    decoded = true;
                    assert_in_range(insn.length, 1 + map, 15);
                    assert_non_null(op_table[insn.op].name);
                }
            }
            if (!decoded)
                fail_msg("%s%02x never decodes", map ? "0f " : "", byte);
            rows++;
        }
    }
    assert_true(rows > 300);
}

/* A truncated instruction asks for more bytes and decodes alike once it has them. */
static void test_truncated(void **state)
{
    for (unsigned i = 0; i < 200000; i++) {
        uint8_t code[15];
        struct insn whole, part;
        for (unsigned j = 0; j < sizeof(code); j++)
            code[j] = (uint8_t)(random64() >> 32);
        unsigned mode = random64() % DECODE_MODE_COUNT;
        if (decode(&whole, code, sizeof(code), mode) != DECODE_OK)
            continue;
        for (unsigned n = 0; n < whole.length; n++)
            assert_int_equal(decode(&part, code, n, mode), DECODE_TRUNCATED);
        assert_int_equal(decode(&part, code, whole.length, mode), DECODE_OK);
        assert_int_equal(part.length, whole.length);
    }
}

static void test_too_long(void **state)
{
    uint8_t code[16];
    struct insn insn;
    memset(code, 0x66, sizeof(code));
    assert_int_equal(decode(&insn, code, sizeof(code), DECODE_64), DECODE_TOO_LONG);
}

/* What Zydis knows and the models do not offer, or the two see differently with good reason. */
static bool exempt(const ZydisDecodedInstruction *z)
{
    switch (z->mnemonic) {
    case ZYDIS_MNEMONIC_TZCNT:
    case ZYDIS_MNEMONIC_LZCNT:
        return true;
    default:
        break;
    }
    return false;
}

static bool compare_one(const uint8_t *code, unsigned mode, ZydisDecoder *decoder, unsigned *both)
{
    ZydisDecodedInstruction z;
    struct insn insn;
    enum decode_result result = decode(&insn, code, 15, mode);
    bool known = ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, code, 15, &z));
    if (result != DECODE_OK || !known || exempt(&z))
        return true;
    ++*both;
    if (insn.length == z.length)
        return true;
    printf("mode %u, length %u, Zydis %u (%s, %s):", mode, insn.length, z.length,
           op_table[insn.op].name, ZydisMnemonicGetString(z.mnemonic));
    for (unsigned i = 0; i < 15; i++)
        printf(" %02x", code[i]);
    printf("\n");
    return false;
}

static void test_lengths(void **state)
{
    ZydisDecoder decoders[DECODE_MODE_COUNT];
    unsigned both = 0, failures = 0;
    ZydisDecoderInit(&decoders[DECODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[DECODE_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[DECODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < 1500000 && failures < 20; i++) {
        uint8_t code[15];
        for (unsigned j = 0; j < sizeof(code); j++)
            code[j] = (uint8_t)(random64() >> 40);
        if (random64() >> 62 == 0)
            code[0] = 0x0f;
        unsigned mode = random64() % DECODE_MODE_COUNT;
        failures += !compare_one(code, mode, &decoders[mode], &both);
    }
    printf("%u byte strings that both know, %u differences\n", both, failures);
    assert_int_equal(failures, 0);
    assert_true(both > 500000);
}

/* Saved state: save, load, save gives the same bytes. */
static void test_state(void **state)
{
    struct cpu_state a, b;
    uint8_t *bytes = (uint8_t *)&a;
    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    for (size_t i = 0; i < sizeof(a); i++)
        bytes[i] = (uint8_t)(random64() >> 20);
    a.halted = a.wait_for_sipi = a.shadow = a.nmi_blocked = a.nmi_pending = true;
    a.init_pending = a.sipi_pending = a.shutdown = true;
    g_autoptr(GByteArray) first = g_byte_array_new(), second = g_byte_array_new();
    g_autoptr(GError) error = NULL;
    state_save(first, "cpu", CPU_STATE_VERSION, cpu_state_fields, &a);
    g_autoptr(GBytes) image = g_bytes_new(first->data, first->len);
    unsigned version;
    g_autoptr(GBytes) section = state_find(image, "cpu", &version);
    assert_non_null(section);
    assert_true(state_load(section, "cpu", version, cpu_state_fields, &b, &error));
    state_save(second, "cpu", CPU_STATE_VERSION, cpu_state_fields, &b);
    assert_int_equal(first->len, second->len);
    assert_memory_equal(first->data, second->data, first->len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),     cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_too_long), cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

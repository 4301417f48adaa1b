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

static bool compare_one(const uint8_t *code, unsigned mode, ZydisDecoder *decoder, unsigned *both)
{
    ZydisDecodedInstruction z;
    struct insn insn;
    enum decode_result result = decode(&insn, code, 15, mode);
    bool known = ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, code, 15, &z));
    if (result != DECODE_OK || !known)
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

/* ---- VEX ------------------------------------------------------------------------------------- */

static unsigned random_vex(uint8_t *code, unsigned mode)
{
    unsigned n = 0;
    for (unsigned j = 0; j < 15; j++)
        code[j] = (uint8_t)(random64() >> 40);
    if (random64() >> 60 == 0)
        code[n++] = random64() & 1 ? 0x67 : 0x64;
    if (random64() >> 58 == 0)
        code[n++] = "\xf0\x66\xf2\xf3\x48"[random64() % 5];
    bool unused = random64() & 1; /* VEX.vvvv is 1111b, as it must be where it is not used */
    if (random64() >> 62 == 0) {
        code[n++] = 0xc5;
    } else {
        code[n++] = 0xc4;
        code[n] = (code[n] & 0xe0) | (1 + random64() % 3);
        n++;
    }
    if (unused)
        code[n] |= 0x78;
    if (mode != DECODE_64)
        code[code[n - 1] == 0xc5 ? n : n - 1] |= 0xc0;
    return n;
}

static bool is_ours(const ZydisDecodedInstruction *z)
{
    switch (z->meta.isa_set) {
    case ZYDIS_ISA_SET_AVX:
    case ZYDIS_ISA_SET_AVX2:
    case ZYDIS_ISA_SET_AVX2GATHER:
    case ZYDIS_ISA_SET_AVXAES:
    case ZYDIS_ISA_SET_VAES:
    case ZYDIS_ISA_SET_VPCLMULQDQ:
    case ZYDIS_ISA_SET_FMA:
    case ZYDIS_ISA_SET_F16C:
    case ZYDIS_ISA_SET_BMI1:
    case ZYDIS_ISA_SET_BMI2:
        return true;
    default:
        return false;
    }
}

static bool same_name(const struct insn *insn, ZydisMnemonic mnemonic)
{
    const char *name = ZydisMnemonicGetString(mnemonic), *ours = op_table[insn->op].name;
    if (insn->op == OP_VZERO)
        return !strcmp(name, insn->prefix & PREFIX_VEX_L ? "vzeroall" : "vzeroupper");
    if (insn->op == OP_VMOVLPS_LOAD && insn->shape == SHAPE_R)
        return !strcmp(name, "vmovhlps");
    if (insn->op == OP_VMOVHPS_LOAD && insn->shape == SHAPE_R)
        return !strcmp(name, "vmovlhps");
    /* These are one operation of two sizes. */
    if (insn->op == OP_VMOVD_VE || insn->op == OP_VMOVD_EV || insn->op == OP_VPEXTRD ||
        insn->op == OP_VPINSRD)
        return !strncmp(name, ours, strlen(ours) - 1) &&
               (name[strlen(name) - 1] == 'q') == (insn->size == SIZE_64);
    return !strcmp(name, ours);
}

/* The registers, by the field that names them. */
static bool same_operands(const struct insn *insn, const ZydisDecodedInstruction *z,
                          const ZydisDecodedOperand *operands)
{
    for (unsigned i = 0; i < z->operand_count_visible; i++) {
        const ZydisDecodedOperand *o = &operands[i];
        unsigned field;
        if (o->type == ZYDIS_OPERAND_TYPE_MEMORY) {
            bool vector = o->mem.type == ZYDIS_MEMOP_TYPE_VSIB;
            if (vector != (insn->op >= OP_VPGATHERDD && insn->op <= OP_VGATHERQPD) ||
                (vector && insn->rm != ZydisRegisterGetId(o->mem.index)) ||
                (vector && insn->scale != __builtin_ctz(o->mem.scale)))
                return false;
            continue;
        }
        if (o->type != ZYDIS_OPERAND_TYPE_REGISTER)
            continue;
        bool general = ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR32 ||
                       ZydisRegisterGetClass(o->reg.value) == ZYDIS_REGCLASS_GPR64;
        switch (o->encoding) {
        case ZYDIS_OPERAND_ENCODING_MODRM_REG:
            field = insn->reg;
            break;
        case ZYDIS_OPERAND_ENCODING_MODRM_RM:
            field = insn->rm;
            break;
        case ZYDIS_OPERAND_ENCODING_NDSNDD:
            field = insn->vvvv;
            break;
        case ZYDIS_OPERAND_ENCODING_IS4:
            field = (unsigned)insn->imm >> 4;
            break;
        default:
            return false;
        }
        if (field != (unsigned)ZydisRegisterGetId(o->reg.value) * (general ? 8 : 1))
            return false;
    }
    return true;
}

static bool compare_vex(const uint8_t *code, unsigned mode, ZydisDecoder *decoder, uint8_t *seen)
{
    ZydisDecodedInstruction z;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    struct insn insn;
    enum decode_result result = decode(&insn, code, 15, mode);
    bool known = ZYAN_SUCCESS(ZydisDecoderDecodeFull(decoder, code, 15, &z, operands));
    if (known && z.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX && !is_ours(&z))
        known = false;
    if (known != (result == DECODE_OK))
        goto differ;
    if (!known)
        return true;
    if (insn.length == z.length && z.encoding != ZYDIS_INSTRUCTION_ENCODING_VEX)
        return true; /* LES, LDS */
    if (insn.length != z.length || !same_name(&insn, z.mnemonic) ||
        !same_operands(&insn, &z, operands))
        goto differ;
    seen[insn.op] = 1;
    return true;
differ:
    printf("mode %u, %s of %u, Zydis %s of %u:", mode, op_table[insn.op].name, insn.length,
           known ? ZydisMnemonicGetString(z.mnemonic) : "(invalid)", z.length);
    for (unsigned i = 0; i < 15; i++)
        printf(" %02x", code[i]);
    printf("\n");
    return false;
}

static void test_vex(void **state)
{
    static uint8_t seen[OP_COUNT];
    ZydisDecoder decoders[DECODE_MODE_COUNT];
    unsigned failures = 0;
    ZydisDecoderInit(&decoders[DECODE_16], ZYDIS_MACHINE_MODE_LEGACY_16, ZYDIS_STACK_WIDTH_16);
    ZydisDecoderInit(&decoders[DECODE_32], ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32);
    ZydisDecoderInit(&decoders[DECODE_64], ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    for (unsigned i = 0; i < 1500000 && failures < 30; i++) {
        uint8_t code[15];
        unsigned mode = random64() % DECODE_MODE_COUNT;
        random_vex(code, mode);
        failures += !compare_vex(code, mode, &decoders[mode], seen);
    }
    assert_int_equal(failures, 0);
    for (unsigned op = OP_VEX_FIRST; op <= OP_VEX_LAST; op++)
        if (!seen[op])
            fail_msg("%s was never met", op_table[op].name);
    for (unsigned op = OP_VEX_GENERAL_FIRST; op <= OP_VEX_GENERAL_LAST; op++)
        assert_true(seen[op]);
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
        cmocka_unit_test(test_vex),      cmocka_unit_test(test_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The ACPI tables: their checksums and pointers after placing.
 */
#include "emu/core/bytes.h"
#include "emu/machine/acpi.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define BASE UINT64_C(0x1000000)
#define RSDP UINT64_C(0xf0000)

static uint8_t sum(const uint8_t *bytes, size_t length)
{
    uint8_t total = 0;
    while (length--)
        total += *bytes++;
    return total;
}

static const uint8_t *table_at(const struct acpi_tables *t, uint64_t address)
{
    assert_in_range(address, BASE, BASE + t->tables->len - 36);
    const uint8_t *table = t->tables->data + (address - BASE);
    uint32_t length = (uint32_t)bytes_load(table + 4, 4);
    assert_in_range(length, 36, t->tables->len - (address - BASE));
    return table;
}

static void check(unsigned cpus, unsigned parts)
{
    struct acpi_tables t = {0};
    static const char *const expected[] = {"FACP", "APIC", "SSDT"};
    acpi_tables_build(&t, cpus, parts);
    assert_int_equal(t.loader->len % 128, 0);
    acpi_tables_place(&t, BASE, RSDP);
    assert_int_equal(sum(t.rsdp->data, 20), 0);
    assert_int_equal(sum(t.rsdp->data, t.rsdp->len), 0);
    const uint8_t *rsdt = table_at(&t, bytes_load(t.rsdp->data + 16, 4));
    const uint8_t *xsdt = table_at(&t, bytes_load(t.rsdp->data + 24, 8));
    assert_memory_equal(rsdt, "RSDT", 4);
    assert_memory_equal(xsdt, "XSDT", 4);
    unsigned count = (unsigned)(bytes_load(xsdt + 4, 4) - 36) / 8;
    assert_int_equal(count, G_N_ELEMENTS(expected) + (unsigned)__builtin_popcount(parts) +
                                (parts & 1u << ACPI_PART_HPET ? 1 : 0));
    for (unsigned i = 0; i < count; i++) {
        uint64_t address = bytes_load(xsdt + 36 + i * 8, 8);
        assert_int_equal(bytes_load(rsdt + 36 + i * 4, 4), address);
        const uint8_t *table = table_at(&t, address);
        if (i < G_N_ELEMENTS(expected))
            assert_memory_equal(table, expected[i], 4);
        assert_int_equal(sum(table, bytes_load(table + 4, 4)), 0);
    }
    const uint8_t *fadt = table_at(&t, bytes_load(xsdt + 36, 8));
    assert_memory_equal(table_at(&t, bytes_load(fadt + 40, 4)), "DSDT", 4);
    assert_memory_equal(table_at(&t, bytes_load(fadt + 36, 4)), "FACS", 4);
    assert_int_equal(bytes_load(fadt + 36, 4) % 64, 0);
    const uint8_t *ssdt = table_at(&t, bytes_load(xsdt + 36 + 16, 8));
    uint32_t length = (uint32_t)bytes_load(ssdt + 4, 4);
    /* The scope is the whole table: its length in two bytes (20.2.4). */
    assert_int_equal((ssdt[37] & 15) | ssdt[38] << 4, length - 37);
    acpi_tables_clear(&t);
}

static void test_tables(void **state)
{
    check(1, 0);
    check(16, (1u << ACPI_PART_COUNT) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

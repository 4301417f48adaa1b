/* Doorbells: what an engine is asked to watch, and what reaches the device. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/doorbell.h"
#include <glib.h>
#include <stdint.h>
#include <unistd.h>

/* An engine that watches what it is asked to, up to `room` places. */
struct engine {
    unsigned room, count;
    struct {
        struct doorbell_place place;
        int fd;
    } watched[8];
};

static bool add(void *opaque, const struct doorbell_place *place, int fd)
{
    struct engine *engine = opaque;
    if (engine->count >= engine->room)
        return false;
    engine->watched[engine->count].place = *place;
    engine->watched[engine->count++].fd = fd;
    return true;
}

static void drop(void *opaque, const struct doorbell_place *place, int fd)
{
    struct engine *engine = opaque;
    for (unsigned i = 0; i < engine->count; i++) {
        if (engine->watched[i].place.address != place->address || engine->watched[i].fd != fd)
            continue;
        engine->watched[i] = engine->watched[--engine->count];
        return;
    }
    fail_msg("what is taken away was not there");
}

static const struct doorbell_ops ops = {add, drop};

static void ring(void *opaque)
{
    ++*(unsigned *)opaque;
}

static void write_register(const struct engine *engine, uint64_t address)
{
    static const uint64_t one = 1;
    for (unsigned i = 0; i < engine->count; i++) {
        if (engine->watched[i].place.address == address)
            assert_int_equal(write(engine->watched[i].fd, &one, sizeof(one)), sizeof(one));
    }
}

static const struct doorbell_place port = {.is_port = true, .address = 0xc010, .size = 2};
static const struct doorbell_place memory = {.address = 0xfeb03000, .size = 2};
static const struct doorbell_place elsewhere = {.address = 0xfec03000, .size = 2};

static void test_ring(void **state)
{
    struct doorbells *doorbells = doorbells_new();
    struct engine engine = {.room = 8};
    struct doorbell bell, other;
    unsigned rung = 0, other_rung = 0;
    doorbell_init(&bell, doorbells, ring, &rung);
    doorbell_place(&bell, 0, &port); /* before there is an engine */
    doorbells_offer(doorbells, &ops, &engine);
    doorbell_init(&other, doorbells, ring, &other_rung);
    assert_int_equal(engine.count, 1);
    doorbell_place(&bell, 1, &memory);
    assert_int_equal(engine.count, 2);
    doorbells_serve(doorbells);
    assert_int_equal(rung, 0);
    write_register(&engine, 0xc010);
    write_register(&engine, 0xfeb03000); /* the same bell: once is enough */
    doorbells_serve(doorbells);
    assert_int_equal(rung, 1);
    write_register(&engine, 0xfeb03000);
    doorbells_serve(doorbells);
    doorbells_serve(doorbells);
    assert_int_equal(rung, 2);
    assert_int_equal(doorbells_rung(doorbells), 2);
    assert_int_equal(other_rung, 0);
    doorbell_finish(&other);
    doorbell_finish(&bell);
    assert_int_equal(engine.count, 0);
    doorbells_free(doorbells);
}

static void test_places(void **state)
{
    struct doorbells *doorbells = doorbells_new();
    struct engine engine = {.room = 8};
    struct doorbell bell;
    unsigned rung = 0;
    doorbells_offer(doorbells, &ops, &engine);
    doorbell_init(&bell, doorbells, ring, &rung);
    doorbell_place(&bell, 0, &memory);
    doorbell_place(&bell, 0, &memory);
    assert_int_equal(engine.count, 1);
    doorbell_place(&bell, 0, &elsewhere);
    assert_int_equal(engine.count, 1);
    write_register(&engine, 0xfeb03000);
    doorbells_serve(doorbells);
    assert_int_equal(rung, 0);
    write_register(&engine, 0xfec03000);
    doorbell_place(&bell, 0, NULL); /* what was rung before is still heard */
    assert_int_equal(engine.count, 0);
    doorbells_serve(doorbells);
    assert_int_equal(rung, 1);
    doorbell_finish(&bell);
    doorbell_finish(&bell);
    doorbells_free(doorbells);
}

/* An engine that has no room leaves the register to the device; one that goes takes all with it. */
static void test_engine(void **state)
{
    struct doorbells *doorbells = doorbells_new();
    struct engine engine = {.room = 1}, second = {.room = 8};
    struct doorbell bell;
    unsigned rung = 0;
    doorbells_offer(doorbells, &ops, &engine);
    doorbell_init(&bell, doorbells, ring, &rung);
    doorbell_place(&bell, 0, &port);
    doorbell_place(&bell, 1, &memory);
    assert_int_equal(engine.count, 1);
    doorbell_place(&bell, 1, NULL);
    assert_int_equal(engine.count, 1);
    doorbells_offer(doorbells, NULL, NULL);
    assert_int_equal(engine.count, 0);
    doorbell_place(&bell, 1, &memory);
    doorbells_offer(doorbells, &ops, &second);
    assert_int_equal(second.count, 2);
    doorbells_offer(doorbells, NULL, NULL);
    doorbell_finish(&bell);
    doorbells_free(doorbells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

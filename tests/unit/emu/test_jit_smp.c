/*
 * Random programs for two CPUs that share memory, on threads of their own, interpreted and
 * translated. What they come to does not depend on who is faster: additions, exclusive-ors and bits
 * set by locked instructions, sections under a lock, code and page tables that one CPU changes for
 * the other by the architecture's protocols, interrupts that each sends the other. Between two
 * meetings each CPU does what it likes with memory of its own. In the end memory must be the same
 * on both engines.
 *
 * Two things are counted that must never be: a message seen before what it tells of, and two stores
 * before fences that both CPUs have missed.
 *
 * TEST_CASES and TEST_SEED say how many, and from which seed; a difference names its seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "emu/core/port.h"
#include "emu/jit/jit.h"
#include "tests/unit/emu/bare_cpu.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#define CPUS 2

/* Of each CPU; the rest is shared. */
#define CODE_OF(cpu)  (0x20000u + (cpu)*0x8000u)
#define CODE_MOST     0x7000u
#define OWN(cpu)      (0x40000u + (cpu)*0x4000u) /* RBX: what bodies work on, then results */
#define STACK_OF(cpu) (0x60000u + (cpu)*0x2000u)
#define SHARED        0x50000u                   /* RBP */
#define PATCHED(cpu)  (0x30000u + (cpu)*0x1000u) /* a function that the other CPU rewrites */
#define WINDOW        0x70000u                   /* a page whose table entry changes */
#define BEHIND(which) (0x72000u + (which)*0x1000u)
#define IDT           0x19000u
#define HANDLER       0x1a000u
#define PORT(to)      (0x70u + (to))
#define VECTOR        0x50

/* In SHARED, and in lines of their own. */
#define AT_ADDED     0x000 /* 32 words; the last one lies across two pages, at 0xffc */
#define AT_XORED     0x200
#define AT_BITS      0x400
#define AT_LOCK      0x600
#define AT_GUARDED   0x640 /* 16 bytes and a double word */
#define AT_WIDE      0x680 /* CMPXCHG16B's */
#define AT_MEETING   0x700
#define AT_ACKS(to)  (0x740 + (to)*0x40)
#define AT_DATA(by)  (0x800 + (by)*0x40)
#define AT_FLAG(by)  (0x880 + (by)*0x40)
#define AT_STORE(by) (0x900 + (by)*0x40)
#define AT_ACROSS    0xffc

/* In OWN, behind what bodies use. */
#define AT_SUM      0x2000
#define AT_EARLY    0x2008 /* messages before their time */
#define AT_SEEN     0x3000 /* of the other's stores, by round; depends on time */
#define ROUNDS_MOST 20

struct program {
    uint8_t bytes[CODE_MOST];
    unsigned at, cpu, meetings;
    uint64_t seed;
};

/* ---- bytes ----------------------------------------------------------------------------------- */

static uint32_t any(struct program *p, uint32_t limit)
{
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 7;
    p->seed ^= p->seed << 17;
    return (uint32_t)(p->seed >> 32) % limit;
}
static void hex(struct program *p, const char *text)
{
    for (; *text; text += text[2] ? 3 : 2)
        p->bytes[p->at++] =
            (uint8_t)(g_ascii_xdigit_value(text[0]) << 4 | g_ascii_xdigit_value(text[1]));
}
static void put(struct program *p, uint64_t value, unsigned size)
{
    memcpy(p->bytes + p->at, &value, size);
    p->at += size;
}
/* Opcode bytes with a ModRM byte for [RBP + d32] at their end, and the displacement. */
static void shared(struct program *p, const char *text, uint32_t at)
{
    hex(p, text);
    put(p, at, 4);
}
static void jump_back(struct program *p, const char *opcode, unsigned to)
{
    hex(p, opcode);
    put(p, to - p->at - 4, 4);
}
/* What depended on the other CPU is forgotten. */
static void forget(struct program *p)
{
    hex(p, "b8");
    put(p, any(p, UINT32_MAX), 4); /* MOV EAX */
    hex(p, "ba");
    put(p, any(p, UINT32_MAX), 4); /* MOV EDX */
    hex(p, "39 c2");               /* CMP EDX, EAX */
}

/* ---- what a CPU does by itself --------------------------------------------------------------- */

static const uint8_t registers[] = {0, 2, 8, 9, 10, 11, 14, 15}; /* RAX, RDX, R8 ... */

/* Register and [RBX + d32], or two registers, of any size. */
static void operation(struct program *p, unsigned map, unsigned opcode, unsigned size)
{
    unsigned reg = registers[any(p, 8)], rm = registers[any(p, 8)];
    bool memory = any(p, 3);
    if (size == 2)
        hex(p, "66");
    put(p, 0x40 | (size == 8 ? 8 : 0) | (reg & 8 ? 4 : 0) | (!memory && rm & 8 ? 1 : 0), 1);
    if (map)
        hex(p, "0f");
    put(p, opcode, 1);
    put(p, (memory ? 0x83 : 0xc0u | (rm & 7)) | (reg & 7) << 3, 1);
    if (memory)
        put(p, any(p, 8) ? any(p, 0x1f0) * 8 : 0xff0 + any(p, 16), 4); /* and over a page's end */
}

static void instruction(struct program *p)
{
    unsigned size = 1u << any(p, 4), wide = size > 1;
    switch (any(p, 9)) {
    case 0 ... 3:
        operation(p, 0, any(p, 8) * 8 + wide + any(p, 2) * 2, size);
        break;
    case 4:
        operation(p, 0, 0x88 + wide + any(p, 2) * 2, size);
        break;
    case 5:
        operation(p, 1, 0x40 + any(p, 16), size == 1 ? 4 : size);
        break;
    case 6:
        operation(p, 1, 0xaf, size == 1 ? 4 : size);
        hex(p, "39 c2");
        break;
    case 7:
        operation(p, 1, any(p, 2) ? 0xb6 : 0xbe, size == 1 ? 4 : size);
        break;
    default:
        hex(p, "66 0f 6f 83"); /* MOVDQA, PADDQ, MOVDQA */
        put(p, any(p, 100) * 16, 4);
        hex(p, "66 0f d4 83");
        put(p, any(p, 100) * 16, 4);
        hex(p, "66 0f 7f 83");
        put(p, any(p, 100) * 16, 4);
    }
}

/* ---- what they do together --------------------------------------------------------------------
 */

static void add_locked(struct program *p)
{
    static const char *const forms[] = {"f0 ff 85", "f0 ff 8d", "f0 81 85",
                                        "f0 81 ad", "f0 01 85", "f0 0f c1 85"};
    unsigned which = any(p, 6), at = any(p, 12) ? AT_ADDED + any(p, 31) * 4 : AT_ACROSS;
    forget(p);
    shared(p, forms[which], at);
    if (which == 2 || which == 3)
        put(p, any(p, UINT32_MAX), 4);
    forget(p);
}
static void xor_locked(struct program *p)
{
    forget(p);
    if (any(p, 2)) {
        shared(p, any(p, 2) ? "f0 31 95" : "f0 48 31 85", AT_XORED + any(p, 16) * 8);
    } else {
        shared(p, "f0 0f ba bd", AT_XORED + any(p, 16) * 8); /* BTC */
        put(p, any(p, 32), 1);
    }
    forget(p);
}
static void set_bits(struct program *p)
{
    if (any(p, 2)) {
        shared(p, "f0 0f ba ad", AT_BITS + any(p, 16) * 8); /* BTS */
        put(p, any(p, 32), 1);
    } else {
        shared(p, "f0 81 8d", AT_BITS + any(p, 16) * 8); /* OR */
        put(p, 1u << any(p, 32), 4);
    }
    forget(p);
}

/* An addition by comparison and exchange. */
static void exchange(struct program *p)
{
    uint32_t by = any(p, 1000);
    shared(p, "8b 85", AT_ADDED + 31 * 4); /* MOV EAX */
    unsigned again = p->at;
    hex(p, "8d 90"); /* LEA EDX, [RAX + by] */
    put(p, by, 4);
    shared(p, "f0 0f b1 95", AT_ADDED + 31 * 4);
    jump_back(p, "0f 85", again);
    forget(p);
}
static void exchange_wide(struct program *p)
{
    hex(p, "53 51");
    shared(p, "48 8b 85", AT_WIDE);
    shared(p, "48 8b 95", AT_WIDE + 8);
    unsigned again = p->at;
    hex(p, "48 8d 98"); /* LEA RBX, [RAX + any]; LEA RCX, [RDX + any] */
    put(p, any(p, 0x10000), 4);
    hex(p, "48 8d 8a");
    put(p, any(p, 0x10000), 4);
    shared(p, "f0 48 0f c7 8d", AT_WIDE);
    jump_back(p, "0f 85", again);
    hex(p, "59 5b");
    forget(p);
}

/* Under a lock, additions that are none by themselves. */
static void section(struct program *p)
{
    unsigned again = p->at;
    hex(p, "f3 90 b0 01"); /* PAUSE; MOV AL, 1 */
    shared(p, "86 85", AT_LOCK);
    hex(p, "84 c0"); /* TEST AL, AL */
    jump_back(p, "0f 85", again);
    shared(p, "8b 85", AT_GUARDED + 16); /* MOV EAX; ADD EAX; MOV */
    hex(p, "05");
    put(p, any(p, UINT32_MAX), 4);
    shared(p, "89 85", AT_GUARDED + 16);
    shared(p, "66 0f 6f 85", AT_GUARDED); /* MOVDQA; PADDD XMM0, own; MOVDQA */
    hex(p, "66 0f fe 83");
    put(p, 0x1800 + any(p, 8) * 16, 4); /* where bodies write nothing */
    shared(p, "66 0f 7f 85", AT_GUARDED);
    shared(p, "c6 85", AT_LOCK); /* MOV byte, 0 */
    put(p, 0, 1);
    forget(p);
}

/* Data, then a flag; and the other's, looked at the other way round. */
static void message(struct program *p, unsigned round)
{
    shared(p, "c7 85", AT_DATA(p->cpu));
    put(p, round, 4);
    shared(p, "c7 85", AT_FLAG(p->cpu));
    put(p, round, 4);
    shared(p, "8b 85", AT_FLAG(!p->cpu)); /* MOV EAX, flag; MOV EDX, data; CMP; ADC own, 0 */
    shared(p, "8b 95", AT_DATA(!p->cpu));
    hex(p, "39 c2 83 93");
    put(p, AT_EARLY, 4);
    put(p, 0, 1);
    forget(p);
}

/* A store, a fence, a load of what the other stores. */
static void cross(struct program *p, unsigned round)
{
    shared(p, "c7 85", AT_STORE(p->cpu));
    put(p, round, 4);
    switch (any(p, 3)) {
    case 0:
        hex(p, "0f ae f0"); /* MFENCE */
        break;
    case 1:
        hex(p, "f0 83 0c 24 00"); /* LOCK OR [RSP], 0 */
        break;
    default:
        hex(p, "87 83"); /* XCHG own, EAX */
        put(p, AT_SUM + 0x10, 4);
    }
    shared(p, "8b 85", AT_STORE(!p->cpu));
    hex(p, "89 83");
    put(p, AT_SEEN + round * 4, 4);
    forget(p);
}

static void meet(struct program *p)
{
    shared(p, "f0 ff 85", AT_MEETING);
    unsigned again = p->at;
    hex(p, "f3 90");
    shared(p, "81 bd", AT_MEETING);
    put(p, ++p->meetings * CPUS, 4);
    jump_back(p, "0f 82", again);
    hex(p, "39 c2");
}

/* The other CPU gets an interrupt, and has had it. */
static void interrupt(struct program *p)
{
    unsigned to = !p->cpu;
    shared(p, "8b 95", AT_ACKS(to)); /* MOV EDX */
    hex(p, "e6");
    put(p, PORT(to), 1);
    unsigned again = p->at;
    hex(p, "f3 90");
    shared(p, "39 95", AT_ACKS(to));
    jump_back(p, "0f 84", again);
    forget(p);
}

static void serialize(struct program *p)
{
    if (any(p, 2))
        hex(p, "53 51 31 c0 31 c9 0f a2 59 5b"); /* CPUID */
    else
        hex(p, "0f 20 d8 0f 22 d8"); /* MOV RAX, CR3; MOV CR3, RAX */
}

/* Both at once at the same words, so often that they do meet. */
static void storm(struct program *p)
{
    hex(p, "b9");
    put(p, 1000 + any(p, 2000), 4);
    unsigned head = p->at;
    shared(p, "f0 ff 85", AT_ADDED);
    hex(p, "b8 03 00 00 00");
    shared(p, "f0 0f c1 85", AT_ADDED + 4);
    shared(p, "f0 83 85", AT_ACROSS);
    put(p, 7, 1);
    shared(p, "f0 0f ba bd", AT_XORED); /* BTC */
    put(p, any(p, 32), 1);
    hex(p, "ff c9");
    jump_back(p, "0f 85", head);
    forget(p);
}

static void add_to_sum(struct program *p)
{
    hex(p, "01 83"); /* ADD own, EAX */
    put(p, AT_SUM, 4);
    forget(p);
}

/* One CPU rewrites what the other calls then: MOV EAX, immediate; RET. */
static void change_code(struct program *p, bool mine, uint32_t value)
{
    if (mine) {
        hex(p, "c7 04 25");
        put(p, PATCHED(!p->cpu) + 1, 4);
        put(p, value, 4);
    }
    meet(p);
    if (mine)
        return;
    serialize(p);
    jump_back(p, "e8", PATCHED(p->cpu) - CODE_OF(p->cpu));
    add_to_sum(p);
}

/* One CPU maps another page at WINDOW; the interrupt's handler drops what its TLB knows of it. */
static void change_page(struct program *p, bool mine, unsigned which)
{
    hex(p, "8b 04 25"); /* both know it as it is */
    put(p, WINDOW, 4);
    add_to_sum(p);
    meet(p);
    if (mine) {
        hex(p, "c7 04 25");
        put(p, TABLES + 0x3000 + (WINDOW >> 12) * 8, 4);
        put(p, BEHIND(which) | 3, 4);
        hex(p, "0f 01 3c 25"); /* INVLPG */
        put(p, WINDOW, 4);
        interrupt(p);
    }
    meet(p);
    hex(p, "8b 04 25");
    put(p, WINDOW + 4, 4);
    add_to_sum(p);
}

static void body(struct program *p, unsigned round)
{
    unsigned count = 4 + any(p, 12);
    hex(p, "b9");
    put(p, 1 + any(p, 20), 4); /* MOV ECX: turns */
    unsigned head = p->at;
    for (unsigned i = 0; i < count; i++) {
        switch (any(p, 16)) {
        case 0 ... 1:
            add_locked(p);
            break;
        case 2:
            xor_locked(p);
            break;
        case 3:
            set_bits(p);
            break;
        case 4:
            exchange(p);
            break;
        case 5:
            exchange_wide(p);
            break;
        case 6:
            section(p);
            break;
        case 7:
            message(p, round);
            break;
        default:
            instruction(p);
        }
    }
    hex(p, "ff c9");
    jump_back(p, "0f 85", head);
}

/* `plan` is the same for both: what happens between bodies. */
static void build(struct program *p, unsigned cpu, uint64_t seed, uint64_t plan)
{
    struct program common = {.seed = plan};
    memset(p, 0, sizeof(*p));
    p->cpu = cpu;
    p->seed = seed;
    hex(p, "fb 39 c2"); /* STI */
    unsigned rounds = 1 + any(&common, ROUNDS_MOST);
    for (unsigned round = 1; round <= rounds; round++) {
        unsigned what = any(&common, 5);
        bool mine = any(&common, 2) == cpu;
        uint32_t value = any(&common, UINT32_MAX);
        body(p, round);
        meet(p);
        cross(p, round);
        if (round % 4 == 1)
            storm(p);
        if (what < 2)
            change_code(p, mine, value);
        else if (what == 2)
            change_page(p, mine, value & 1);
        else if (what == 3 || mine)
            interrupt(p);
    }
    meet(p);
    hex(p, "fa f4"); /* CLI; HLT */
    g_assert(p->at <= CODE_MOST);
}

/* ---- the board ------------------------------------------------------------------------------- */

struct machine {
    struct board board;
    struct cpu *cpus[CPUS];
};

static struct machine *machine_of(void *opaque)
{
    return opaque;
}
static void send_interrupt(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    cpu_set_interrupt(machine_of(opaque)->cpus[offset], true);
}
static int accept_0(void *opaque)
{
    cpu_set_interrupt(machine_of(opaque)->cpus[0], false);
    return VECTOR;
}
static int accept_1(void *opaque)
{
    cpu_set_interrupt(machine_of(opaque)->cpus[1], false);
    return VECTOR;
}

/* LOCK INC of the count; INVLPG of the window; IRETQ: one for each CPU, in its own IDT. */
static void set_handler(uint8_t *ram, unsigned cpu)
{
    struct program p = {0};
    uint32_t at = HANDLER + cpu * 0x100;
    hex(&p, "0f 01 3c 25");
    put(&p, WINDOW, 4);
    hex(&p, "f0 ff 04 25");
    put(&p, SHARED + AT_ACKS(cpu), 4);
    hex(&p, "48 cf");
    memcpy(ram + at, p.bytes, p.at);
    uint64_t gate = (at & 0xffff) | 8 << 16 | UINT64_C(0x8e00) << 32 | (uint64_t)(at >> 16) << 48;
    memcpy(ram + IDT + cpu * 0x800 + VECTOR * 16, &gate, 8);
}

static void set_memory(uint8_t *ram, const struct program programs[CPUS], uint64_t seed)
{
    struct program numbers = {.seed = seed};
    static const uint64_t segments[] = {0, 0x00af9b000000ffff, 0x00cf93000000ffff};
    memcpy(ram + TABLES + 0x8000, segments, sizeof(segments));
    for (unsigned i = 0; i < CPUS; i++) {
        memcpy(ram + CODE_OF(i), programs[i].bytes, CODE_MOST);
        memcpy(ram + PATCHED(i), "\xb8\x01\x02\x03\x04\xc3", 6);
        set_handler(ram, i);
        for (unsigned at = 0; at < 0x2000; at += 4) {
            uint32_t value = any(&numbers, UINT32_MAX);
            memcpy(ram + OWN(i) + at, &value, 4);
        }
        for (unsigned at = 0; at < 8; at++)
            ram[BEHIND(i) + at] = (uint8_t)(0x11 * (i + 1) + at);
    }
}

static void set_state(struct cpu *cpu, unsigned index)
{
    struct cpu_state *s = cpu_state(cpu);
    memset(s->gpr, 0, sizeof(s->gpr));
    s->cr0 = CR0_PE | CR0_PG | CR0_MP | CR0_NE | CR0_ET | CR0_WP;
    s->cr3 = TABLES;
    s->cr4 = CR4_PAE | CR4_OSFXSR;
    s->efer = EFER_LME | EFER_LMA;
    for (unsigned i = 0; i <= SEG_GS; i++)
        s->seg[i] =
            (struct segment){.limit = UINT32_MAX,
                             .selector = i == SEG_CS ? 8 : 16,
                             .attributes = SEG_P | SEG_S | SEG_WRITABLE | SEG_ACCESSED | SEG_G |
                                           (i == SEG_CS ? SEG_CODE | SEG_L : SEG_DB)};
    s->gdtr = (struct descriptor_table){TABLES + 0x8000, 23};
    s->idtr = (struct descriptor_table){IDT + index * 0x800, 0x7ff};
    s->gpr[RBX] = OWN(index);
    s->gpr[RBP] = SHARED;
    s->gpr[RSP] = STACK_OF(index);
    s->rip = CODE_OF(index);
    s->rflags = 2;
    s->halted = s->wait_for_sipi = false;
    cpu_state_changed(cpu);
}

static void *run(void *opaque)
{
    enum cpu_exit exit = cpu_run(opaque);
    return GINT_TO_POINTER(exit == CPU_EXIT_HALTED);
}

/* Returns RAM as they leave it; free it. */
static uint8_t *run_both(const char *engine, const struct program programs[CPUS], uint64_t seed)
{
    static const struct cpu_ops ops[CPUS] = {
        {accept_0, wires_read_tpr, wires_write_tpr, wires_read_msr, wires_write_msr},
        {accept_1, wires_read_tpr, wires_write_tpr, wires_read_msr, wires_write_msr}};
    static const struct port_ops port = {.write = send_interrupt, .max_size = 1};
    struct machine m = {0};
    pthread_t threads[CPUS];
    bare_board(&m.board, RAM);
    m.board.cpus = CPUS;
    port_add(m.board.ports, "interrupt", PORT(0), CPUS, &port, &m);
    for (unsigned i = 0; i < CPUS; i++) {
        m.cpus[i] = cpu_new(&m.board, i, engine, "x86-64-v2", &ops[i], &m, NULL);
        assert_non_null(m.cpus[i]);
        jit_set_hot(m.cpus[i], (unsigned)(seed >> 20) % 4);
    }
    set_memory(memory_ram_host(m.board.memory), programs, seed);
    for (unsigned i = 0; i < CPUS; i++)
        set_state(m.cpus[i], i);
    for (unsigned i = 0; i < CPUS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run, m.cpus[i]), 0);
    for (unsigned i = 0; i < CPUS; i++) {
        void *halted;
        pthread_join(threads[i], &halted);
        assert_non_null(halted);
    }
    uint8_t *ram = g_memdup2(memory_ram_host(m.board.memory), RAM);
    for (unsigned i = 0; i < CPUS; i++)
        cpu_free(m.cpus[i]);
    board_finish(&m.board);
    return ram;
}

/* ---- many ------------------------------------------------------------------------------------ */

static uint32_t word(const uint8_t *ram, uint32_t at)
{
    uint32_t value;
    memcpy(&value, ram + at, 4);
    return value;
}

/* What must never have happened. */
static const char *forbidden(const uint8_t *ram)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++)
        if (word(ram, OWN(cpu) + AT_EARLY))
            return "a message came before what it tells of";
    for (uint32_t round = 1; round <= ROUNDS_MOST; round++) {
        uint32_t seen[CPUS];
        for (unsigned cpu = 0; cpu < CPUS; cpu++)
            seen[cpu] = word(ram, OWN(cpu) + AT_SEEN + round * 4);
        bool came = word(ram, SHARED + AT_STORE(0)) >= round;
        if (came && seen[0] < round && seen[1] < round)
            return "both missed the other's store";
    }
    return NULL;
}

/* What depends on time is cleared: both stacks, what was seen of stores, page tables' bits. */
static void clear_timed(uint8_t *ram)
{
    for (unsigned cpu = 0; cpu < CPUS; cpu++) {
        memset(ram + STACK_OF(cpu) - 0x100, 0, 0x100);
        memset(ram + OWN(cpu) + AT_SEEN, 0, (ROUNDS_MOST + 1) * 4);
        memset(ram + OWN(cpu) + AT_SUM + 0x10, 0, 4);
    }
    for (unsigned entry = 0; entry < 512; entry++)
        ram[TABLES + 0x3000 + entry * 8] &= 0x9f;
}

static bool check(uint64_t seed)
{
    g_autofree struct program *programs = g_new(struct program, CPUS);
    for (unsigned i = 0; i < CPUS; i++)
        build(&programs[i], i, seed * (2 * i + 3), seed);
    g_autofree uint8_t *interpreted = run_both("interp", programs, seed);
    g_autofree uint8_t *translated = run_both("jit", programs, seed);
    const char *wrong = forbidden(translated);
    if (!wrong)
        wrong = forbidden(interpreted);
    clear_timed(interpreted);
    clear_timed(translated);
    if (!wrong && memcmp(interpreted, translated, RAM))
        wrong = "memory";
    if (!wrong)
        return true;
    print_message("seed 0x%" PRIx64 ": %s\n", seed, wrong);
    for (unsigned at = 0, told = 0; at < RAM && told < 32; at++)
        if (interpreted[at] != translated[at] && ++told)
            print_message("  at %x %02x, interpreted %02x\n", at, translated[at], interpreted[at]);
    return false;
}

static void test_two_cpus(void **state)
{
    const char *wish = getenv("TEST_SEED"), *cases = getenv("TEST_CASES");
    uint64_t first = wish ? strtoull(wish, NULL, 0) : 0x452821e638d01377;
    unsigned count = cases ? (unsigned)strtoul(cases, NULL, 0) : 60, bad = 0;
    for (unsigned i = 0; i < count && bad < 5; i++) {
        uint64_t seed = first + i * UINT64_C(0x9e3779b97f4a7c15);
        if (seed)
            bad += !check(seed);
    }
    print_message("%u pairs of programs, %u differences\n", count, bad);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_two_cpus)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

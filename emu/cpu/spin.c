/*
 * Guests that wait by looking again and again: until a time has come, or another CPU is done. They
 * say so by PAUSE. One that has done so for a while is let sleep, for a part of the time that it
 * has waited already: it sees the end of a delay that much too late at most, as it would on a host
 * that is busy, and takes no processor time till then. Drivers delay for less than a microsecond
 * between one access to their device and the next, hundreds of times in a row: that is no waiting,
 * so an access to a device ends it.
 */
#include "emu/cpu/internal.h"
#include <time.h>

#define BATCH    32     /* PAUSEs between looks at the clock */
#define TIGHT    100000 /* ns in which a batch comes, unless other things are done between them */
#define PATIENCE 20000  /* ns of waiting before the first sleep: locks are seldom held as long */
#define LONGEST  200000 /* ns */

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* Until then, or until there is something to attend to. */
static void sleep_until(struct cpu *cpu, int64_t end)
{
    struct timespec t = {.tv_sec = end / 1000000000, .tv_nsec = end % 1000000000};
    unsigned bits = cpu_wakeful(cpu);
    int failed = 0;
    pthread_mutex_lock(&cpu->wait_lock);
    while (!failed && !(atomic_load(&cpu->requests) & bits))
        failed = pthread_cond_clockwait(&cpu->wait_cond, &cpu->wait_lock, CLOCK_MONOTONIC, &t);
    pthread_mutex_unlock(&cpu->wait_lock);
}

void cpu_pause(struct cpu *cpu)
{
    struct spin *spin = &cpu->spin;
    __builtin_ia32_pause();
    if (++spin->pauses % BATCH || cpu->journal) /* what runs twice holds the board's lock */
        return;
    int64_t time = now();
    if (time - spin->last > TIGHT)
        spin->since = time;
    int64_t waited = time - spin->since;
    spin->last = time;
    if (waited < PATIENCE)
        return;
    sleep_until(cpu, time + (waited / 2 < LONGEST ? waited / 2 : LONGEST));
    __atomic_store_n(&spin->sleeps, spin->sleeps + 1, __ATOMIC_RELAXED);
    spin->last = now();
}

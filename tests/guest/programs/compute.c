/*
 * Work for compiled programs: x87, faults that are caught, matrices, threads, bits.
 */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

static sigjmp_buf back;
static volatile int caught;
static atomic_long counted;
static long added;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void on_signal(int number)
{
    caught++;
    siglongjmp(back, 1);
}

static void faults(void)
{
    signal(SIGSEGV, on_signal);
    signal(SIGFPE, on_signal);
    for (int i = 0; i < 2000; i++) {
        volatile int zero = 0, *volatile nowhere = NULL;
        if (sigsetjmp(back, 1) == 0)
            *nowhere = 1;
        if (sigsetjmp(back, 1) == 0)
            caught += 1 / zero;
    }
    printf("faults %d\n", caught);
}

static void *add(void *unused)
{
    for (int i = 0; i < 300000; i++) {
        counted++;
        pthread_mutex_lock(&lock);
        added += i;
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t all[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&all[i], NULL, add, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], NULL);
    printf("threads %ld %ld\n", (long)counted, added);
}

static void matrices(void)
{
    float a[4][4], b[4][4], c[4][4];
    for (int i = 0; i < 16; i++)
        b[i / 4][i % 4] = a[i / 4][i % 4] = (float)((i * 7 + 3) % 10);
    for (int turn = 0; turn < 100000; turn++) {
        for (int i = 0; i < 16; i++) {
            float sum = 0;
            for (int k = 0; k < 4; k++)
                sum += a[i / 4][k] * b[k][i % 4] * 0.01f;
            c[i / 4][i % 4] = sum;
        }
        for (int i = 0; i < 16; i++)
            b[i / 4][i % 4] = c[i / 4][i % 4];
    }
    printf("matrices %a\n", b[2][1]);
}

int main(void)
{
    long double x = 1;
    unsigned long long bits = 88172645463325252ULL, sum = 0;
    for (int i = 1; i < 200000; i++)
        x = x * 1.0000001L + sinl(i) / cosl(i * 0.5L + 1);
    printf("x87 %.15Lg\n", x);
    faults();
    matrices();
    threads();
    for (int i = 0; i < 20000000; i++) {
        bits ^= bits << 13;
        bits ^= bits >> 7;
        bits ^= bits << 17;
        sum += (unsigned)__builtin_popcountll(bits) + (unsigned)__builtin_clzll(bits | 1) +
               bits % ((unsigned)i + 1);
    }
    printf("bits %llu\n", sum);
    return 0;
}

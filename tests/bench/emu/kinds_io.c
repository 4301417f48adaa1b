/* Kinds of work that go through devices, and gzip. */
#include "tests/bench/emu/kinds.h"
#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int port;

/* ---- as init --------------------------------------------------------------------------------- */

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static void load_modules(void)
{
    struct dirent **names;
    int count = scandir("/modules", &names, NULL, by_name);
    for (int i = 0; i < count; i++) {
        char path[512];
        snprintf(path, sizeof(path), "/modules/%s", names[i]->d_name);
        int fd = open(path, O_RDONLY);
        if (names[i]->d_name[0] != '.' && syscall(SYS_finit_module, fd, "", 0) != 0)
            printf("cannot load %s\n", path);
        close(fd);
    }
}

/* The address that user networking gives its one guest. */
static void configure_network(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_name = "eth0"};
    struct sockaddr_in *address = (struct sockaddr_in *)&request.ifr_addr;
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = inet_addr("10.0.2.15");
    int bad = ioctl(fd, SIOCSIFADDR, &request);
    address->sin_addr.s_addr = inet_addr("255.255.255.0");
    bad |= ioctl(fd, SIOCSIFNETMASK, &request);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    bad |= ioctl(fd, SIOCSIFFLAGS, &request);
    if (bad)
        printf("no network card\n");
    close(fd);
}

void io_prepare(const char *command_line)
{
    const char *net = strstr(command_line, "net=");
    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    if (net) {
        port = (int)strtol(net + 4, NULL, 10);
        configure_network();
    }
}

/* ---- disks ----------------------------------------------------------------------------------- */

#define DISK_SIZE  (64u << 20)
#define DISK_PIECE (128u << 10)

static int open_disk(const char *path)
{
    for (unsigned tries = 0; tries < 300; tries++) { /* IDE drives are found in their own time */
        int fd = open(path, O_RDWR | O_DIRECT);
        if (fd >= 0)
            return fd;
        usleep(100000);
    }
    printf("cannot open %s\n", path);
    return -1;
}

/* One word in 4 KiB, wherever they are. */
static uint64_t sum_words(const uint8_t *bytes, size_t length)
{
    uint64_t sum = 0, word;
    for (size_t at = 0; at < length; at += 4096) {
        memcpy(&word, bytes + at, 8);
        sum += word;
    }
    return sum;
}

static uint64_t disk_read(const char *path, unsigned rounds)
{
    uint8_t *buffer = aligned_alloc(4096, DISK_PIECE);
    int fd = open_disk(path);
    uint64_t sum = 0;
    for (unsigned i = 0; i < rounds; i++)
        for (unsigned at = 0; at < DISK_SIZE; at += DISK_PIECE) {
            if (pread(fd, buffer, DISK_PIECE, at) != DISK_PIECE)
                return 0;
            sum += sum_words(buffer, DISK_PIECE);
        }
    close(fd);
    free(buffer);
    return sum;
}

/* The sum is what the disk's words come to when all is written: run.py looks whether they do. */
static uint64_t disk_write(const char *path, unsigned rounds)
{
    uint8_t *buffer = aligned_alloc(4096, DISK_PIECE);
    int fd = open_disk(path);
    uint64_t sum = 0, state = 77;
    memset(buffer, 0x5a, DISK_PIECE);
    for (unsigned i = 0; i < rounds; i++) {
        sum = 0;
        for (unsigned at = 0; at < DISK_SIZE; at += DISK_PIECE) {
            for (unsigned page = 0; page < DISK_PIECE; page += 4096) {
                uint64_t word = next_random(&state);
                memcpy(buffer + page, &word, 8);
            }
            sum += sum_words(buffer, DISK_PIECE);
            if (pwrite(fd, buffer, DISK_PIECE, at) != DISK_PIECE)
                return 0;
        }
        if (fsync(fd) != 0)
            return 0;
    }
    close(fd);
    free(buffer);
    return sum;
}

static uint64_t disk_random(const char *path, unsigned rounds)
{
    uint8_t *buffer = aligned_alloc(4096, 4096);
    int fd = open_disk(path);
    uint64_t sum = 0, state = 5;
    for (unsigned i = 0; i < rounds; i++) {
        off_t at = (off_t)(next_random(&state) % (DISK_SIZE / 4096)) * 4096;
        if (pread(fd, buffer, 4096, at) != 4096)
            return 0;
        sum += sum_words(buffer, 4096);
    }
    close(fd);
    free(buffer);
    return sum;
}

uint64_t disk_virtio_read(unsigned rounds)
{
    return disk_read("/dev/vda", rounds);
}
uint64_t disk_virtio_write(unsigned rounds)
{
    return disk_write("/dev/vda", rounds);
}
uint64_t disk_virtio_random(unsigned rounds)
{
    return disk_random("/dev/vda", rounds);
}
uint64_t disk_ide_read(unsigned rounds)
{
    return disk_read("/dev/sda", rounds);
}
uint64_t disk_ide_write(unsigned rounds)
{
    return disk_write("/dev/sda", rounds);
}
uint64_t disk_ide_random(unsigned rounds)
{
    return disk_random("/dev/sda", rounds);
}

/* ---- a stream to and from run.py ------------------------------------------------------------- */

#define STREAM_PIECE (64u << 10)

static int connect_host(char what, uint64_t length)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = inet_addr("10.0.2.2");
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    uint8_t request[9] = {(uint8_t)what};
    memcpy(request + 1, &length, 8);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        write(fd, request, sizeof(request)) != sizeof(request)) {
        perror("cannot reach the host");
        return -1;
    }
    return fd;
}

uint64_t net_send(unsigned rounds)
{
    uint64_t length = (uint64_t)rounds << 20, sum = 0;
    uint8_t *buffer = malloc(STREAM_PIECE);
    int fd = connect_host('S', length);
    for (unsigned i = 0; i < STREAM_PIECE; i++)
        buffer[i] = (uint8_t)(i * 7 + (i >> 8));
    while (length > 0) {
        ssize_t done = write(fd, buffer, STREAM_PIECE);
        if (done != STREAM_PIECE)
            return 0;
        length -= (uint64_t)done;
    }
    if (read(fd, &sum, 8) != 8)
        return 0;
    close(fd);
    free(buffer);
    return sum;
}

/* One byte in 64, wherever the pieces end. */
uint64_t net_receive(unsigned rounds)
{
    uint64_t length = (uint64_t)rounds << 20, sum = 0, at = 0;
    uint8_t *buffer = malloc(STREAM_PIECE);
    int fd = connect_host('R', length);
    while (at < length) {
        ssize_t done = read(fd, buffer, STREAM_PIECE);
        if (done <= 0)
            return 0;
        for (uint64_t i = (64 - at % 64) % 64; i < (uint64_t)done; i += 64)
            sum += buffer[i];
        at += (uint64_t)done;
    }
    close(fd);
    free(buffer);
    return sum;
}

/* ---- gzip ------------------------------------------------------------------------------------ */

/* Busybox's, from a file without a name to a pipe. */
static uint64_t gzip_once(int input)
{
    static const char *const places[] = {"/busybox", "/bin/busybox"};
    int ends[2];
    uint8_t buffer[4096];
    uint64_t sum = 0;
    if (pipe(ends) != 0)
        return 0;
    pid_t child = fork();
    if (child == 0) {
        lseek(input, 0, SEEK_SET);
        dup2(input, 0);
        dup2(ends[1], 1);
        close(ends[0]);
        for (unsigned i = 0; i < 2; i++)
            execl(places[i], "busybox", "gzip", "-c", NULL);
        _exit(99);
    }
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;)
        for (ssize_t i = 0; i < n; i++)
            sum = sum * 31 + buffer[i];
    close(ends[0]);
    int status = 1;
    waitpid(child, &status, 0);
    return status ? 0 : sum;
}

uint64_t gzip_busybox(unsigned rounds)
{
    enum { SIZE = 2 << 20 };
    static const char *const words[] = {"machine ", "disk ", "the ", "a ", "move ", "host\n"};
    int input = memfd_create("input", 0);
    char *text = malloc(SIZE + 16);
    uint64_t state = 9, sum = 0;
    for (unsigned at = 0; at < SIZE;) {
        const char *word = words[next_random(&state) % 6];
        memcpy(text + at, word, strlen(word));
        at += (unsigned)strlen(word);
        if (next_random(&state) % 8 == 0)
            text[at++] = (char)('0' + next_random(&state) % 10);
    }
    if (write(input, text, SIZE) != SIZE)
        return 0;
    for (unsigned i = 0; i < rounds; i++)
        sum += gzip_once(input);
    close(input);
    free(text);
    return sum;
}

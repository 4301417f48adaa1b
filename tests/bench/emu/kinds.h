/* What the files of the benchmark's program share. */
#pragma once

#include <stdint.h>

uint64_t next_random(uint64_t *state);

/* ---- kinds_io.c ------------------------------------------------------------------------------ */

/* As init: /dev, the modules in /modules in the order of their names, and the network card, if the
 * kernel's command line has net=PORT. */
void io_prepare(const char *command_line);

/* Rounds are passes over the disk's 64 MiB, reads of 4 KiB, MiB of a stream, files. Sums are of
 * what was read, written, received. */
uint64_t disk_virtio_read(unsigned rounds);
uint64_t disk_virtio_write(unsigned rounds);
uint64_t disk_virtio_random(unsigned rounds);
uint64_t disk_ide_read(unsigned rounds);
uint64_t disk_ide_write(unsigned rounds);
uint64_t disk_ide_random(unsigned rounds);
uint64_t net_send(unsigned rounds);
uint64_t net_receive(unsigned rounds);
uint64_t gzip_busybox(unsigned rounds);

/* ---- kinds_programs.c ------------------------------------------------------------------------ */

#define COMPILED "compiled.i" /* in the working directory */

/* Rounds are processes. */
uint64_t exec_dynamic(unsigned rounds);
uint64_t compile(unsigned rounds);

/*
 * What this host has.
 */
#pragma once

#include <stdint.h>

uint64_t host_memory_total(void);          /* bytes; 0 when /proc/meminfo cannot be read */
uint64_t host_memory_available(void);      /* bytes that could be had without swapping */
unsigned host_cpus(void);                  /* online */
uint64_t host_disk_size(const char *path); /* bytes of the file system that holds `path` */
uint64_t host_disk_free(const char *path);

/*
 * Partition tables: MBR with its chain of extended partitions, and GPT.
 *
 * Source: for the MBR what every PC does; UEFI Specification 2.10, chapter 5, for GPT.
 */
#pragma once

#include "storage/block.h"

struct partition {
    unsigned number;         /* as Linux counts: MBR 1-4, logical ones from 5; GPT its entry + 1 */
    uint64_t offset, length; /* bytes of the disk */
    uint8_t mbr_type;        /* 0 of a GPT */
    char *name;              /* GPT's, UTF-8; "" without one; owned */
};

struct partition_table {
    const char *type;      /* "none", "mbr" or "gpt"; static */
    GPtrArray *partitions; /* of struct partition, as numbered; owned */
};
void partition_table_clear(struct partition_table *table);

/*
 * Finds a disk's partitions. A disk without a table gives none and type "none": it may be empty, or
 * one file system. A GPT whose first copy is damaged is taken from its second. False when the disk
 * cannot be read, or when a table is there and impossible: partitions that overlap or reach beyond
 * the disk, a loop of extended ones, both copies of a GPT damaged (BLOCK_ERROR_FORMAT).
 */
bool partition_table_read(struct block_device *device, struct partition_table *ret_table,
                          GError **error);

/*
 * VHDX: what lies where in the file, and the structures that are read once, at opening.
 *
 *   0        file identifier
 *   64 KiB   header 1  \ the valid one with the higher sequence number counts; an update writes
 *   128 KiB  header 2  / the other one
 *   192 KiB  region table, and at 256 KiB its copy: where the next two are
 *   1 MiB..  log, metadata, block allocation table (BAT), payload blocks, sector bitmap blocks, in
 *            any order, each at a multiple of 1 MiB
 *
 * Source: Microsoft, [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format; sections are named where
 * they help. All numbers are little-endian; GUIDs are kept in the bytes' order of the file.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/file.h"

#define VHDX_MIB        (UINT64_C(1) << 20)
#define VHDX_PAGE       4096u
#define VHDX_GUID_BYTES 16
#define VHDX_MAX_SIZE   (UINT64_C(64) << 40)
#define VHDX_MIN_BLOCK  (1u << 20)
#define VHDX_MAX_BLOCK  (256u << 20)
#define VHDX_LOG_MOST   (64u << 20) /* bytes of a log we take */

#define VHDX_HEADER_OFFSET(i) ((uint64_t)((i) + 1) << 16)
#define VHDX_REGION_OFFSET(i) ((uint64_t)((i) + 3) << 16)

/* A chunk is what one sector bitmap block covers: this many logical sectors. */
#define VHDX_CHUNK_SECTORS (1u << 23)

/* ---- headers (2.2.2) --------------------------------------------------------------------------
 */

struct vhdx_header {
    uint64_t sequence;
    uint8_t file_write_guid[VHDX_GUID_BYTES]; /* new whenever the file is opened and written */
    uint8_t data_write_guid[VHDX_GUID_BYTES]; /* new when what the guest sees changes */
    uint8_t log_guid[VHDX_GUID_BYTES];        /* all zero: the log is empty */
    uint64_t log_offset;
    uint32_t log_length;
};

void vhdx_header_encode(const struct vhdx_header *header, uint8_t out[VHDX_PAGE]);
/* False when it is none, or damaged: then the other one counts. */
bool vhdx_header_decode(struct vhdx_header *header, const uint8_t in[VHDX_PAGE]);
/* The one that counts, and which of the two it is. */
bool vhdx_header_load(struct host_file *file, struct vhdx_header *header, unsigned *ret_which,
                      GError **error);

/* ---- what replaying the log would change ------------------------------------------------------
 */

/* A change that the log holds and the file does not have yet, or the file as it is read without
 * writing to it. */
struct vhdx_change {
    uint64_t offset, length;
    const uint8_t *bytes; /* in the log's memory; NULL: zeroes */
};

/* A file, seen as it is after its log is replayed. */
struct vhdx_view {
    struct host_file *file;
    GArray *changes; /* of struct vhdx_change, in order; NULL: none */
    uint8_t *log;    /* what `changes` points into; owned */
};
bool vhdx_view_read(const struct vhdx_view *view, uint64_t offset, void *buffer, size_t length,
                    GError **error);
void vhdx_view_clear(struct vhdx_view *view);

/* ---- regions (2.2.3) and metadata (2.6) -------------------------------------------------------
 */

struct vhdx_range {
    uint64_t offset;
    uint32_t length;
};

struct vhdx_regions {
    struct vhdx_range bat, metadata;
};
bool vhdx_regions_load(const struct vhdx_view *view, struct vhdx_regions *regions, GError **error);
/* Both tables become the valid one, with the BAT where `regions` says; flushed one by one. */
bool vhdx_regions_store(struct host_file *file, const struct vhdx_regions *regions, GError **error);
void vhdx_regions_encode(const struct vhdx_regions *regions, uint8_t *out /* 64 KiB */);

struct vhdx_metadata {
    uint32_t block_size;    /* bytes */
    bool leave_allocated;   /* a fixed disk */
    bool has_parent;        /* a differencing disk */
    uint64_t size;          /* bytes the guest sees */
    uint64_t size_offset;   /* where in the file that stands */
    uint32_t sector_size;   /* logical */
    uint32_t physical_size; /* of a sector */
    uint8_t disk_id[VHDX_GUID_BYTES];
    struct vhdx_range locator; /* the parent locator's place in the file; length 0: none */
};
bool vhdx_metadata_load(const struct vhdx_view *view, const struct vhdx_regions *regions,
                        struct vhdx_metadata *ret_metadata, GError **error);
/* The whole region's used beginning, for a new file; `locator` may be NULL. */
GByteArray *vhdx_metadata_encode(const struct vhdx_metadata *metadata, const GByteArray *locator);

/* ---- the block allocation table (2.5) ---------------------------------------------------------
 */

enum vhdx_state {
    VHDX_NOT_PRESENT = 0, /* zeroes, or the parent's */
    VHDX_UNDEFINED = 1,
    VHDX_ZERO = 2,
    VHDX_UNMAPPED = 3,
    VHDX_FULLY_PRESENT = 6, /* of a sector bitmap block: present */
    VHDX_PARTIALLY_PRESENT = 7,
};

static inline enum vhdx_state vhdx_entry_state(uint64_t entry)
{
    return (enum vhdx_state)(entry & 7);
}

static inline uint64_t vhdx_entry_offset(uint64_t entry)
{
    return entry & ~(VHDX_MIB - 1);
}

/* How many entries a BAT needs; `ratio`: payload blocks per sector bitmap block. */
uint32_t vhdx_chunk_ratio(uint32_t block_size, uint32_t sector_size);
uint64_t vhdx_entry_count(uint64_t size, uint32_t block_size, uint32_t ratio, bool has_parent);

/* ---- helpers ----------------------------------------------------------------------------------
 */

void vhdx_guid_new(uint8_t guid[VHDX_GUID_BYTES]);
/* In the order in which it is read out. */
void vhdx_guid_reorder(const uint8_t guid[VHDX_GUID_BYTES], uint8_t out[VHDX_GUID_BYTES]);
/* "{01234567-89ab-...}"; caller frees. */
char *vhdx_guid_text(const uint8_t guid[VHDX_GUID_BYTES]);
bool vhdx_guid_is_zero(const uint8_t guid[VHDX_GUID_BYTES]);
bool vhdx_is_file(struct host_file *file);
/* The first 64 KiB of a new file. */
void vhdx_identifier_encode(uint8_t *out /* 4 KiB */);

/* Sets BLOCK_ERROR_FORMAT, "PATH is damaged: ...", and returns false. */
bool vhdx_damaged(const struct host_file *file, GError **error, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

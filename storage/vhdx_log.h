/*
 * The log of a VHDX (2.3): changes of metadata pages are first written there, so that a crash
 * leaves each page as it was or as it was to become.
 *
 * Replaying, at opening: of the log's entries, those from the newest valid one's tail to itself are
 * put where they belong. A file opened for reading is not written: it is seen through a vhdx_view.
 *
 * Writing: the log's halves take turns. An entry is written only when all that it supersedes is on
 * stable storage, so it is its own tail; a torn one leaves the other half's valid.
 */
#pragma once

#include "storage/vhdx_format.h"

/* What the log says is to be changed. `changes` stays NULL when the log is empty. `ret_end`: how
 * long the file must be. */
bool vhdx_log_load(struct host_file *file, const struct vhdx_header *header, struct vhdx_view *view,
                   uint64_t *ret_end, GError **error);
/* Puts the changes into the file, makes it at least `end` long, and flushes it. */
bool vhdx_log_replay(const struct vhdx_view *view, uint64_t end, GError **error);

struct vhdx_log_page {
    uint64_t offset;      /* of the file, a multiple of VHDX_PAGE */
    const uint8_t *bytes; /* VHDX_PAGE of them; borrowed */
};

/* How many pages an entry can hold. */
unsigned vhdx_log_capacity(const struct vhdx_header *header);
/* Writes an entry into one half and flushes it. `end`: how long the file is. */
bool vhdx_log_write(struct host_file *file, const struct vhdx_header *header, unsigned half,
                    uint64_t sequence, uint64_t end, const struct vhdx_log_page *pages,
                    unsigned count, GError **error);

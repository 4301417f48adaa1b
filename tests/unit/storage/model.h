/*
 * What a disk may hold: one set of acceptable contents for each sector, which writes widen and an
 * acknowledged flush narrows to the last.
 *
 * Threads: one.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

#include "storage/block.h"

struct model;

/* A disk of zeroes. */
struct model *model_new(uint64_t size);
void model_free(struct model *model);
/* Writes `count` sectors of content never seen before through the device, and tells the model. */
bool model_write(struct model *model, struct block_device *device, uint64_t sector, uint64_t count,
                 GError **error);
bool model_zero(struct model *model, struct block_device *device, uint64_t sector, uint64_t count,
                GError **error);
/* As data, which takes space. */
bool model_write_zero(struct model *model, struct block_device *device, uint64_t sector,
                      uint64_t count, GError **error);
bool model_discard(struct model *model, struct block_device *device, uint64_t sector,
                   uint64_t count, GError **error);
bool model_flush(struct model *model, struct block_device *device, GError **error);
/* The disk may have this size too from now on; beyond the old one there are zeroes. */
void model_may_have_size(struct model *model, uint64_t size);
/* The last of these is the size; not while a log is recorded. */
void model_settle_size(struct model *model);
/* Everything is as it was last written: no flush needed. */
void model_settle(struct model *model);
/* NULL when the device holds what it may; else what is wrong, to be freed. */
char *model_compare(struct model *model, struct block_device *device);

/* ---- for the log ----------------------------------------------------------------------------- */

/* What a model goes through, to be gone through again at replay. */
enum step_kind { STEP_MAY, STEP_NOW, STEP_UNSURE, STEP_FLUSHED, STEP_SIZE };
struct model_step {
    enum step_kind kind;
    uint64_t sector, count;
    uint64_t value; /* of the first sector; 0: zeroes; the next sectors have the next values */
    uint64_t size;
};

struct model *model_copy(const struct model *model);
void model_take_step(struct model *model, const struct model_step *step);
/* power.c: the step is taken now. */
void power_note_step(const struct model *model, const struct model_step *step);

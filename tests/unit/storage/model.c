#include "tests/unit/storage/model.h"

#include <string.h>

#include "storage/driver.h"

#define SECTOR BLOCK_SECTOR_SIZE

struct model {
    uint64_t size, other_size;
    uint64_t sectors, next_value;
    uint64_t *latest;
    GArray **may; /* of uint64_t, per sector; NULL: only `latest` */
    bool *unsure; /* the last write failed: a flush decides nothing */
};

struct model *model_new(uint64_t size)
{
    struct model *model = g_new0(struct model, 1);

    model->size = model->other_size = size;
    model->sectors = size / SECTOR;
    model->latest = g_new0(uint64_t, model->sectors);
    model->may = g_new0(GArray *, model->sectors);
    model->unsure = g_new0(bool, model->sectors);
    model->next_value = 1;
    return model;
}

void model_free(struct model *model)
{
    for (uint64_t i = 0; i < model->sectors; i++)
        if (model->may[i])
            g_array_unref(model->may[i]);
    g_free(model->may);
    g_free(model->unsure);
    g_free(model->latest);
    g_free(model);
}

struct model *model_copy(const struct model *model)
{
    struct model *copy = model_new(model->sectors * SECTOR);

    copy->size = model->size;
    copy->other_size = model->other_size;
    memcpy(copy->unsure, model->unsure, model->sectors * sizeof(bool));
    memcpy(copy->latest, model->latest, model->sectors * sizeof(uint64_t));
    for (uint64_t i = 0; i < model->sectors; i++)
        copy->may[i] = model->may[i] ? g_array_copy(model->may[i]) : NULL;
    return copy;
}

static void allow(struct model *model, uint64_t sector, uint64_t value)
{
    if (!model->may[sector]) {
        model->may[sector] = g_array_new(false, false, sizeof(uint64_t));
        g_array_append_val(model->may[sector], model->latest[sector]);
    }
    g_array_append_val(model->may[sector], value);
}

static void settle(struct model *model)
{
    for (uint64_t i = 0; i < model->sectors; i++)
        if (!model->unsure[i])
            g_clear_pointer(&model->may[i], g_array_unref);
}

static void extend(struct model *model, uint64_t size)
{
    uint64_t sectors = MAX(size, model->size) / SECTOR;

    if (sectors > model->sectors) {
        model->latest = g_renew(uint64_t, model->latest, sectors);
        model->may = g_renew(GArray *, model->may, sectors);
        model->unsure = g_renew(bool, model->unsure, sectors);
        memset(model->unsure + model->sectors, 0, (sectors - model->sectors) * sizeof(bool));
        memset(model->latest + model->sectors, 0, (sectors - model->sectors) * sizeof(uint64_t));
        memset(model->may + model->sectors, 0, (sectors - model->sectors) * sizeof(GArray *));
        model->sectors = sectors;
    }
    model->other_size = size;
}

void model_take_step(struct model *model, const struct model_step *step)
{
    for (uint64_t i = 0; i < step->count; i++) {
        uint64_t value = step->value ? step->value + i : 0;

        if (step->kind == STEP_MAY)
            allow(model, step->sector + i, value);
        else if (step->kind == STEP_NOW)
            model->latest[step->sector + i] = value;
        model->unsure[step->sector + i] = step->kind == STEP_UNSURE;
    }
    if (step->kind == STEP_FLUSHED)
        settle(model);
    if (step->kind == STEP_SIZE)
        extend(model, step->size);
}

/* Now, and at replay. */
static void do_step(struct model *model, struct model_step step)
{
    model_take_step(model, &step);
    power_note_step(model, &step);
}

static void fill_sector(uint8_t *sector, uint64_t value)
{
    memset(sector, 0, SECTOR);
    for (size_t i = 0; value && i < SECTOR; i += 8)
        memcpy(sector + i, &value, 8);
}

/* What was allowed is so; or, after a failure, may be so. */
static bool settle_step(struct model *model, struct model_step step, bool done)
{
    step.kind = done ? STEP_NOW : STEP_UNSURE;
    do_step(model, step);
    return done;
}

bool model_write(struct model *model, struct block_device *device, uint64_t sector, uint64_t count,
                 GError **error)
{
    g_autofree uint8_t *data = g_malloc(count * SECTOR);
    struct model_step step = {STEP_MAY, sector, count, model->next_value, 0};

    for (uint64_t i = 0; i < count; i++)
        fill_sector(data + i * SECTOR, step.value + i);
    model->next_value += count;
    do_step(model, step);
    return settle_step(model, step,
                       block_write(device, sector * SECTOR, data, count * SECTOR, error));
}

bool model_zero(struct model *model, struct block_device *device, uint64_t sector, uint64_t count,
                GError **error)
{
    struct model_step step = {STEP_MAY, sector, count, 0, 0};

    do_step(model, step);
    return settle_step(model, step,
                       block_write_zeroes(device, sector * SECTOR, count * SECTOR, true, error));
}

bool model_write_zero(struct model *model, struct block_device *device, uint64_t sector,
                      uint64_t count, GError **error)
{
    g_autofree uint8_t *data = g_malloc0(count * SECTOR);
    struct model_step step = {STEP_MAY, sector, count, 0, 0};

    do_step(model, step);
    return settle_step(model, step,
                       block_write(device, sector * SECTOR, data, count * SECTOR, error));
}

/* Zero, or as it was: which of them is asked of the device, and holds from then on. */
bool model_discard(struct model *model, struct block_device *device, uint64_t sector,
                   uint64_t count, GError **error)
{
    g_autofree uint8_t *now = g_malloc(count * SECTOR);
    struct model_step step = {STEP_MAY, sector, count, 0, 0};
    uint64_t end;

    do_step(model, step);
    if (!block_discard(device, sector * SECTOR, count * SECTOR, error) ||
        !block_read(device, sector * SECTOR, now, count * SECTOR, error))
        return settle_step(model, step, false);
    for (uint64_t i = 0; i < count; i = end) {
        bool zero = block_is_zero(now + i * SECTOR, SECTOR);

        for (end = i + 1; end < count; end++)
            if (zero != block_is_zero(now + end * SECTOR, SECTOR))
                break;
        if (zero)
            do_step(model, (struct model_step){STEP_NOW, sector + i, end - i, 0, 0});
    }
    return true;
}

bool model_flush(struct model *model, struct block_device *device, GError **error)
{
    if (!block_flush(device, error))
        return false;
    do_step(model, (struct model_step){.kind = STEP_FLUSHED});
    return true;
}

void model_may_have_size(struct model *model, uint64_t size)
{
    do_step(model, (struct model_step){.kind = STEP_SIZE, .size = size});
}

void model_settle_size(struct model *model)
{
    model->size = model->other_size;
}

void model_settle(struct model *model)
{
    do_step(model, (struct model_step){.kind = STEP_FLUSHED});
}

static bool is_allowed(struct model *model, uint64_t sector, const uint8_t *found)
{
    GArray *may = model->may[sector];
    uint8_t wanted[SECTOR];

    if (!may) {
        fill_sector(wanted, model->latest[sector]);
        return memcmp(found, wanted, SECTOR) == 0;
    }
    for (guint i = 0; i < may->len; i++) {
        fill_sector(wanted, g_array_index(may, uint64_t, i));
        if (memcmp(found, wanted, SECTOR) == 0)
            return true;
    }
    return false;
}

char *model_compare(struct model *model, struct block_device *device)
{
    uint64_t size = block_size(device), value;
    g_autofree uint8_t *read = g_malloc(size);
    GError *error = NULL;

    if (size != model->size && size != model->other_size)
        return g_strdup_printf("a size of %" G_GUINT64_FORMAT, size);
    if (!block_read(device, 0, read, size, &error)) {
        char *text = g_strdup(error->message);

        g_error_free(error);
        return text;
    }
    for (uint64_t i = 0; i < size / SECTOR; i++) {
        if (is_allowed(model, i, read + i * SECTOR))
            continue;
        memcpy(&value, read + i * SECTOR, 8);
        return g_strdup_printf("sector %" G_GUINT64_FORMAT " holds %" G_GUINT64_FORMAT
                               ", its last was %" G_GUINT64_FORMAT "%s",
                               i, value, model->latest[i],
                               model->may[i] ? " (or one before)" : " (flushed)");
    }
    return NULL;
}

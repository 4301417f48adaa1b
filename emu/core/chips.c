#include "emu/core/chips.h"

#include <glib.h>

struct entry {
    const struct chip_model *model;
    void *device;
};

struct chips {
    GArray *models; /* struct entry, sorted by kind */
    const struct chips_ops *ops;
    void *engine;
    enum chips_wish wish;
    bool away;
};

struct chips *chips_new(void)
{
    struct chips *chips = g_new0(struct chips, 1);
    chips->models = g_array_new(FALSE, FALSE, sizeof(struct entry));
    return chips;
}

void chips_free(struct chips *chips)
{
    if (!chips)
        return;
    g_array_unref(chips->models);
    g_free(chips);
}

void chips_set_wish(struct chips *chips, enum chips_wish wish)
{
    chips->wish = wish;
}

enum chips_wish chips_wish(const struct chips *chips)
{
    return chips->wish;
}

/* ---- who is there ------------------------------------------------------------------------ */

void chips_add(struct chips *chips, const struct chip_model *model, void *device)
{
    struct entry entry = {model, device};
    guint at = 0;
    while (at < chips->models->len &&
           g_array_index(chips->models, struct entry, at).model->kind <= model->kind)
        at++;
    g_array_insert_val(chips->models, at, entry);
}

bool chips_complete(const struct chips *chips)
{
    unsigned kinds = 0;
    for (guint i = 0; i < chips->models->len; i++)
        kinds |= 1u << g_array_index(chips->models, struct entry, i).model->kind;
    return kinds == (1u << CHIP_KIND_COUNT) - 1;
}

void chips_offer(struct chips *chips, const struct chips_ops *ops, void *engine)
{
    chips->ops = ops;
    chips->engine = engine;
    chips->away = false;
}

const struct chips_ops *chips_ops(const struct chips *chips, void **ret_engine)
{
    *ret_engine = chips->engine;
    return chips->ops;
}

bool chips_away(const struct chips *chips)
{
    return chips->away;
}

void chips_line(struct chips *chips, unsigned line, bool level)
{
    chips->ops->line(chips->engine, line, level);
}

/* ---- to and fro -------------------------------------------------------------------------- */

static void hand_over(struct chips *chips)
{
    for (guint i = 0; i < chips->models->len; i++) {
        const struct entry *entry = &g_array_index(chips->models, struct entry, i);
        if (entry->model->tell_lines)
            entry->model->tell_lines(entry->device, chips);
    }
    for (guint i = 0; i < chips->models->len; i++) {
        const struct entry *entry = &g_array_index(chips->models, struct entry, i);
        entry->model->leave(entry->device, chips);
    }
    chips->away = true;
}

static void take_back(struct chips *chips)
{
    chips->ops->settle(chips->engine);
    chips->away = false;
    for (guint i = 0; i < chips->models->len; i++) {
        const struct entry *entry = &g_array_index(chips->models, struct entry, i);
        entry->model->enter(entry->device, chips);
    }
}

void chips_hand_over(struct chips *chips)
{
    if (chips->ops && !chips->away)
        hand_over(chips);
}

void chips_take_back(struct chips *chips)
{
    if (chips->ops && chips->away)
        take_back(chips);
}

bool chips_borrow(struct chips *chips)
{
    if (!chips->away)
        return false;
    chips->ops->stop(chips->engine);
    take_back(chips);
    return true;
}

void chips_give_back(struct chips *chips)
{
    hand_over(chips);
    chips->ops->go(chips->engine);
}

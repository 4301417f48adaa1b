/*
 * Looking for damage in a VHD of any type.
 */
#include "storage/vhd_check.h"

#include <stdlib.h>
#include <string.h>

#include "storage/endian.h"
#include "storage/file.h"
#include "storage/vhd_header.h"

#define MAX_BLOCK_FINDINGS 20 /* of one kind; the rest is counted */

struct checker {
    struct host_file *file;
    const char *path;
    uint64_t file_size;
    uint64_t data_end; /* where the trailing footer belongs */
    struct vhd_footer footer;
    struct vhd_header header;
    struct block_check *result;
};

static void find_error(struct checker *checker, GError *error)
{
    const char *text = error->message;

    if (g_str_has_prefix(text, checker->path)) /* the caller names the file already */
        text += strlen(checker->path) + 1;
    block_check_find(checker->result, false, "%s", text);
    g_error_free(error);
}

/* ---- footers ----------------------------------------------------------------------------------
 */

enum footer_state {
    FOOTER_GONE,    /* no cookie */
    FOOTER_DAMAGED, /* a cookie, but not a footer to trust */
    FOOTER_GOOD,
};

static enum footer_state read_footer(struct checker *checker, uint64_t offset,
                                     uint8_t raw[VHD_FOOTER_SIZE], struct vhd_footer *ret_footer)
{
    if (!host_file_read(checker->file, offset, raw, VHD_FOOTER_SIZE, NULL) ||
        !vhd_footer_is_cookie(raw))
        return FOOTER_GONE;
    return vhd_footer_decode(ret_footer, raw, checker->path, NULL) ? FOOTER_GOOD : FOOTER_DAMAGED;
}

static bool is_sparse(const struct vhd_footer *footer)
{
    return footer->type == VHD_TYPE_DYNAMIC || footer->type == VHD_TYPE_DIFFERENCING;
}

/* Takes the footer to go by; false when there is none and the search is over. */
static bool check_footers(struct checker *checker, GError **error)
{
    uint8_t head_raw[VHD_FOOTER_SIZE], tail_raw[VHD_FOOTER_SIZE];
    struct vhd_footer head, tail;
    enum footer_state at_head, at_tail = FOOTER_GONE;

    at_head = read_footer(checker, 0, head_raw, &head);
    if (checker->file_size >= VHD_FOOTER_SIZE)
        at_tail = read_footer(checker, checker->file_size - VHD_FOOTER_SIZE, tail_raw, &tail);
    if (at_head == FOOTER_GONE && at_tail == FOOTER_GONE) {
        g_set_error(error, BLOCK_ERROR, BLOCK_ERROR_UNSUPPORTED,
                    "%s has no VHD footer at either end: it is raw, or lost", checker->path);
        return false;
    }
    if (at_tail == FOOTER_GOOD && tail.type == VHD_TYPE_FIXED) {
        checker->footer = tail; /* what stands at 0 is the guest's */
        return true;
    }
    if (at_head == FOOTER_GOOD && !is_sparse(&head))
        at_head = FOOTER_DAMAGED;
    if (at_head != FOOTER_GOOD && at_tail != FOOTER_GOOD) {
        block_check_find(checker->result, false,
                         "neither its footer nor the copy at its beginning is whole");
        return true;
    }
    checker->footer = at_tail == FOOTER_GOOD ? tail : head;
    if (at_tail == FOOTER_GONE)
        block_check_find(checker->result, true, "the footer at its end is missing");
    else if (at_tail == FOOTER_DAMAGED)
        block_check_find(checker->result, true, "the footer at its end is damaged");
    if (at_head != FOOTER_GOOD)
        block_check_find(checker->result, true, "the copy of the footer at its beginning is %s",
                         at_head == FOOTER_GONE ? "missing" : "damaged");
    else if (at_tail == FOOTER_GOOD && memcmp(head_raw, tail_raw, VHD_FOOTER_SIZE) != 0)
        block_check_find(checker->result, true,
                         "the copy of the footer at its beginning differs from the footer");
    return true;
}

/* ---- blocks -----------------------------------------------------------------------------------
 */

struct placed {
    uint64_t start;
    uint32_t block;
};

static int compare_placed(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;

    return x->start < y->start ? -1 : x->start > y->start;
}

static void find_counted(struct checker *checker, uint32_t count, const char *what)
{
    if (count > MAX_BLOCK_FINDINGS)
        block_check_find(checker->result, false, "%u more blocks %s", count - MAX_BLOCK_FINDINGS,
                         what);
}

/* Notes where the blocks inside the file lie, and complains of the others. */
static GArray *place_blocks(struct checker *checker, const uint8_t *bat, uint32_t count)
{
    uint64_t footprint =
        (uint64_t)vhd_header_bitmap_bytes(&checker->header) + checker->header.block_size;
    GArray *all = g_array_new(false, false, sizeof(struct placed));
    uint64_t first = checker->data_end;
    uint32_t outside = 0;

    for (uint32_t i = 0; i < count; i++) {
        uint32_t entry = load_be32(bat + (size_t)i * 4);
        struct placed placed = {(uint64_t)entry * BLOCK_SECTOR_SIZE, i};

        if (entry == VHD_BAT_NONE)
            continue;
        if (placed.start >= first && placed.start <= checker->file_size &&
            checker->file_size - placed.start >= footprint) {
            g_array_append_val(all, placed);
            checker->data_end = MAX(checker->data_end, placed.start + footprint);
        } else if (++outside <= MAX_BLOCK_FINDINGS) {
            block_check_find(checker->result, false,
                             "block %u lies at byte %" G_GUINT64_FORMAT
                             ", outside the part of the file that holds blocks",
                             i, placed.start);
        }
    }
    find_counted(checker, outside, "lie outside the part of the file that holds blocks");
    return all;
}

static void check_overlap(struct checker *checker, GArray *all)
{
    uint64_t footprint =
        (uint64_t)vhd_header_bitmap_bytes(&checker->header) + checker->header.block_size;
    uint32_t overlaps = 0;

    g_array_sort(all, compare_placed);
    for (guint i = 1; i < all->len; i++) {
        struct placed *a = &g_array_index(all, struct placed, i - 1), *b = a + 1;

        if (b->start - a->start < footprint && ++overlaps <= MAX_BLOCK_FINDINGS)
            block_check_find(checker->result, false,
                             "blocks %u and %u overlap at byte %" G_GUINT64_FORMAT, a->block,
                             b->block, b->start);
    }
    find_counted(checker, overlaps, "overlap");
}

static void check_tail(struct checker *checker)
{
    uint64_t wanted = checker->data_end + VHD_FOOTER_SIZE;

    if (checker->file_size <= wanted)
        return;
    checker->result->leaked = checker->file_size - wanted;
    block_check_find(checker->result, true,
                     "%" G_GUINT64_FORMAT " bytes past its last block belong to nothing",
                     checker->result->leaked);
}

static void check_sparse(struct checker *checker)
{
    uint64_t size = vhd_footer_virtual_size(&checker->footer);
    uint8_t raw[VHD_HEADER_SIZE];
    g_autofree uint8_t *bat = NULL;
    GError *error = NULL;
    uint32_t count;
    GArray *all;

    if (checker->footer.data_offset > checker->file_size ||
        checker->file_size - checker->footer.data_offset < VHD_HEADER_SIZE) {
        block_check_find(checker->result, false, "its dynamic header lies outside the file");
        return;
    }
    if (!host_file_read(checker->file, checker->footer.data_offset, raw, sizeof(raw), &error) ||
        !vhd_header_decode(&checker->header, raw, size, checker->file_size, checker->path,
                           &error)) {
        find_error(checker, error);
        return;
    }
    count = (uint32_t)((size + checker->header.block_size - 1) / checker->header.block_size);
    bat = g_malloc((size_t)count * 4);
    if (!host_file_read(checker->file, checker->header.bat_offset, bat, (size_t)count * 4,
                        &error)) {
        find_error(checker, error);
        return;
    }
    checker->data_end =
        MAX(vhd_header_bat_end(&checker->header), checker->footer.data_offset + VHD_HEADER_SIZE);
    all = place_blocks(checker, bat, count);
    check_overlap(checker, all);
    g_array_free(all, true);
    if (checker->footer.type == VHD_TYPE_DIFFERENCING)
        checker->data_end =
            MAX(checker->data_end, vhd_header_locators_end(&checker->header, checker->file_size));
    check_tail(checker);
}

static void check_fixed(struct checker *checker)
{
    uint64_t size = vhd_footer_virtual_size(&checker->footer);
    uint64_t held = checker->file_size - VHD_FOOTER_SIZE;

    if (size > held)
        block_check_find(checker->result, false,
                         "its footer claims %" G_GUINT64_FORMAT
                         " bytes, but the file holds %" G_GUINT64_FORMAT,
                         size, held);
}

/* ---- repairing --------------------------------------------------------------------------------
 */

/* The footer at the end first, and down, before the copy is touched: one of them is always whole.
 */
static bool repair_ends(struct checker *checker, GError **error)
{
    uint8_t raw[VHD_FOOTER_SIZE];

    vhd_footer_encode(&checker->footer, raw);
    if (!host_file_write(checker->file, checker->data_end, raw, sizeof(raw), error) ||
        !host_file_flush(checker->file, error) ||
        !host_file_resize(checker->file, checker->data_end + VHD_FOOTER_SIZE, error) ||
        !host_file_flush(checker->file, error) ||
        !host_file_write(checker->file, 0, raw, sizeof(raw), error) ||
        !host_file_flush(checker->file, error))
        return false;
    checker->result->repaired = true;
    return true;
}

static enum block_format format_of(const struct vhd_footer *footer)
{
    switch (footer->type) {
    case VHD_TYPE_FIXED:
        return BLOCK_FORMAT_VHD_FIXED;
    case VHD_TYPE_DIFFERENCING:
        return BLOCK_FORMAT_VHD_DIFFERENCING;
    default:
        return BLOCK_FORMAT_VHD_DYNAMIC;
    }
}

static bool run(struct checker *checker, bool repair, GError **error)
{
    if (!host_file_size(checker->file, &checker->file_size, error) ||
        !check_footers(checker, error))
        return false;
    checker->result->format = format_of(&checker->footer);
    if (checker->footer.type == VHD_TYPE_FIXED)
        check_fixed(checker);
    else if (is_sparse(&checker->footer))
        check_sparse(checker);
    if (!repair || !block_check_is_repairable(checker->result))
        return true;
    return repair_ends(checker, error);
}

bool vhd_check(struct host_file *file, bool repair, struct block_check *check, GError **error)
{
    struct checker checker = {.file = file, .path = host_file_path(file), .result = check};

    return run(&checker, repair, error);
}

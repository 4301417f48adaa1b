/*
 * Linux swap: one header page, then pages that mean nothing while no system runs.
 *
 * The signature ends the header page, whose size is the machine's. A hibernated system puts another
 * signature there; then the pages are its memory, and it is no swap to us. Header (after 1024 bytes
 * for boot code): version, last page, number of bad pages.
 *
 * Source: Linux, include/linux/swap.h, union swap_header.
 */
#include <string.h>

#include "storage/endian.h"
#include "storage/fsmap/fs_internal.h"

#define SIGNATURE      "SWAPSPACE2"
#define SIGNATURE_SIZE 10

enum {
    AT_VERSION = 1024,
    AT_LAST_PAGE = 1028,
    AT_BAD_PAGES = 1032,
    HEADER_END = 1036,
};

static const uint32_t page_sizes[] = {4096, 8192, 16384, 65536};

static const char *const hibernated[] = {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"};

/* The page size at whose end there is a signature, of swap or of hibernation; 0: none. */
static uint32_t find_page_size(struct fs_volume *volume, bool *ret_hibernated)
{
    uint8_t text[SIGNATURE_SIZE];

    for (size_t i = 0; i < G_N_ELEMENTS(page_sizes); i++) {
        if (!fs_read(volume, page_sizes[i] - SIGNATURE_SIZE, text, SIGNATURE_SIZE, NULL))
            return 0;
        *ret_hibernated = false;
        if (memcmp(text, SIGNATURE, SIGNATURE_SIZE) == 0)
            return page_sizes[i];
        *ret_hibernated = true;
        for (size_t k = 0; k < G_N_ELEMENTS(hibernated); k++)
            if (memcmp(text, hibernated[k], strlen(hibernated[k])) == 0)
                return page_sizes[i];
    }
    return 0;
}

static bool swap_probe(struct fs_volume *volume)
{
    bool is_hibernated;

    return find_page_size(volume, &is_hibernated) != 0;
}

static bool swap_walk(struct fs_volume *volume, GError **error)
{
    bool is_hibernated = false;
    uint64_t page_size = find_page_size(volume, &is_hibernated), end;
    uint8_t header[HEADER_END];

    if (is_hibernated)
        return fs_refuse(error, FS_UNCLEAN, "a hibernated system's memory is in it");
    if (!fs_read(volume, 0, header, sizeof(header), error))
        return false;
    if (load_le32(header + AT_VERSION) != 1)
        return fs_refuse(error, FS_UNSUPPORTED,
                         "it is swap of version %u, or of another byte order",
                         load_le32(header + AT_VERSION));
    if (load_le32(header + AT_BAD_PAGES) != 0)
        return fs_refuse(error, FS_UNSUPPORTED, "it lists bad pages");
    end = ((uint64_t)load_le32(header + AT_LAST_PAGE) + 1) * page_size;
    if (end > volume->length || end <= page_size)
        return fs_refuse(error, FS_DAMAGED,
                         "its header claims %" G_GUINT64_FORMAT
                         " bytes of swap, and it has %" G_GUINT64_FORMAT,
                         end, volume->length);
    return fs_give(volume, page_size, end - page_size, error);
}

const struct fs_type fs_type_swap = {
    .name = "swap",
    .probe = swap_probe,
    .walk = swap_walk,
};

/*
 * How a differencing VHD names its parent, and how the parent is found again.
 *
 * The parent is looked for by the relative locators, from the child's folder; then by the absolute
 * ones; then by its plain name in the child's folder. The first file that is there must be it: have
 * the unique id the child was made with. Another name or time of that file is only told of
 * (block_info), as Virtual Server did: a copy has another time, too.
 */
#pragma once

#include "storage/driver.h"
#include "storage/vhd_header.h"

/* Fills the parent's fields of `header`, and returns the locators' paths, as they are to stand in
 * the file from byte `base` on. NULL with an error when the name cannot be written. */
GByteArray *vhd_parent_describe(struct vhd_header *header, uint64_t base, const char *child_path,
                                struct block_device *parent, GError **error);

/* The way from a folder to a file, both absolute and without dots, as ".\\a" or "..\\a"; caller
 * frees. */
char *vhd_relative_path(const char *folder, const char *file);

/* The parent's file has another time than the child was told. */
bool vhd_parent_touched(const struct vhd_header *header, struct block_device *parent);

/* The parent's file has another name than the child was told. */
bool vhd_parent_renamed(const struct vhd_header *header, struct block_device *parent);

/* Opens the parent of `child`, whose header is given. */
struct block_device *vhd_parent_open(struct block_device *child, const struct vhd_header *header,
                                     GError **error);

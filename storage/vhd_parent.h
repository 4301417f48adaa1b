/*
 * How a differencing VHD names its parent, and how the parent is found again.
 *
 * The parent is looked for by the relative locator, from the child's folder; then by the absolute
 * one; then by its plain name in the child's folder. The first file that is there must be it: have
 * the unique id the child was made with.
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

/* Opens the parent of `child`, whose header is given. */
struct block_device *vhd_parent_open(struct block_device *child, const struct vhd_header *header,
                                     GError **error);

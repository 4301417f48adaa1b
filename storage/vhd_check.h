#pragma once

#include "storage/check.h"
#include "storage/file.h"

/* The drivers' check(), the same for every type of VHD, and for files too damaged to tell. */
bool vhd_check(struct host_file *file, bool repair, struct block_check *check, GError **error);

/*
 * The scene of a VHDX: the smallest blocks there are, and a few of them.
 */
#pragma once

#define DISK_SIZE    (4096 * KIB)
#define BLOCK_SIZE   (1024 * KIB)
#define BASE_FORMAT  BLOCK_FORMAT_VHDX_DYNAMIC
#define CHILD_FORMAT BLOCK_FORMAT_VHDX_DIFFERENCING
#define GROWN_SIZE   (2 * DISK_SIZE)
#include "tests/unit/storage/scene.h"

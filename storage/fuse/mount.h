/*
 * A disk as files, through FUSE: "disk.img" is the whole, "partition-1.img" and so on its
 * partitions. They have the disk's bytes, may be written when it is writable, and fsync puts what
 * was written on stable storage. Holes are seen and can be punched.
 */
#pragma once

#include "storage/block.h"

/* The extended attribute of the mounted folder that holds the serving process's id. */
#define DISK_MOUNT_PID_ATTRIBUTE "user.drover.pid"

struct disk_mount;

/* Borrows `device` until disk_mount_free(). The folder must be there. The partitions are those of
 * this moment. */
struct disk_mount *disk_mount_new(struct block_device *device, const char *folder, GError **error);
/* Serves the folder until it is unmounted, or SIGINT, SIGTERM or SIGHUP unmounts it; then flushes
 * the disk. */
bool disk_mount_run(struct disk_mount *mount, GError **error);
void disk_mount_free(struct disk_mount *mount); /* unmounts; NULL is fine */

/* Unmounts a folder and waits until the process that served it has closed the image. What was
 * written is flushed first, so that a failure of that is told. */
bool disk_unmount(const char *folder, GError **error);

/*
 * Between ata.c (the task file and the commands) and ata_transfer.c (how a command's data moves).
 */
#pragma once

#include "emu/device/ata.h"
#include "emu/device/atapi.h"

void ata_end_command(struct ata_drive *drive, uint8_t error);
void ata_set_address(struct ata_drive *drive, uint64_t sector);
/* Starts the first chunk of what sector, left, block, to_guest and is_dma describe. */
void ata_begin_transfer(struct ata_drive *drive);
/* Gives the guest `length` bytes of the buffer, and ends the command. */
void ata_begin_reply(struct ata_drive *drive, uint32_t length);
void ata_begin_flush(struct ata_drive *drive);
/* Opens a DRQ block in the buffer, from position. */
void ata_open_block(struct ata_drive *drive);
/* Gives the worker what this phase waits for, unless an older request still occupies it. */
void ata_start_request(struct ata_drive *drive);
disk_done_function ata_request_done;

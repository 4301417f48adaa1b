#include "emu/core/bytes.h"
#include "emu/device/ata.h"
#include <string.h>

static void word(uint8_t *identify, unsigned index, uint16_t value)
{
    bytes_store(identify + index * 2, value, 2);
}

/* ATA strings are padded with blanks, two characters swapped in each word. */
static void text(uint8_t *identify, unsigned index, unsigned words, const char *string)
{
    size_t length = strlen(string);
    for (size_t i = 0; i < words * 2u; i++)
        identify[index * 2 + (i ^ 1)] = (uint8_t)(i < length ? string[i] : ' ');
}

/* Modes that are chosen have a bit eight above the one that says they can be. */
static uint16_t modes(const struct ata_drive *drive, uint16_t known, unsigned group)
{
    bool chosen = drive->transfer_mode >> 3 == group;
    return chosen ? (uint16_t)(known | 0x100u << (drive->transfer_mode & 7)) : known;
}

/* ATA/ATAPI-6, 8.16, IDENTIFY PACKET DEVICE. */
static void identify_packet(const struct ata_drive *drive, uint8_t identify[512])
{
    memset(identify, 0, 512);
    word(identify, 0, 0x85c0); /* CD-ROM, removable, packets of 12 bytes */
    text(identify, 10, 10, drive->serial);
    text(identify, 23, 4, "1.0");
    text(identify, 27, 20, drive->model);
    word(identify, 49, 0x0b00);
    word(identify, 53, 0x0006);
    word(identify, 63, modes(drive, 0x07, 4));
    word(identify, 64, 0x0003);
    for (unsigned i = 65; i <= 68; i++)
        word(identify, i, 120);
    word(identify, 80, 0x007e);
    word(identify, 82, 0x4214); /* NOP, DEVICE RESET, packets, removable */
    word(identify, 83, 0x4000);
    word(identify, 84, 0x4000);
    word(identify, 85, 0x4214);
    word(identify, 87, 0x4000);
    word(identify, 88, modes(drive, 0x3f, 8));
}

/* ATA/ATAPI-6, 8.15, IDENTIFY DEVICE. */
void ata_identify(const struct ata_drive *drive, uint8_t identify[512])
{
    if (drive->is_packet) {
        identify_packet(drive, identify);
        return;
    }
    uint64_t sectors = disk_worker_size(drive->worker) / ATA_SECTOR;
    uint32_t sectors_28 = (uint32_t)MIN(sectors, UINT64_C(0x0fffffff));
    uint32_t cylinders = MIN(sectors_28 / (16 * 63), 16383);
    uint32_t chs = cylinders * 16 * 63;
    memset(identify, 0, 512);
    word(identify, 0, 0x0040);
    word(identify, 1, (uint16_t)cylinders);
    word(identify, 3, 16);
    word(identify, 6, 63);
    text(identify, 10, 10, drive->serial);
    text(identify, 23, 4, "1.0");
    text(identify, 27, 20, drive->model);
    word(identify, 47, 0x8000 | 16);
    word(identify, 48, 1);      /* 32-bit PIO */
    word(identify, 49, 0x0b00); /* LBA, DMA, IORDY may be disabled */
    word(identify, 50, 0x4000);
    word(identify, 51, 0x0200);
    word(identify, 53, 0x0007);
    word(identify, 54, (uint16_t)cylinders);
    word(identify, 55, 16);
    word(identify, 56, 63);
    bytes_store(identify + 57 * 2, chs, 4);
    word(identify, 59, drive->multiple ? 0x100 | drive->multiple : 0);
    bytes_store(identify + 60 * 2, sectors_28, 4);
    word(identify, 63,
         0x07 | (drive->transfer_mode >> 3 == 4 ? (uint16_t)(0x100u << (drive->transfer_mode & 7))
                                                : 0));
    word(identify, 64, 0x0003);
    for (unsigned i = 65; i <= 68; i++)
        word(identify, i, 120);
    word(identify, 80, 0x007e); /* ATA-1 to ATA-6 */
    word(identify, 82, 0x4020); /* NOP, write cache */
    word(identify, 83, 0x7400); /* FLUSH CACHE, FLUSH CACHE EXT, 48-bit addresses */
    word(identify, 84, 0x4000);
    word(identify, 85, 0x4020);
    word(identify, 86, 0x3400);
    word(identify, 87, 0x4000);
    word(identify, 88,
         0x3f | (drive->transfer_mode >> 3 == 8 ? (uint16_t)(0x100u << (drive->transfer_mode & 7))
                                                : 0));
    word(identify, 93, 0x6001); /* passed its test; an 80-wire cable */
    bytes_store(identify + 100 * 2, sectors, 8);
}

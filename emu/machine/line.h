/*
 * What a serial port, a virtio port or a printer port is connected to on the host: the terminal, a
 * file, a unix socket's clients, or nothing.
 *
 * All output may also be kept in a log file; without one, a socket's client first gets the last 64
 * KiB of output, where the line is said to replay. Made and freed on the device thread; the rest
 * with the board lock held.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct machine;
struct line;

/* The guest's end. */
struct line_ends {
    const char *name; /* "serial port", for messages; copied */
    /* Takes up to `count` bytes and says how many; NULL: nothing goes to the guest. What it does
     * not take is offered again on line_feed(), or every millisecond where `polls`. */
    size_t (*receive)(void *device, const uint8_t *bytes, size_t count);
    void (*opened)(void *device,
                   bool open);     /* somebody is at the other end, or nobody; may be NULL */
    void (*drained)(void *device); /* line_queued() has become less; may be NULL */
    void *device;
    bool polls, replays;
};

/* `specification` is "stdio", "unix:PATH", "file:PATH" or "none". `log`: NULL for none. */
struct line *line_new(struct machine *machine, const char *specification, const char *log,
                      const struct line_ends *ends, GError **error);
void line_free(struct line *line);
/* Whether a text is such a specification. */
bool line_check(const char *specification);

/* From the guest. What a receiver more than 1 MiB behind does not take is lost. */
void line_send(void *line, const uint8_t *bytes, size_t count);
size_t line_queued(const struct line *line); /* bytes that the slowest receiver has not taken */
void line_feed(struct line *line);           /* the guest has room again */
bool line_is_open(const struct line *line);

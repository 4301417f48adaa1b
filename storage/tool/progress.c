#include "storage/tool/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FIRST_AFTER    0.5 /* seconds of work before anything is shown */
#define TERMINAL_EVERY 0.1
#define LINE_EVERY     1.0
#define DEFAULT_WIDTH  80
#define LEAST_BAR      10
#define MOST_BAR       40

struct progress {
    char *what;
    bool shown, terminal;
    gint64 begun, last; /* g_get_monotonic_time(); 0: nothing shown yet */
    uint64_t done, total;
};

static double seconds_between(gint64 from, gint64 to)
{
    return (double)(to - from) / G_USEC_PER_SEC;
}

static char *short_size(double bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned unit = 0;

    while (bytes >= 1000 && unit + 1 < G_N_ELEMENTS(units)) {
        bytes /= 1024;
        unit++;
    }
    return g_strdup_printf(bytes < 10 && unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
}

static char *time_left(uint64_t done, uint64_t total, double seconds)
{
    double left;

    if (done == 0 || seconds <= 0)
        return g_strdup("-:-- left");
    left = (double)(total - done) * seconds / (double)done;
    if (left >= 360000)
        return g_strdup("days left");
    if (left >= 3600)
        return g_strdup_printf("%d:%02d:%02d left", (int)left / 3600, (int)left / 60 % 60,
                               (int)left % 60);
    return g_strdup_printf("%d:%02d left", (int)left / 60, (int)left % 60);
}

char *progress_line(const char *what, uint64_t done, uint64_t total, double seconds, int width)
{
    g_autofree char *so_far = short_size((double)done), *all = short_size((double)total);
    g_autofree char *rate = short_size(seconds > 0 ? (double)done / seconds : 0);
    g_autofree char *left = time_left(done, total, seconds);
    g_autofree char *figures = NULL;
    int percent = total ? (int)((double)done * 100 / (double)total) : 100;
    char bar[MOST_BAR + 1];
    int room, filled;

    figures = g_strdup_printf("%3d %%  %s of %s  %s/s  %s", percent, so_far, all, rate, left);
    room = width - 1 - (int)strlen(figures) - (int)g_utf8_strlen(what, -1) - 6;
    if (room < LEAST_BAR)
        return g_strdup_printf("%.*s", MAX(width - 1, 0), figures);
    room = MIN(room, MOST_BAR);
    filled = room * percent / 100;
    memset(bar, '.', (size_t)room);
    memset(bar, '#', (size_t)filled);
    bar[room] = 0;
    return g_strdup_printf("%s  [%s]  %s", what, bar, figures);
}

static int terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return DEFAULT_WIDTH;
}

struct progress *progress_begin(const char *what, const struct progress_options *options)
{
    struct progress *progress = g_new0(struct progress, 1);

    progress->what = g_path_get_basename(what);
    progress->terminal = isatty(STDERR_FILENO);
    progress->shown = !options->quiet && (progress->terminal || options->progress);
    progress->begun = g_get_monotonic_time();
    return progress;
}

static void show(struct progress *progress, gint64 now)
{
    g_autofree char *line = progress_line(progress->what, progress->done, progress->total,
                                          seconds_between(progress->begun, now),
                                          progress->terminal ? terminal_width() : DEFAULT_WIDTH);

    /* back to the line's beginning, and clear what a longer one has left */
    fprintf(stderr, progress->terminal ? "\r%s\033[K" : "%s\n", line);
    fflush(stderr);
    progress->last = now;
}

void progress_update(void *opaque, uint64_t done, uint64_t total)
{
    struct progress *progress = opaque;
    gint64 now;

    progress->done = MIN(done, total);
    progress->total = total;
    if (!progress->shown)
        return;
    now = g_get_monotonic_time();
    if (progress->last == 0 ? seconds_between(progress->begun, now) >= FIRST_AFTER
                            : seconds_between(progress->last, now) >=
                                  (progress->terminal ? TERMINAL_EVERY : LINE_EVERY))
        show(progress, now);
}

void progress_end(struct progress *progress)
{
    if (!progress)
        return;
    if (progress->last || (progress->shown && !progress->terminal && progress->total)) {
        show(progress, g_get_monotonic_time());
        if (progress->terminal)
            fputs("\n", stderr);
    }
    g_free(progress->what);
    g_free(progress);
}

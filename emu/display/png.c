#include "emu/display/screen.h"
#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <png.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool screen_write_png(const struct screen *screen, const char *path, GError **error)
{
    png_image image;
    memset(&image, 0, sizeof(image));
    image.version = PNG_IMAGE_VERSION;
    image.width = screen->width;
    image.height = screen->height;
    image.format = PNG_FORMAT_RGB;
    FILE *file = fopen(path, "wbe");
    if (!file) {
        g_set_error(error, G_IO_ERROR, g_io_error_from_errno(errno),
                    "cannot write the picture %s: %s", path, g_strerror(errno));
        return false;
    }
    bool ok = png_image_write_to_stdio(&image, file, 0, screen->rgb, 0, NULL);
    if (fclose(file) != 0)
        ok = false;
    if (!ok)
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "cannot write the picture %s: %s", path,
                    image.message[0] ? image.message : g_strerror(errno));
    return ok;
}

/* Formats a floppy through Linux's driver: fdformat DEVICE. Prints "formatted N tracks". */
#include <fcntl.h>
#include <linux/fd.h>
#include <stdio.h>
#include <sys/ioctl.h>

int main(int argc, char **argv)
{
    struct floppy_struct shape;
    struct format_descr track;
    unsigned count = 0;
    int fd = open(argc > 1 ? argv[1] : "/dev/fd0", O_RDWR);
    if (fd < 0 || ioctl(fd, FDGETPRM, &shape) < 0 || ioctl(fd, FDFMTBEG, NULL) < 0) {
        perror("fdformat");
        return 1;
    }
    for (track.track = 0; track.track < shape.track; track.track++) {
        for (track.head = 0; track.head < shape.head; track.head++, count++) {
            if (ioctl(fd, FDFMTTRK, &track) < 0) {
                perror("fdformat: track");
                return 1;
            }
        }
    }
    ioctl(fd, FDFMTEND, NULL);
    printf("formatted %u tracks\n", count);
    return 0;
}

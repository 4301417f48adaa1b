#!/bin/bash
# Floppies: SeaBIOS boots syslinux and GRUB from them, and Debian's driver reads, writes, formats
# and notices another disk.
. "$(dirname "$0")/emu_lib.sh"
export MTOOLS_SKIP_CHECK=1
need_guest vmlinuz

# ---- booting: each size of disk that has room for it ----
cat >"$tmp/syslinux.cfg" <<'CFG'
SERIAL 0 115200
PROMPT 1
CFG
for kib in 720 1200 1440 2880; do
    disk=$tmp/syslinux-$kib.img
    mkfs.fat -C "$disk" $kib >/dev/null && syslinux --install "$disk" &&
        mcopy -i "$disk" "$tmp/syslinux.cfg" ::/ || fail "cannot make $disk"
    start --memory 32M --floppy "$disk,readonly=on" --boot-order a --serial "file:$tmp/syslinux-$kib.log"
    wait_for "$tmp/syslinux-$kib.log" "boot:"
    end_machine
done
cat >"$tmp/grub.cfg" <<'CFG'
serial --unit=0
terminal_output serial
echo "hello from GRUB, at $root"
CFG
if grub-mkimage -O i386-pc -p / -o "$tmp/core.img" -c "$tmp/grub.cfg" \
    biosdisk serial terminal echo minicmd >/dev/null 2>"$tmp/mkimage"; then
    cat /usr/lib/grub/i386-pc/boot.img "$tmp/core.img" >"$tmp/grub.img"
    truncate -s 1440K "$tmp/grub.img"
    start --memory 32M --floppy "$tmp/grub.img" --boot-order a --serial "file:$tmp/grub.log"
    wait_for "$tmp/grub.log" "hello from GRUB, at fd0"
    end_machine
else
    cat "$tmp/mkimage"; fail "grub-mkimage"
fi

# ---- Debian's driver ----
gcc -static -O1 -o "$tmp/fdformat" tests/guest/fdformat.c || fail "cannot compile fdformat"
{
    echo "base64 -d >/bin/fdformat <<'END'"
    base64 "$tmp/fdformat"
    echo END
    cat <<'SCRIPT'
chmod 755 /bin/fdformat
mknod /dev/fd0u1440 b 2 28
mknod /dev/fd0u720 b 2 16
result() { echo "result $1: $2"; }
read_all() { echo 3 >/proc/sys/vm/drop_caches; md5sum <"$1" | cut -c 1-32; }
result "controller" "$(dmesg | sed -n 's/.*FDC 0 is a[n]* *//p')"
result "drives" "$(dmesg | sed -n 's/.*Floppy drive(s): *//p')"
result "first" "$(read_all /dev/fd0)"
dd if=/dev/urandom of=/pattern bs=1k count=1440 2>/dev/null
result "pattern" "$(md5sum </pattern | cut -c 1-32)"
dd if=/pattern of=/dev/fd0 bs=18k conv=fsync 2>/dev/null
result "written" "$(read_all /dev/fd0)"
result "second" "$(read_all /dev/fd1)"
result "format" "$(fdformat /dev/fd0u1440 2>&1 | tail -n 1)"
result "formatted" "$(read_all /dev/fd0)"
dd if=/pattern of=/dev/fd0 bs=18k count=3 conv=fsync 2>/dev/null
echo "change it"
while [ "$(dd if=/dev/fd0 bs=512 count=1 2>/dev/null | head -c 5)" != other ]; do usleep 100000; done
result "changed" "$(read_all /dev/fd0u720)"
result "protected" "$(dd if=/pattern of=/dev/fd0 bs=512 count=1 conv=fsync 2>&1 | grep -c 'Read-only\|not permitted')"
mke2fs /dev/fd1 >/dev/null 2>&1
mount -t ext4 /dev/fd1 /mnt && cp /script /mnt && umount /mnt
result "files" "$(mount -t ext4 /dev/fd1 /mnt && cmp /script /mnt/script && echo same; umount /mnt)"
result "timeouts" "$(dmesg | grep -c 'floppy timeout\|floppy0: .*error\|unexpected interrupt')"
SCRIPT
} >"$tmp/script"
initrd "$tmp/script" floppy ext4 crc32c_generic
head -c 1474560 /dev/urandom >"$tmp/a.img"
head -c 2949120 /dev/urandom >"$tmp/b.img"
{ echo other; head -c 737274 /dev/urandom; } >"$tmp/c.img"
chmod a-w "$tmp/c.img"
first=$(md5sum <"$tmp/a.img" | cut -c 1-32) second=$(md5sum <"$tmp/b.img" | cut -c 1-32)
start --memory 128M --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
    --append "console=ttyS0 panic=-1" --no-reboot --serial "file:$log" \
    --control "ipc://$tmp/control" --allow "$tmp" --floppy "$tmp/a.img" --floppy "$tmp/b.img"
wait_for "$log" "change it"
ctl change-floppy 0 "$tmp/initrd.gz" 2>"$tmp/refused" && fail "a file that is no floppy goes into the drive"
ctl change-floppy 0 none || fail "change-floppy none"
ctl change-floppy 0 "$tmp/c.img" || fail "change-floppy"
wait_end
check controller "S82078B"
check drives "fd0 is 1.44M, fd1 is 2.88M AMI BIOS"
check first "$first"
check second "$second"
check written "$(value pattern)"
check changed "$(md5sum <"$tmp/c.img" | cut -c 1-32)"
check format "formatted 160 tracks"
check formatted "$(head -c 1474560 /dev/zero | tr '\0' '\366' | md5sum | cut -c 1-32)"
check protected 1
check files same
check timeouts 0
end_test "syslinux from four sizes, GRUB, and Debian's driver" "$log"

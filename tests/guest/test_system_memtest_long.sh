#!/bin/bash
# memtest86+ goes once through all its tests of a small memory, with two CPUs, and finds no error; it is
# saved and restored on the way.
. "$(dirname "$0")/system_lib.sh"
tree=$(system_package memtest86+) || skip "the package memtest86+ cannot be had"
mkdir -p "$tmp/cd/isolinux"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$tmp/cd/isolinux/"
cp "$tree/boot/memtest86+x64.bin" "$tmp/cd/memtest"
printf 'DEFAULT m\nPROMPT 0\nLABEL m\n LINUX /memtest\n APPEND nobigstatus\n' >"$tmp/cd/isolinux/isolinux.cfg"
xorriso -as mkisofs -quiet -R -o "$tmp/memtest.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$tmp/cd" 2>"$tmp/xorriso" || { cat "$tmp/xorriso"; exit 1; }
system_start memtest --memory 32M --cpus 2 --cdrom "$tmp/memtest.iso"
on_screen "Memtest86\+ v" && on_screen "Test #[2-9]" && system_save_restore
on_screen "Pass: +[1-9]"
grep -qE "Errors: 0( |$)" "$tmp/screen" || fail "it found errors"
grep -qE "Drover" "$tmp/screen" || fail "it does not know the machine's name"
cat "$tmp/screen"
ctl quit
system_kill
end_test "memtest86+: a pass without errors"

#!/bin/bash
# A Multiboot kernel gets the picture that it asks for, as GRUB on QEMU gives it with the same card's
# BIOS; GRUB on our machine, too.
. "$(dirname "$0")/emu_lib.sh"

# one KIND WIDTH HEIGHT DEPTH [LINES]: of the kernel's lines, those that must be as on QEMU
one() {
    local kernel=$tmp/$1-$2-$3-$4 by
    nasm -I tests/guest/ -f bin -DKIND=$1 -DWIDTH=$2 -DHEIGHT=$3 -DDEPTH=$4 -o "$kernel" tests/guest/multiboot_video.asm || exit 1
    mkdir -p "$kernel.cd/boot/grub"
    cp "$kernel" "$kernel.cd/kernel"
    printf 'insmod all_video\nset gfxpayload=auto\nmultiboot /kernel\nboot\n' >"$kernel.cd/boot/grub/grub.cfg"
    grub-mkrescue -o "$kernel.iso" "$kernel.cd" >"$kernel.mkrescue" 2>&1 || { cat "$kernel.mkrescue"; exit 1; }
    timeout 300 qemu-system-x86_64 -accel tcg -m 64 -nodefaults -vga std -display none -cdrom "$kernel.iso" -boot d \
        -debugcon "file:$kernel.qemu" -device isa-debug-exit,iobase=0xf4 2>"$kernel.err"
    timeout 300 "$emu" --memory 64M --cdrom "$kernel.iso" --boot-order d --debugcon "file:$kernel.grub" --debug-exit
    [ $? -eq 33 ] || fail "GRUB with $*"
    timeout 300 "$emu" --memory 64M --kernel "$kernel" --debugcon "file:$kernel.rom" --debug-exit
    [ $? -eq 33 ] || fail "the kernel with $*"
    for by in qemu grub rom; do
        sed -n '/^flags/,$p' "$kernel.$by" | grep -E "^(${5-flags|picture|memory}) " >"$kernel.$by.text"
    done
    grep -q "^memory" "$kernel.qemu.text" || fail "$*: QEMU says nothing"
    for by in grub rom; do
        diff "$kernel.qemu.text" "$kernel.$by.text" || fail "$*: QEMU (<) and ours by $by (>)"
    done
}
one 0 800 600 32
one 0 1024 768 16
one 0 640 480 24
one 1 80 25 0
one 0 1280 1024 0 "flags|memory"  # of any depth
one 0 801 601 32 "flags|memory" # no such mode: a picture all the same
# What no loader can do.
nasm -I tests/guest/ -f bin -DKIND=0 -DWIDTH=0 -DHEIGHT=0 -DDEPTH=0 -o "$tmp/kernel" tests/guest/multiboot_video.asm || exit 1
printf '\017\000\001\000\357\117\121\344' | dd of="$tmp/kernel" bs=1 seek=4 conv=notrunc status=none
timeout 300 "$emu" --memory 64M --kernel "$tmp/kernel" 2>"$tmp/err"
[ $? -eq 1 ] || fail "a kernel that asks for what there is not is started"
grep -q "flags are 0x1000f" "$tmp/err" || fail "says \"$(cat "$tmp/err")\""
end_test "pictures for Multiboot kernels as GRUB on QEMU makes them"

#!/bin/sh
# Is what tests/guest/cpu_*.asm are expected to print what QEMU prints, too?
# Lines whose names end in ~ are of checks that QEMU's translator leaves out.
set -eu
command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is not installed"; exit 77; }
command -v nasm >/dev/null || { echo "nasm is not installed"; exit 77; }
tmp=${TEST_TMP:-$(mktemp -d)}
ulimit -f 2000
for name in cpu_system cpu_legacy cpu_pages cpu_vector; do
    nasm -w-all -I tests/guest/ -f bin -o "$tmp/rom.bin" "tests/guest/$name.asm"
    status=0
    timeout -s KILL 60 qemu-system-x86_64 -accel tcg -cpu max -display none -nodefaults -no-reboot \
        -bios "$tmp/rom.bin" -debugcon "file:$tmp/out" -device isa-debug-exit,iobase=0xf4 || status=$?
    [ "$status" -eq 33 ] || { echo "$name: QEMU ended with status $status"; tail -n 3 "$tmp/out"; exit 1; }
    grep -v ' ~: ' "$tmp/out" >"$tmp/qemu"
    grep -v ' ~: ' "tests/guest/$name.expected" >"$tmp/expected"
    diff "$tmp/expected" "$tmp/qemu"
done

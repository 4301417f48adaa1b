#!/bin/sh
# Does QEMU print what tests/unit/emu/test_machine_engines.c expects of tests/guest/board.asm, but for
# what comes after being saved?
set -eu
command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is not installed"; exit 77; }
command -v nasm >/dev/null || { echo "nasm is not installed"; exit 77; }
tmp=${TEST_TMP:-$(mktemp -d)}
ulimit -f 2000
nasm -w-all -DNO_SAVE -f bin -o "$tmp/rom.bin" tests/guest/board.asm
status=0
timeout -s KILL 60 qemu-system-x86_64 -M pc -accel tcg -cpu max -display none -nodefaults -no-reboot \
    -bios "$tmp/rom.bin" -debugcon "file:$tmp/qemu" -device isa-debug-exit,iobase=0xf4 || status=$?
[ "$status" -eq 1 ] || { echo "QEMU ended with status $status"; tail -n 3 "$tmp/qemu"; exit 1; }
sed -n '/^static const char before/,/saved: /s/.*"\([^"]*\)\\n".*/\1/p' \
    tests/unit/emu/test_machine_engines.c >"$tmp/expected"
[ "$(wc -l <"$tmp/expected")" -eq 10 ] || { echo "the expected lines are not found"; exit 1; }
diff "$tmp/expected" "$tmp/qemu"

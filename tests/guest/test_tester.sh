#!/bin/sh
# Does drover-emu, with each engine, print what QEMU prints of tests/guest/tester.asm?
set -eu
for command in qemu-system-x86_64 nasm; do
    command -v $command >/dev/null || { echo "$command is not installed"; exit 77; }
done
tmp=${TEST_TMP:-$(mktemp -d)}
nasm -w-all -I tests/guest/ -f bin -o "$tmp/rom.bin" tests/guest/tester.asm
ended() { [ "$2" -eq 1 ] || { echo "$1 ended with status $2"; tail -n 3 "$tmp/qemu"; exit 1; }; }
status=0
timeout -s KILL 60 qemu-system-x86_64 -M pc -accel tcg -cpu max -display none -nodefaults -no-reboot -bios "$tmp/rom.bin" \
    -debugcon "file:$tmp/qemu" -device isa-debug-exit,iobase=0xf4 -device pc-testdev || status=$?
ended QEMU $status
[ "$(wc -l <"$tmp/qemu")" -eq 5 ] || { cat "$tmp/qemu"; echo "QEMU prints something else"; exit 1; }
for engine in interp jit; do
    status=0
    timeout -s KILL 60 "$BUILD/drover-emu" --engine $engine --memory 16M --firmware "$tmp/rom.bin" --debugcon "file:$tmp/$engine" \
        --device testdev --debug-exit --no-reboot || status=$?
    ended "drover-emu with $engine" $status
    diff "$tmp/qemu" "$tmp/$engine"
done

#!/bin/sh
# Does tests/guest/cpu_smm.asm, run as firmware, print on each engine what it prints on QEMU?
set -eu
command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is not installed"; exit 77; }
command -v nasm >/dev/null || { echo "nasm is not installed"; exit 77; }
tmp=${TEST_TMP:-$(mktemp -d)}
nasm -w-all -I tests/guest/ -f bin -o "$tmp/rom.bin" tests/guest/cpu_smm.asm
# ended OUTPUT COMMAND...: both end with the status that a byte of 0x10 at port 0xf4 gives.
ended() {
    out=$1 status=0
    shift
    timeout -s KILL 60 "$@" || status=$?
    [ "$status" -eq 33 ] || { echo "$1 ended with status $status"; tail -n 3 "$out"; exit 1; }
}
ended "$tmp/qemu" qemu-system-x86_64 -M pc,smm=on -accel tcg -cpu max -display none -nodefaults -vga std \
    -no-reboot -bios "$tmp/rom.bin" -debugcon "file:$tmp/qemu" -device isa-debug-exit,iobase=0xf4
for engine in interp jit; do
    ended "$tmp/$engine" "$BUILD/drover-emu" --engine $engine --memory 64M --firmware "$tmp/rom.bin" \
        --debugcon "file:$tmp/$engine" --debug-exit --no-reboot
    diff "$tmp/qemu" "$tmp/$engine"
done

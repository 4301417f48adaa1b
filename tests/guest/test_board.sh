#!/bin/sh
# Does QEMU print what tests/unit/emu/test_machine_engines.c expects of tests/guest/board.asm and
# chips.asm, but for being saved and, of board.asm, what comes after?
set -eu
command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is not installed"; exit 77; }
command -v nasm >/dev/null || { echo "nasm is not installed"; exit 77; }
tmp=${TEST_TMP:-$(mktemp -d)}
ulimit -f 2000
# run NAME: prints to the file qemu.
run() {
    name=$1 status=0
    shift
    nasm -w-all -I tests/guest/ -DNO_SAVE -f bin -o "$tmp/rom.bin" "tests/guest/$name.asm"
    timeout -s KILL 60 qemu-system-x86_64 -M pc -accel tcg -cpu max -display none -nodefaults -no-reboot \
        -bios "$tmp/rom.bin" -debugcon "file:$tmp/qemu" -device isa-debug-exit,iobase=0xf4 "$@" || status=$?
    [ "$status" -eq 1 ] || { echo "$name: QEMU ended with status $status"; tail -n 3 "$tmp/qemu"; exit 1; }
}
# expect FROM TO LINES: of the test's strings.
expect() {
    sed -n "/^static const char $1\\[\\]/,/$2/p" tests/unit/emu/test_machine_engines.c |
        sed -n 's/.*"\([^"]*\)".*/\1/p' | tr -d '\n' | sed 's/\\n/\n/g' >"$tmp/expected"
    [ "$(wc -l <"$tmp/expected")" -eq "$3" ] || { echo "the expected lines are not found"; exit 1; }
}
run board
expect board_before '"saved: "' 11
sed -i '$d' "$tmp/expected"
diff "$tmp/expected" "$tmp/qemu"
run chips -smp 2 -device virtio-rng-pci -device pc-testdev
expect chips_before ';$' 6
cat "$tmp/expected" >"$tmp/both"
expect chips_after ';$' 2
cat "$tmp/expected" >>"$tmp/both"
diff "$tmp/both" "$tmp/qemu"

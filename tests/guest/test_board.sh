#!/bin/bash
# Does QEMU print what tests/unit/emu/test_machine_engines.c expects of tests/guest/board.asm and
# chips.asm, but for being saved and, of board.asm, what comes after?
. "$(dirname "$0")/rom_lib.sh"
# expect NAME TO LINES: more lines that are expected, of the test's strings.
expect() {
    sed -n "/^static const char $1\\[\\]/,/$2/p" tests/unit/emu/test_machine_engines.c |
        sed -n 's/.*"\([^"]*\)".*/\1/p' | tr -d '\n' | sed 's/\\n/\n/g' >"$tmp/lines"
    [ "$(wc -l <"$tmp/lines")" -eq "$3" ] || fail "the expected lines of $1 are not found"
    cat "$tmp/lines" >>"$tmp/expected"
}
: >"$tmp/expected"
rom board -DNO_SAVE
rom_on_qemu 1 "$tmp/qemu" -M pc
expect board_before '"saved: "' 11
sed -i '$d' "$tmp/expected"
same QEMU "$tmp/expected" "$tmp/qemu"
: >"$tmp/expected"
rom chips -DNO_SAVE
rom_on_qemu 1 "$tmp/qemu" -M pc -smp 2 -device virtio-rng-pci -device pc-testdev
expect chips_before ';$' 6
expect chips_after ';$' 2
same QEMU "$tmp/expected" "$tmp/qemu"
end_test "QEMU prints what the engines' test expects"

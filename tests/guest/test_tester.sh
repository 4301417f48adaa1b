#!/bin/bash
# Does drover-emu, with each engine, print what QEMU prints of tests/guest/tester.asm?
. "$(dirname "$0")/rom_lib.sh"
rom tester
rom_on_qemu 1 "$tmp/qemu" -M pc -device pc-testdev
[ "$(wc -l <"$tmp/qemu")" -eq 5 ] || { cat "$tmp/qemu"; fail "QEMU prints something else"; }
for engine in interp jit; do
    rom_on_emu 1 "$tmp/$engine" --engine $engine --memory 16M --device testdev
    same $engine "$tmp/qemu" "$tmp/$engine"
done
end_test "the testers' devices are as in QEMU"

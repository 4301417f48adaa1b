#!/bin/bash
# Is what tests/guest/cpu_*.asm are expected to print what QEMU prints, too?
. "$(dirname "$0")/rom_lib.sh"
for name in cpu_system cpu_legacy cpu_pages cpu_vector; do
    rom $name
    rom_on_qemu 33 "$tmp/qemu"
    same QEMU "tests/guest/$name.expected" "$tmp/qemu"
done
end_test "QEMU prints what is expected"

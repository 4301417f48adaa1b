#!/bin/bash
# Do cpu_smm.asm and cpu_events.asm of tests/guest, run as firmware, print on each engine what they
# print on QEMU?
. "$(dirname "$0")/rom_lib.sh"
for name in cpu_smm cpu_events; do
    rom $name
    rom_on_qemu 33 "$tmp/qemu" -M pc,smm=on -vga std
    for engine in interp jit; do
        rom_on_emu 33 "$tmp/$engine" --engine $engine --memory 64M
        same $engine "$tmp/qemu" "$tmp/$engine"
    done
    [ $name = cpu_smm ] || continue
    grep -v '^from level 3' "$tmp/qemu" >"$tmp/expected"
    for chips in on off; do
        status=0
        timeout -s KILL 600 "$emu" --engine kvm --kernel-irqchip $chips --cpu-model x86-64-v1 --memory 64M \
            --firmware "$tmp/rom.bin" --debugcon "file:$tmp/kvm.all" --debug-exit --no-reboot 2>"$tmp/why" || status=$?
        if [ $status -eq 1 ] && grep -i kvm "$tmp/why"; then
            echo "so KVM is left out"
            continue
        fi
        [ $status -eq 33 ] || { fail "kvm ended with status $status"; cat "$tmp/why"; }
        grep -v '^from level 3' "$tmp/kvm.all" >"$tmp/kvm"
        same kvm "$tmp/expected" "$tmp/kvm"
    done
done
grep -q 'level 3 ~: #0*30 .* 0*8 0*0 ok' "$tmp/jit" || fail "virtual interrupts at level 3 are wrong"
end_test "each engine prints what QEMU prints"

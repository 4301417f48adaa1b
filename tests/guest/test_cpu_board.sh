#!/bin/sh
# Do cpu_smm.asm and cpu_events.asm of tests/guest, run as firmware, print on each engine what they
# print on QEMU? What stands behind a name that ends in ~ QEMU's translator does not do.
set -eu
command -v qemu-system-x86_64 >/dev/null || { echo "qemu-system-x86_64 is not installed"; exit 77; }
command -v nasm >/dev/null || { echo "nasm is not installed"; exit 77; }
tmp=${TEST_TMP:-$(mktemp -d)}
# ended OUTPUT COMMAND...: both end with the status that a byte of 0x10 at port 0xf4 gives.
ended() {
    out=$1 status=0
    shift
    timeout -s KILL 60 "$@" || status=$?
    [ "$status" -eq 33 ] || { echo "$1 ended with status $status"; tail -n 3 "$out"; exit 1; }
}
for name in cpu_smm cpu_events; do
    rm -f "$tmp/qemu" "$tmp/interp" "$tmp/jit"
    nasm -w-all -I tests/guest/ -f bin -o "$tmp/rom.bin" "tests/guest/$name.asm"
    ended "$tmp/qemu" qemu-system-x86_64 -M pc,smm=on -accel tcg -cpu max -display none -nodefaults \
        -vga std -no-reboot -bios "$tmp/rom.bin" -debugcon "file:$tmp/qemu" \
        -device isa-debug-exit,iobase=0xf4
    grep -v '~: ' "$tmp/qemu" >"$tmp/expected"
    for engine in interp jit; do
        ended "$tmp/$engine" "$BUILD/drover-emu" --engine $engine --memory 64M --firmware "$tmp/rom.bin" \
            --debugcon "file:$tmp/$engine" --debug-exit --no-reboot
        grep -v '~: ' "$tmp/$engine" | diff "$tmp/expected" -
    done
    [ $name = cpu_smm ] || continue
    grep -v '^from level 3' "$tmp/expected" >"$tmp/expected.kvm"
    for chips in on off; do
        rm -f "$tmp/kvm"
        status=0
        timeout -s KILL 60 "$BUILD/drover-emu" --engine kvm --kernel-irqchip $chips --cpu-model x86-64-v1 \
            --memory 64M --firmware "$tmp/rom.bin" --debugcon "file:$tmp/kvm" --debug-exit --no-reboot \
            2>"$tmp/why" || status=$?
        if [ $status -eq 1 ] && grep -i kvm "$tmp/why"; then
            echo "so KVM is left out"
            continue
        fi
        [ $status -eq 33 ] || { echo "kvm ended with status $status"; cat "$tmp/why"; exit 1; }
        grep -v '~: \|^from level 3' "$tmp/kvm" | diff "$tmp/expected.kvm" -
    done
done
grep -q 'level 3 ~: #0*30 .* 0*8 0*0 ok' "$tmp/jit" || { echo "virtual interrupts at level 3 are wrong"; exit 1; }

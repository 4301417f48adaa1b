#!/bin/bash
# Debian's kernel boots with translator and interpreter side by side, through firmware and a disk, to
# its login and to power-off; the first difference would end it with status 4.
. "$(dirname "$0")/emu_lib.sh"
PATIENCE=4000
need_guest hello.vhd
cp "$guest/hello.vhd" "$tmp/hello.vhd"
start --engine lockstep --jit-stats --memory 256M --disk "file=$tmp/hello.vhd,bus=ide" --net user \
    --serial "file:$tmp/serial" --control "ipc://$tmp/control" --no-reboot 2>"$tmp/stderr"
wait_for "$tmp/serial" "hello from drover: boot 1"
for _ in $(seq 60); do # the power button, again while nobody in the guest listens yet
    ctl powerdown 2>/dev/null
    for _ in $(seq 100); do gone && break 2; sleep 0.1; done
done
end_machine
tail -n 40 "$tmp/stderr"
[ $status -eq 0 ] || fail "status $status"
says "$tmp/serial" "reboot: Power down" || fail "it did not power off"
instructions=$(sed -n 's/^lockstep: .* compared, \([0-9]*\) instructions.*/\1/p' "$tmp/stderr")
[ "${instructions:-0}" -gt 100000000 ] || fail "next to nothing was compared"
end_test "compared to the end"

#!/bin/bash
# Debian's kernel boots with translator and interpreter side by side, through firmware and a disk, to
# its login and to power-off; the first difference would end it with status 4.
set -u
cd "$(dirname "$0")/../.."
emu=$BUILD/drover-emu
guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/hello.vhd" ] || { echo "skipped: $guest/hello.vhd is not there (make guest)"; exit 77; }
cp "$guest/hello.vhd" "$tmp/hello.vhd"
"$emu" --engine lockstep --jit-stats --memory 256M --disk "file=$tmp/hello.vhd,bus=ide" --net user \
    --serial "file:$tmp/serial" --control "ipc://$tmp/control" --no-reboot 2>"$tmp/stderr" &
pid=$!
trap 'kill -KILL $pid 2>/dev/null' EXIT
for _ in $(seq 36000); do # only a hang takes an hour
    grep -aq "hello from drover: boot 1" "$tmp/serial" 2>/dev/null && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
for _ in $(seq 60); do # the power button, again while nobody in the guest listens yet
    "$emu" ctl "$tmp/control" powerdown 2>/dev/null
    for _ in $(seq 100); do kill -0 $pid 2>/dev/null || break 2; sleep 0.1; done
done
kill -KILL $pid 2>/dev/null
wait $pid
status=$?
trap - EXIT
tail -n 40 "$tmp/stderr"
[ $status -eq 0 ] || { echo "FAIL: status $status"; exit 1; }
grep -aq "hello from drover: boot 1" "$tmp/serial" || { echo "FAIL: it did not come up"; exit 1; }
grep -aq "reboot: Power down" "$tmp/serial" || { echo "FAIL: it did not power off"; exit 1; }
instructions=$(sed -n 's/^lockstep: .* compared, \([0-9]*\) instructions.*/\1/p' "$tmp/stderr")
[ "${instructions:-0}" -gt 100000000 ] || { echo "FAIL: next to nothing was compared"; exit 1; }

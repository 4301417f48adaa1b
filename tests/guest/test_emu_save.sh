#!/bin/bash
# A Linux with two CPUs, a busy virtio disk and a network card is saved while it runs, and goes on in
# another process as if nothing had happened; so it does with another engine: it begins translated,
# goes on interpreted, and ends translated.
set -u
cd "$(dirname "$0")/../.."
emu=$BUILD/drover-emu
guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/vmlinuz" ] || { echo "skipped: $guest/vmlinuz is not there (make guest)"; exit 77; }
failed=0
fail() { echo "FAIL: $*"; failed=1; }
pid=
trap '[ -z "$pid" ] || kill -KILL $pid 2>/dev/null' EXIT
ctl() { timeout 60 "$emu" ctl "$tmp/control" "$@"; }
# wait_for LOG TEXT: only a hang takes five minutes.
wait_for() {
    for _ in $(seq 3000); do
        grep -aq -- "$2" "$1" 2>/dev/null && return
        kill -0 $pid 2>/dev/null || return
        sleep 0.1
    done
}
# save LOG FILE: and end the machine, which must not be at its end.
save() {
    ctl save "$2" || fail "save"
    [ "$(ctl status -o json | jq -r .state)" = paused ] || fail "a saved machine is not left paused"
    ctl quit || fail "quit"
    wait $pid
    grep -aq "tick 30" "$1" && fail "the guest was at its end before it was saved"
}
tests/guest/initrd.sh "$tmp/initrd.gz" tests/guest/saved-guest.sh virtio_pci virtio_net virtio_blk ext4 \
    crc32c_generic || exit 1
truncate -s 16M "$tmp/disk.img"
options=(--memory 256M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz"
    --append "console=ttyS0 panic=-1" --no-reboot --control "ipc://$tmp/control" --allow "$tmp" --net user
    --disk "file=$tmp/disk.img,bus=virtio,format=raw")

"$emu" "${options[@]}" --engine jit --serial "file:$tmp/before" &
pid=$!
wait_for "$tmp/before" "tick 5"
save "$tmp/before" "$tmp/saved"
size=$(stat -c %s "$tmp/saved")
[ "$size" -lt 150000000 ] || fail "a machine with 256 MiB, mostly unused, takes $size bytes"

# Refusals: each says what is wrong.
refuse() {
    local expected=$1
    shift
    timeout -s KILL 60 "$emu" "$@" >"$tmp/refusal" 2>&1
    [ $? -eq 1 ] || fail "$expected: the status is not 1"
    grep -q -- "$expected" "$tmp/refusal" || fail "says \"$(cat "$tmp/refusal")\" and not \"$expected\""
}
head -c 100000 "$tmp/saved" >"$tmp/short"
refuse "cut short" "${options[@]}" --restore "$tmp/short"
refuse "start it with the same options" "${options[@]}" --device rng --restore "$tmp/saved"
refuse "No such file" "${options[@]}" --restore "$tmp/none"

sleep 3 # longer than the guest's clock may be wrong at the end
"$emu" "${options[@]}" --engine interp --serial "file:$tmp/between" --restore "$tmp/saved" &
pid=$!
wait_for "$tmp/between" "tick 15"
save "$tmp/between" "$tmp/saved-again"
grep -aq "tick 15" "$tmp/between" || fail "what was saved translated does not go on interpreted"
grep -aq "tick 3\b" "$tmp/between" && fail "the guest began anew"

"$emu" "${options[@]}" --engine jit --serial "file:$tmp/after" --restore "$tmp/saved-again" &
pid=$!
wait_for "$tmp/after" "^result clock"
now=$(date +%s)
for _ in $(seq 600); do
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
kill -0 $pid 2>/dev/null && fail "the guest does not end"
wait $pid || fail "the status after the restore is not 0"
pid=
value() { tr -d '\r' <"$tmp/after" | sed -n "s/^result $1: //p"; }
grep -aq "tick 30" "$tmp/after" || fail "the guest did not go on to its end"
grep -aq "tick 13\b" "$tmp/after" && fail "the guest began anew"
[ "$(value end)" = yes ] || fail "the guest's end is missing"
[ "$(value ping)" = yes ] || fail "the network is gone"
for i in 0 1 2 3; do [ -z "$(value "file $i")" ] || fail "file $i differs"; done
[ -z "$(value kernel)" ] || fail "the kernel complains"
behind=$((now - $(value clock)))
[ "${behind#-}" -le 2 ] || fail "the guest's real-time clock is $behind s behind"
e2fsck -fn "$tmp/disk.img" >"$tmp/e2fsck" 2>&1 || { cat "$tmp/e2fsck"; fail "e2fsck"; }
[ $failed -eq 0 ] && echo "saved at $size bytes and restored, nothing lost" || tail -n 40 "$tmp/between" "$tmp/after"
exit $failed

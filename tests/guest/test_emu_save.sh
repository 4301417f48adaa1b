#!/bin/bash
# A Linux with two CPUs, a busy virtio disk and a network card is saved while it runs, and goes on in
# another process as if nothing had happened; so it does with another engine: it begins translated,
# goes on interpreted, and ends translated.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
# save FILE: and end the machine.
save() {
    ctl save "$1" || fail "save"
    [ "$(ctl status -o json | jq -r .state)" = paused ] || fail "a saved machine is not left paused"
    ctl quit || fail "quit"
    wait_end
}
initrd tests/guest/saved-guest.sh virtio_pci virtio_net virtio_blk ext4 crc32c_generic
truncate -s 16M "$tmp/disk.img"
open_line
options=(--memory 256M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz"
    --append "console=ttyS0 panic=-1" --no-reboot --control "ipc://$tmp/control" --allow "$tmp" --net user
    --disk "file=$tmp/disk.img,bus=virtio,format=raw")

start "${options[@]}" --engine jit --serial stdio <&8 >"$tmp/before"
wait_for "$tmp/before" "tick 5"
save "$tmp/saved"
size=$(stat -c %s "$tmp/saved")
[ "$size" -lt 150000000 ] || fail "a machine with 256 MiB, mostly unused, takes $size bytes"

# Refusals: each says what is wrong.
refuse() {
    local expected=$1
    shift
    timeout -s KILL 300 "$emu" "$@" >"$tmp/refusal" 2>&1
    [ $? -eq 1 ] || fail "$expected: the status is not 1"
    grep -q -- "$expected" "$tmp/refusal" || fail "says \"$(cat "$tmp/refusal")\" and not \"$expected\""
}
head -c 100000 "$tmp/saved" >"$tmp/short"
refuse "cut short" "${options[@]}" --restore "$tmp/short"
refuse "start it with the same options" "${options[@]}" --device rng --restore "$tmp/saved"
refuse "No such file" "${options[@]}" --restore "$tmp/none"

sleep 3 # longer than the guest's clock may be wrong at the end
start "${options[@]}" --engine interp --serial stdio --restore "$tmp/saved" <&8 >"$tmp/between"
wait_for "$tmp/between" "tick 15"
save "$tmp/saved-again"
grep -aq "tick 15" "$tmp/between" || fail "what was saved translated does not go on interpreted"
grep -aq "tick 3\b" "$tmp/between" && fail "the guest began anew"

start "${options[@]}" --engine jit --serial stdio --restore "$tmp/saved-again" <&8 >"$tmp/after"
wait_for "$tmp/after" "tick 25"
tell on
wait_for "$tmp/after" "^result clock"
now=$(date +%s)
wait_end
log=$tmp/after
grep -aq "tick 13\b" "$tmp/after" && fail "the guest began anew"
[ "$(value end)" = yes ] || fail "the guest's end is missing"
[ "$(value ping)" = yes ] || fail "the network is gone"
for i in 0 1 2 3; do [ -z "$(value "file $i")" ] || fail "file $i differs"; done
[ -z "$(value kernel)" ] || fail "the kernel complains"
behind=$((now - $(value clock)))
[ "${behind#-}" -le 2 ] || fail "the guest's real-time clock is $behind s behind"
e2fsck -fn "$tmp/disk.img" >"$tmp/e2fsck" 2>&1 || { cat "$tmp/e2fsck"; fail "e2fsck"; }
end_test "saved at $size bytes and restored, nothing lost" "$tmp/between" "$tmp/after"

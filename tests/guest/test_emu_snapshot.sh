#!/bin/bash
# A snapshot of a running machine with its disks: the machine goes on as if nothing had been, and
# another goes on from that moment, each on disks that hold what it wrote itself.
set -u
cd "$(dirname "$0")/../.."
emu=$BUILD/drover-emu
vhd=$BUILD/drover-vhd
guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/vmlinuz" ] || { echo "skipped: $guest/vmlinuz is not there (make guest)"; exit 77; }
failed=0
fail() { echo "FAIL: $*"; failed=1; }
cat >"$tmp/script" <<'SCRIPT'
# Blocks with their number in them, to both disks; what is in memory says how many there must be.
n=0
id=$(cat /proc/sys/kernel/random/uuid)
while [ $n -lt 60 ]; do
    for disk in vda sda; do
        printf '%s block %04d of %s\n' "$id" $n $disk | dd of=/dev/$disk bs=4096 seek=$n conv=sync,fsync 2>/dev/null
    done
    n=$((n + 1))
    echo "step $n"
    usleep 100000
done
echo 3 >/proc/sys/vm/drop_caches
bad=0
for disk in vda sda; do
    for i in $(seq 0 59); do
        [ "$(dd if=/dev/$disk bs=4096 skip=$i count=1 2>/dev/null | head -n 1)" = "$(printf '%s block %04d of %s' "$id" $i $disk)" ] || bad=$((bad + 1))
    done
done
echo "result bad: $bad"
SCRIPT
tests/guest/initrd.sh "$tmp/initrd.gz" "$tmp/script" virtio_pci virtio_blk ata_piix sd_mod || exit 1
"$vhd" create "$tmp/a.vhd" --size 16M >/dev/null && "$vhd" create "$tmp/b.vhd" --size 16M --type fixed >/dev/null || exit 1
boot=(--memory 96M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0 panic=-1" --no-reboot)
"$emu" "${boot[@]}" --serial "file:$tmp/first.log" --control "ipc://$tmp/control" --allow "$tmp" \
    --disk "file=$tmp/a.vhd,bus=virtio" --disk "file=$tmp/b.vhd,bus=ide" &
pid=$!
trap 'kill -KILL $pid 2>/dev/null' EXIT
wait_end() { # only a hang takes five minutes
    for _ in $(seq 3000); do
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL $pid 2>/dev/null && fail "the guest does not end"
    wait $pid || fail "the emulator's status is not 0"
}
for _ in $(seq 3000); do
    grep -aqs "step 7" "$tmp/first.log" && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
timeout 100 "$emu" ctl "$tmp/control" snapshot "$tmp/moment" || fail "snapshot"
timeout 20 "$emu" ctl "$tmp/control" snapshot "$tmp/moment" 2>/dev/null && fail "a second snapshot of the same name"
timeout 20 "$emu" ctl "$tmp/control" status | grep -q "state *running" || fail "the machine does not run on"
wait_end
grep -aq "result bad: 0" "$tmp/first.log" || fail "the machine that went on has lost what it wrote"
grep -aq "^step 60" <(tr -d '\r' <"$tmp/first.log") || fail "the machine that went on does not come to its end"
for disk in a b; do
    "$vhd" check "$tmp/$disk.vhd" >/dev/null || fail "$disk.vhd is damaged"
    "$vhd" info "$tmp/$disk.vhd" | grep -q "$disk.vhd.moment" || fail "$disk.vhd is no child of its snapshot"
done
# Back to that moment, on undo disks of what was kept.
before=$(md5sum "$tmp/a.vhd.moment" "$tmp/b.vhd.moment")
"$emu" "${boot[@]}" --serial "file:$tmp/second.log" --restore "$tmp/moment" --disk "file=$tmp/a.vhd.moment,bus=virtio,undo=keep" \
    --disk "file=$tmp/b.vhd.moment,bus=ide,undo=keep" &
pid=$!
wait_end
grep -aq "result bad: 0" "$tmp/second.log" || fail "the machine that went back finds other disks than it left"
grep -aq "step 1$" <(tr -d '\r' <"$tmp/second.log") && fail "the machine that went back has begun anew"
[ "$(md5sum "$tmp/a.vhd.moment" "$tmp/b.vhd.moment")" = "$before" ] || fail "what was kept has changed"
# And the first machine's disks, which now have parents.
"$emu" --disk "file=$tmp/a.vhd,bus=virtio" 2>/dev/null
[ $? -eq 1 ] || fail "a disk with a parent opens without chain=on"
# What cannot be kept.
truncate -s 8M "$tmp/raw.img"
"$emu" --memory 32M --disk "file=$tmp/raw.img,format=raw" --disk "file=$tmp/a.vhd,bus=virtio,chain=on" --control "ipc://$tmp/third" --allow "$tmp" &
pid=$!
for _ in $(seq 100); do timeout 20 "$emu" ctl "$tmp/third" status >/dev/null 2>&1 && break; sleep 0.1; done
timeout 20 "$emu" ctl "$tmp/third" snapshot "$tmp/other" 2>"$tmp/err" && fail "a raw disk has a snapshot"
grep -q "drover-vhd convert" "$tmp/err" || fail "no word of what to do: $(cat "$tmp/err")"
[ -e "$tmp/other" ] && fail "a snapshot that failed leaves its file"
timeout 20 "$emu" ctl "$tmp/third" quit
wait_end
[ $failed -eq 0 ] && echo "a machine goes on after a snapshot, and another from it" || tail -n 20 "$tmp"/*.log
exit $failed

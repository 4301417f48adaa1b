#!/bin/bash
# A snapshot of a running machine with its disks: the machine goes on as if nothing had been, and
# another goes on from that moment, each on disks that hold what it wrote itself.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
cat >"$tmp/script" <<'SCRIPT'
# Blocks with their number in them, to both disks; what is in memory says how many there must be.
n=0
id=$(cat /proc/sys/kernel/random/uuid)
(read -r word </dev/ttyS0; touch /told) &
while [ ! -e /told ]; do
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
    for i in $(seq 0 $((n - 1))); do
        [ "$(dd if=/dev/$disk bs=4096 skip=$i count=1 2>/dev/null | head -n 1)" = "$(printf '%s block %04d of %s' "$id" $i $disk)" ] || bad=$((bad + 1))
    done
done
echo "result bad: $bad of $((2 * n))"
SCRIPT
initrd "$tmp/script" virtio_pci virtio_blk ata_piix sd_mod
"$vhd" create "$tmp/a.vhd" --size 16M >/dev/null && "$vhd" create "$tmp/b.vhd" --size 16M --type fixed >/dev/null || exit 1
boot=(--memory 96M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0 panic=-1" --no-reboot)
open_line
start "${boot[@]}" --serial stdio --control "ipc://$tmp/control" --allow "$tmp" \
    --disk "file=$tmp/a.vhd,bus=virtio" --disk "file=$tmp/b.vhd,bus=ide" <&8 >"$tmp/first.log"
wait_for "$tmp/first.log" "step 7"
ctl snapshot "$tmp/moment" || fail "snapshot"
ctl snapshot "$tmp/moment" 2>/dev/null && fail "a second snapshot of the same name"
ctl status | grep -q "state *running" || fail "the machine does not run on"
wait_for "$tmp/first.log" "step 30"
tell on
wait_end
grep -aq "result bad: 0 of" "$tmp/first.log" || fail "the machine that went on has lost what it wrote"
for disk in a b; do
    "$vhd" check "$tmp/$disk.vhd" >/dev/null || fail "$disk.vhd is damaged"
    "$vhd" info "$tmp/$disk.vhd" | grep -q "$disk.vhd.moment" || fail "$disk.vhd is no child of its snapshot"
done
# Back to that moment, on undo disks of what was kept.
before=$(md5sum "$tmp/a.vhd.moment" "$tmp/b.vhd.moment")
start "${boot[@]}" --serial stdio --restore "$tmp/moment" --disk "file=$tmp/a.vhd.moment,bus=virtio,undo=keep" \
    --disk "file=$tmp/b.vhd.moment,bus=ide,undo=keep" <&8 >"$tmp/second.log"
wait_for "$tmp/second.log" "step 40"
tell on
wait_end
grep -aq "result bad: 0 of" "$tmp/second.log" || fail "the machine that went back finds other disks than it left"
grep -aq "step 1$" <(tr -d '\r' <"$tmp/second.log") && fail "the machine that went back has begun anew"
[ "$(md5sum "$tmp/a.vhd.moment" "$tmp/b.vhd.moment")" = "$before" ] || fail "what was kept has changed"
# And the first machine's disks, which now have parents.
"$emu" --disk "file=$tmp/a.vhd,bus=virtio" 2>/dev/null
[ $? -eq 1 ] || fail "a disk with a parent opens without chain=on"
# What cannot be kept.
truncate -s 8M "$tmp/raw.img"
start --memory 32M --disk "file=$tmp/raw.img,format=raw" --disk "file=$tmp/a.vhd,bus=virtio,chain=on" --control "ipc://$tmp/control" --allow "$tmp"
wait_ctl
ctl snapshot "$tmp/other" 2>"$tmp/err" && fail "a raw disk has a snapshot"
grep -q "drover-vhd convert" "$tmp/err" || fail "no word of what to do: $(cat "$tmp/err")"
[ -e "$tmp/other" ] && fail "a snapshot that failed leaves its file"
ctl quit
wait_end
end_test "a machine goes on after a snapshot, and another from it" "$tmp"/*.log

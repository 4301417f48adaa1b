#!/bin/bash
# mount and unmount: what the files show, to tools that are not ours, read-only and written, and what
# is left when the serving process is killed.
. "$(dirname "$0")/lib.sh"

if ! [ -c /dev/fuse ]; then
    echo "no FUSE here: there is no /dev/fuse"
    exit 77
fi
mkdir mnt
cleanup() { fusermount3 -qu mnt 2>/dev/null || umount mnt 2>/dev/null || true; }
trap cleanup EXIT

make_files
truncate -s 200M disk.img
sfdisk -q disk.img <<'END'
label: gpt
start=2048, size=131072, name=root
start=133120, size=65536, name=data
END
truncate -s 64M ext.img
mke2fs -q -F -t ext4 -d files ext.img
truncate -s 32M fat.img
mkfs.fat -F 16 fat.img >/dev/null
mcopy -i fat.img -s files/* ::
dd if=ext.img of=disk.img bs=1M seek=1 conv=notrunc,sparse status=none
dd if=fat.img of=disk.img bs=1M seek=65 conv=notrunc,sparse status=none
"$vhd" convert --quiet disk.img disk.vhd

echo "== read-only"
if ! "$vhd" mount disk.vhd mnt 2>err; then
    if grep -qi "not permitted\|permission" err; then
        echo "mounting is not allowed here: $(tail -1 err)"
        exit 77
    fi
    fail "mount: $(cat err)"
fi
[ "$(ls mnt | tr '\n' ' ')" = "disk.img partition-1.img partition-2.img " ] || fail "it shows: $(ls mnt)"
cmp disk.img mnt/disk.img || fail "the whole disk differs"
cmp ext.img mnt/partition-1.img || fail "partition 1 differs"
cmp fat.img mnt/partition-2.img || fail "partition 2 differs"
e2fsck -fn mnt/partition-1.img >fsck.log 2>&1 || { cat fsck.log; fail "e2fsck"; }
fsck.fat -n mnt/partition-2.img >fsck.log || { cat fsck.log; fail "fsck.fat"; }
mkdir found && debugfs -R "rdump / found" mnt/partition-1.img >/dev/null 2>&1
(cd found && sha256sum --quiet -c ../hashes) || fail "a file of partition 1 differs"
qemu-img compare -q -f raw -F raw disk.img mnt/disk.img || fail "qemu-img sees a difference"
[ "$(qemu-img map -f raw --output=json mnt/disk.img | jq 'map(select(.data | not)) | length > 0')" = true ] ||
    fail "holes are not seen"
! { echo x >mnt/disk.img; } 2>/dev/null || fail "a read-only mount was written"
# a second reader may come, a writer may not
expect 0 info disk.vhd
expect 4 mount disk.vhd mnt --writable
expect 1 mount missing.vhd mnt
expect 0 unmount mnt
[ -z "$(ls mnt)" ] || fail "it is still mounted"
expect 1 unmount mnt

echo "== written"
expect 0 mount disk.vhd mnt --writable
# written through the whole, seen through the partition
head -c 4096 /dev/urandom >page
dd if=page of=mnt/disk.img bs=4096 seek=$((20 * 256)) conv=notrunc,fsync status=none
dd if=page of=disk.img bs=4096 seek=$((20 * 256)) conv=notrunc status=none
cmp -n 4096 -i $((19 * 1048576)):0 mnt/partition-1.img page || fail "the partition does not show what the disk got"
dd if=ext.img of=mnt/partition-1.img bs=1M conv=notrunc status=none
dd if=ext.img of=disk.img bs=1M seek=1 conv=notrunc status=none
head -c 500000 /dev/urandom >new
mcopy -i mnt/partition-2.img new :: || fail "mcopy into the mounted partition"
mcopy -i fat.img new ::
debugfs -w -R "write new new" mnt/partition-1.img >/dev/null 2>&1
e2fsck -fp mnt/partition-1.img >fsck.log 2>&1 || { cat fsck.log; fail "e2fsck of what was written"; }
! truncate -s 1M mnt/disk.img 2>/dev/null || fail "a disk was truncated"
sync mnt/disk.img
exec 9<mnt/disk.img
expect 1 unmount mnt
grep -q "open" err || fail "unmount of a busy folder says: $(cat err)"
exec 9<&-
expect 0 unmount mnt
expect 0 check disk.vhd
expect 0 mount disk.vhd mnt
debugfs -R "dump new out.new" mnt/partition-1.img >/dev/null 2>&1
cmp new out.new || fail "the new file is not there"
mcopy -n -o -i mnt/partition-2.img ::new out.new && cmp new out.new || fail "the new file is not on FAT"
e2fsck -fn mnt/partition-1.img >fsck.log 2>&1 || { cat fsck.log; fail "e2fsck"; }
fsck.fat -n mnt/partition-2.img >fsck.log || { cat fsck.log; fail "fsck.fat"; }
expect 0 unmount mnt

echo "== space is given back through fallocate"
before=$("$vhd" info disk.vhd --json | jq .blocksAllocated)
expect 0 mount disk.vhd mnt -w
fallocate --punch-hole --offset 1MiB --length 64MiB mnt/disk.img || fail "no hole can be punched"
[ "$(dd if=mnt/partition-1.img bs=1M count=64 status=none | tr -d '\0' | wc -c)" = 0 ] || fail "the hole is not zero"
expect 0 unmount mnt
after=$("$vhd" info disk.vhd --json | jq .blocksAllocated)
[ "$after" -lt "$before" ] || fail "$before blocks before the hole, $after after"

echo "== killed: what was synced is there, the image is good"
"$vhd" create killed.vhd --size 100M
"$vhd" mount killed.vhd mnt --writable --foreground 2>err &
server=$!
until [ -e mnt/disk.img ]; do kill -0 $server 2>/dev/null || fail "mount: $(cat err)"; sleep 0.05; done
dd if=new of=mnt/disk.img bs=4096 seek=3 conv=notrunc,fsync status=none
dd if=new of=mnt/disk.img bs=4096 seek=9000 conv=notrunc status=none
kill -KILL $server
wait $server 2>/dev/null || true
fusermount3 -qu mnt 2>/dev/null || umount mnt
"$vhd" check killed.vhd --repair >out 2>&1 || [ $? = 3 ] || { cat out; fail "the image is damaged"; }
expect 0 check killed.vhd
"$vhd" convert --quiet killed.vhd killed.img --type raw
cmp -n 500000 -i $((3 * 4096)):0 killed.img new || fail "what was synced is lost"

echo "== SIGTERM unmounts, with everything written"
"$vhd" mount killed.vhd mnt --writable --foreground 2>err &
server=$!
until [ -e mnt/disk.img ]; do kill -0 $server 2>/dev/null || fail "mount: $(cat err)"; sleep 0.05; done
dd if=new of=mnt/disk.img bs=4096 seek=12000 conv=notrunc status=none
kill -TERM $server
wait $server || fail "it ended with $?: $(cat err)"
[ -z "$(ls mnt)" ] || fail "it is still mounted"
expect 0 check killed.vhd
"$vhd" convert --quiet killed.vhd late.img --type raw
cmp -n 500000 -i $((12000 * 4096)):0 late.img new || fail "what was written is lost"
echo passed

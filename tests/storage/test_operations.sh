#!/bin/bash
# compact, resize, merge, rebase, snapshot and undo by drover-vhd; what comes out is read by qemu-img,
# libvhdi where there is a chain, and fsck.
set -eu
cd "$TEST_TMP"
vhd=$BUILD/drover-vhd

fail() { echo "FAILED: $*" >&2; exit 1; }
same() { qemu-img compare -q -f raw -F vpc "$1" "$2" || fail "$3: qemu-img reads another content in $2"; }
size_of() { qemu-img info -f "$2" --output=json "$1" | jq '.["virtual-size"]'; }
clean() { "$vhd" check "$1" >check.out || { cat check.out; fail "check $1"; }; }
# what a chain shows, as bytes
flatten() { rm -f flat.img; "$vhd" convert --quiet --type raw "$1" flat.img; }
# random data of that many MiB at that MiB
put() { head -c $(($3 << 20)) /dev/urandom | dd of="$1" bs=1M seek="$2" conv=notrunc status=none; }
truncate -s 64M disk.img
put disk.img 0 3
put disk.img 20 5
put disk.img 60 4

echo "== compact"
for type in dynamic fixed raw; do
    rm -f c.disk
    "$vhd" convert --quiet --type $type disk.img c.disk
    format=vpc
    [ $type != raw ] || format=raw
    qemu-io -f $format -c "write -P 0 20M 4M" c.disk >/dev/null # zeroes that take space
    before=$(stat -c %b c.disk)
    "$vhd" compact --quiet c.disk >out
    [ "$(stat -c %b c.disk)" -lt "$before" ] || fail "compacting $type gave nothing back"
    [ $type = raw ] || clean c.disk
    cp --sparse=always disk.img wanted.img
    fallocate -p -o 20M -l 4M wanted.img
    qemu-img compare -q -f raw -F $format wanted.img c.disk || fail "compacting $type changed the disk"
done
qemu-img convert -f raw -O vpc -o force_size=on disk.img theirs.vhd
qemu-io -f vpc -c "write -P 0 0 8M" -c "write -P 0 20M 4M" theirs.vhd >/dev/null
flatten theirs.vhd
"$vhd" compact theirs.vhd --output compacted.vhd >/dev/null
same flat.img compacted.vhd "compact to a new file"
before=$(stat -c %s theirs.vhd)
"$vhd" compact theirs.vhd >/dev/null
same flat.img theirs.vhd "compact in place"
[ "$(stat -c %s theirs.vhd)" -lt "$before" ] || fail "qemu-img's file did not become smaller"
[ "$(stat -c %s theirs.vhd)" -le $(($(stat -c %s compacted.vhd) + 65536)) ] || fail "in place it is larger than anew"
clean theirs.vhd

echo "== resize"
for type in dynamic fixed raw; do
    format=vpc
    [ $type != raw ] || format=raw
    rm -f r.disk
    "$vhd" convert --quiet --type $type disk.img r.disk
    for size in 65M 200M 3G; do
        [ $size != 3G ] || [ $type != fixed ] || continue
        "$vhd" resize r.disk $size >/dev/null
        cp --sparse=always disk.img wanted.img
        truncate -s $size wanted.img
        [ "$(size_of r.disk $format)" = "$(stat -c %s wanted.img)" ] || fail "$type has another size than $size"
        [ $type = raw ] || vhdiinfo r.disk | grep -q "($(stat -c %s wanted.img) bytes)" ||
            { vhdiinfo r.disk; fail "$type has another size than $size for libvhdi"; }
        [ $size = 3G ] || qemu-img compare -q -f raw -F $format wanted.img r.disk || fail "$type grown to $size"
        [ $type = raw ] || clean r.disk
    done
    qemu-io -f $format -c "write -P 7 150M 1M" r.disk >/dev/null
    if "$vhd" resize r.disk 100M 2>err; then fail "$type was cut through its data"; fi
    grep -q "holds data up to byte $((151 << 20))" err || { cat err; fail "no word of where the data ends"; }
    "$vhd" resize r.disk --smallest >/dev/null
    [ "$(size_of r.disk $format)" = $((151 << 20)) ] || fail "$type is not as small as it can be"
    qemu-io -f $format -c "read -P 7 150M 1M" r.disk | grep -q "read 1048576/" || fail "the data is gone"
    [ $type = raw ] || clean r.disk
done
# the table of a full-sized disk, and back
"$vhd" create big.vhd --size 1M
"$vhd" resize big.vhd 2040G >/dev/null
[ "$(size_of big.vhd vpc)" = $((2040 << 30)) ] || fail "no 2040 GiB"
clean big.vhd
if "$vhd" resize big.vhd 2041G 2>err; then fail "a VHD of 2041 GiB"; fi

echo "== a chain of three, as libvhdi reads it"
# Whole pages only: libvhdi 20210425 takes the rest of a bitmap's byte for present, too.
"$vhd" convert --quiet disk.img l1.vhd
"$vhd" create l2.vhd --parent l1.vhd
"$vhd" create l3.vhd --parent l2.vhd
write() { # FILE COMMAND...: by qemu-io, over NBD
    rm -f served
    "$vhd" serve "$1" --socket socket --once >served &
    until grep -qs serving served; do kill -0 $! || fail "serve $1"; sleep 0.02; done
    qemu-io -f raw "${@:2}" "nbd+unix:///?socket=$PWD/socket" >/dev/null
    wait $!
}
write l2.vhd -c "write -P 7 3M 100k" -c "write -P 9 4k 4k" -c "write -z 21M 64k" -c "write -P 1 40M 1M"
write l3.vhd -c "write -P 3 3M 8k" -c "write -P 4 40M 2M" -c "write -P 5 63M 1M"
flatten l3.vhd
if [ -c /dev/fuse ] && mkdir -p mnt && vhdimount l3.vhd mnt >/dev/null 2>mount.log; then
    [ "$(ls mnt | wc -l)" = 3 ] || { umount mnt; fail "libvhdi does not find the whole chain"; }
    cmp flat.img mnt/vhdi3 || { umount mnt; fail "libvhdi reads another content of the chain"; }
    cmp disk.img mnt/vhdi1 || { umount mnt; fail "a parent was changed"; }
    umount mnt
else
    echo "(not done: $(cat mount.log 2>/dev/null || echo "no FUSE here"))"
fi

echo "== snapshot, merge"
"$vhd" convert --quiet disk.img d.vhd
"$vhd" snapshot d.vhd d-monday.vhd
vhdiinfo d.vhd | grep -qi "differential" || { vhdiinfo d.vhd; fail "libvhdi sees no differencing disk"; }
flatten d.vhd
cmp disk.img flat.img || fail "a snapshot changed the disk"
same disk.img d-monday.vhd "the snapshot"
if "$vhd" snapshot d.vhd d-monday.vhd 2>err; then fail "a snapshot over another"; fi
"$vhd" merge --quiet d.vhd
[ ! -e d.vhd ] && [ ! -e d.vhd.merge ] || fail "merge left something"
same disk.img d-monday.vhd "merge of nothing"

echo "== undo: discard and commit, with a file system"
if command -v mke2fs >/dev/null && [ -c /dev/fuse ]; then
    truncate -s 32M fs.img
    mkdir -p files
    head -c 3000000 /dev/urandom >files/a
    mke2fs -q -t ext4 -d files fs.img
    "$vhd" convert --quiet fs.img u.vhd
    for action in discard commit; do
        undo=$("$vhd" undo begin u.vhd)
        [ "$undo" = u.vhd.undo ] || fail "undo begins with $undo"
        mkdir -p mnt
        "$vhd" mount "$undo" mnt -w
        echo "write $action" >note
        debugfs -w -R "write note note-$action" mnt/disk.img >/dev/null 2>&1
        "$vhd" unmount mnt
        if "$vhd" undo keep u.vhd; then :; else fail "keep"; fi
        [ -e "$undo" ] || fail "keep did not keep"
        "$vhd" undo $action u.vhd --quiet
        [ ! -e "$undo" ] || fail "$action left the child"
    done
    flatten u.vhd
    e2fsck -fn flat.img >/dev/null 2>&1 || fail "the file system is damaged"
    [ "$(debugfs -R "cat note-commit" flat.img 2>/dev/null)" = "write commit" ] || fail "commit lost the file"
    [ -z "$(debugfs -R "cat note-discard" flat.img 2>/dev/null)" ] || fail "discard kept the file"
else
    echo "(not done: no mke2fs, or no FUSE here)"
fi

echo "== rebase"
"$vhd" convert --quiet disk.img base.vhd
"$vhd" create child.vhd --parent base.vhd
cp disk.img other.img
put other.img 40 2
put other.img 1 1
"$vhd" convert --quiet other.img other.vhd
"$vhd" rebase --quiet child.vhd other.vhd
rm base.vhd
flatten child.vhd
cmp disk.img flat.img || fail "rebase changed what the child shows"
mkdir moved
mv other.vhd moved/
if "$vhd" info child.vhd >/dev/null 2>&1; then fail "the parent was found where it is not"; fi
"$vhd" rebase --rename-only child.vhd moved/other.vhd
flatten child.vhd
cmp disk.img flat.img || fail "a renamed parent changed what the child shows"
if "$vhd" rebase --rename-only moved/other.vhd child.vhd 2>err; then fail "a loop was made"; fi
clean child.vhd
"$vhd" merge --quiet child.vhd
same disk.img moved/other.vhd "merge after rebase"

echo "== a second writer hears who the first one is"
"$vhd" create locked.vhd --size 1M
"$vhd" serve locked.vhd --socket "$PWD/nbd.sock" >/dev/null 2>&1 &
server=$!
for ((i = 0; i < 100; i++)); do [ -S nbd.sock ] && break; sleep 0.1; done
if [ -S nbd.sock ]; then
    if "$vhd" compact locked.vhd 2>err; then fail "two writers"; fi
    grep -q "process $server (drover-vhd)" err || { cat err; kill $server; fail "it does not name process $server"; }
fi
kill $server
wait $server 2>/dev/null || true
echo passed

#!/bin/bash
# What is only read: qcow2 in its forms, made by qemu-img, and block devices of the host. Formats are
# found by content, whatever the name.
. "$(dirname "$0")/lib.sh"

truncate -s 30M disk.img
for at in 0 5 6 21; do head -c 170000 /dev/urandom | dd of=disk.img bs=1M seek=$at conv=notrunc status=none; done
yes "compressible text" | head -c 400000 | dd of=disk.img bs=1M seek=12 conv=notrunc status=none

echo "== qcow2"
try() { # label, qemu-img convert's options
    local name=$1
    shift
    rm -f q.qcow2 back.vhd
    qemu-img convert -f raw -O qcow2 "$@" disk.img q.qcow2
    expect 0 compare q.qcow2 disk.img
    "$vhd" convert --quiet q.qcow2 back.vhd
    qemu-img compare -q -f vpc -F raw back.vhd disk.img || fail "$name: the import differs"
    expect 0 info q.qcow2 --json
    [ "$(jq -r .format out)" = qcow2 ] || fail "$name: $(cat out)"
    echo "   $name"
}
try "version 2" -o compat=0.10
try "version 3" -o compat=1.1
try "512-byte clusters" -o cluster_size=512
try "2 MiB clusters" -o cluster_size=2M
try "compressed, version 2" -c -o compat=0.10
try "compressed, deflate" -c
try "compressed, zstd" -c -o compression_type=zstd
try "compressed, 4 KiB clusters" -c -o cluster_size=4K
try "compressed, 2 MiB clusters, zstd" -c -o cluster_size=2M,compression_type=zstd
try "subclusters" -o extended_l2=on,cluster_size=128K
try "subclusters, compressed" -c -o extended_l2=on,cluster_size=16K
try "preallocated" -o preallocation=full

echo "== zero clusters, subclusters in parts, internal snapshots"
for options in cluster_size=64K extended_l2=on,cluster_size=128K; do
    qemu-img convert -f raw -O qcow2 -o $options disk.img q.qcow2
    qemu-img snapshot -c before q.qcow2
    qemu-io -f qcow2 -c "write -z 5M 100k" -c "discard 6M 64k" -c "write -P 7 20M 3k" -c "write -z -u 12M 128k" q.qcow2 >/dev/null
    "$vhd" convert --quiet q.qcow2 now.img --type raw
    qemu-img compare -q -f qcow2 -F raw q.qcow2 now.img || fail "$options: written parts differ"
    rm -f now.img
done

echo "== backing files"
qemu-img convert -f raw -O qcow2 disk.img base.qcow2
qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 middle.qcow2
qemu-io -f qcow2 -c "write -P 3 1M 200k" -c "write -z 5M 64k" middle.qcow2 >/dev/null
mkdir sub
(cd sub && qemu-img create -q -f qcow2 -o extended_l2=on -b ../middle.qcow2 -F qcow2 top.qcow2 40M)
qemu-io -f qcow2 -c "write -P 4 2M 5k" sub/top.qcow2 >/dev/null
"$vhd" convert --quiet sub/top.qcow2 top.img --type raw
qemu-img compare -q -f qcow2 -F raw sub/top.qcow2 top.img || fail "a chain differs"
[ "$("$vhd" info sub/top.qcow2 --json | jq '.parents | length')" = 2 ] || fail "the chain is not shown"
qemu-img create -q -f qcow2 -b disk.img -F raw onraw.qcow2
expect 0 compare onraw.qcow2 disk.img
"$vhd" convert --quiet disk.img base.vhd
qemu-img create -q -f qcow2 -b base.vhd -F vpc onvhd.qcow2
expect 0 compare onvhd.qcow2 disk.img
# a raw backing file is raw, whatever a guest has written at its beginning
qemu-img create -q -f qcow2 -b /etc/hostname -F raw evil.qcow2 1M
truncate -s 1M evil.qcow2
qemu-img create -q -f qcow2 -b evil.qcow2 -F raw onevil.qcow2
"$vhd" convert --quiet onevil.qcow2 onevil.img --type raw
cmp onevil.img evil.qcow2 || fail "a raw backing file was not taken as raw"
qemu-img create -q -f qcow2 -u -b loop2.qcow2 -F qcow2 loop1.qcow2 1M
qemu-img create -q -f qcow2 -u -b loop1.qcow2 -F qcow2 loop2.qcow2 1M
expect 1 info loop1.qcow2
grep -q "loop" err || fail "$(cat err)"
qemu-img create -q -f qcow2 -u -b gone.qcow2 -F qcow2 orphan.qcow2 1M
expect 1 info orphan.qcow2
grep -q "backing file of orphan.qcow2" err || fail "$(cat err)"

echo "== what is refused, by name"
# qemu-img times its key derivation, and gives up where the clock of processor time is coarse.
for try in 1 2 3 4 5 6 7 8 9 10; do
    qemu-img create -q -f qcow2 --object secret,id=s,data=x -o encrypt.format=luks,encrypt.key-secret=s crypt.qcow2 1M \
        2>try.log && break
    grep -q "CPU usage" try.log && [ $try -lt 10 ] || fail "$(cat try.log)"
done
expect 1 info crypt.qcow2 && grep -q "encrypted" err || fail "$(cat err)"
qemu-img create -q -f qcow2 -o data_file=data.raw external.qcow2 1M
expect 1 info external.qcow2 && grep -q "external data file" err || fail "$(cat err)"
expect 1 serve base.qcow2
grep -q "only read" err || fail "$(cat err)"
head -c 70000 base.qcow2 >short.qcow2
expect 1 convert short.qcow2 short.img
[ ! -e short.img ] || fail "half an import was left"

echo "== the name does not matter"
cp base.qcow2 looks-like.vhd
cp base.vhd looks-like.qcow2
"$vhd" create looks-like.img --type vhdx --size 10M
for pair in looks-like.vhd:qcow2 looks-like.qcow2:vhd-dynamic looks-like.img:vhdx-dynamic; do
    [ "$("$vhd" info "${pair%:*}" --json | jq -r .format)" = "${pair#*:}" ] || fail "$pair"
done

echo "== a block device of the host"
if loop=$(losetup --find --show disk.img 2>err); then
    trap 'losetup -d $loop' EXIT
    expect 0 compare "$loop" disk.img
    expect 0 info "$loop" --json
    [ "$(jq -c '[.format, .virtualSize]' out)" = '["raw",31457280]' ] || fail "$(cat out)"
    "$vhd" convert --quiet "$loop" linked.vhd
    qemu-img compare -q -f vpc -F raw linked.vhd disk.img || fail "a copy of the device differs"
    "$vhd" serve "$loop" --socket "$PWD/s" --once >served &
    server=$!
    until [ -S s ]; do kill -0 $server || fail serve; sleep 0.02; done
    qemu-io -f raw -c "write -P 9 3M 1M" -c flush "nbd+unix://?socket=$PWD/s" >/dev/null
    wait $server || fail "serve of a device"
    expect 0 compare "$loop" disk.img
    [ "$(dd if=disk.img bs=1M skip=3 count=1 status=none | tr -d '\11' | wc -c)" = 0 ] || fail "the device was not written"
else
    echo "(not done: no loop device here: $(cat err))"
fi
echo passed

#!/bin/bash
# VHDX between us, qemu-img and libvhdi: both ways, over sizes, block and sector sizes; a log that has
# to be replayed, written by hand; children.
. "$(dirname "$0")/lib.sh"

mib=1048576
make_raw() { # file, size
    truncate -s "$2" "$1"
    for at in 0 3 7 64 900; do
        [ $((at * mib)) -lt $(($2 - 70000)) ] || continue
        head -c 70000 /dev/urandom | dd of="$1" bs=4096 seek=$((at * 256)) conv=notrunc status=none
    done
    printf 'the very end' | dd of="$1" bs=12 oflag=seek_bytes seek=$(($2 - 12)) conv=notrunc status=none
}
by_libvhdi() { # the content of ours.vhdx
    [ -c /dev/fuse ] && mkdir -p mnt && vhdimount ours.vhdx mnt >/dev/null 2>mount.log || {
        echo "(libvhdi's reading: not done: $(cat mount.log))"
        return
    }
    local same=yes
    cmp disk.img mnt/vhdi1 || same=no
    umount mnt
    [ $same = yes ] || fail "libvhdi reads another content"
}
qcheck() { qemu-img check -q -f vhdx "$1" || fail "qemu-img check of $1"; }

for size in $mib $((17 * mib + 4096)) $((300 * mib)) $((3000 * mib)); do
    rm -f ./*.img ./*.vhdx
    make_raw disk.img "$size"
    for kind in "vhdx" "vhdx --block-size 1M" "vhdx --block-size 32M" "vhdx-fixed" "vhdx --sector-size 4096"; do
        [ "$kind" = vhdx ] || [ "$size" -lt 1000000000 ] || continue # reading gigabytes of zeroes
        # shellcheck disable=SC2086
        rm -f ours.vhdx
        "$vhd" convert --quiet disk.img ours.vhdx --type $kind
        expect 0 check ours.vhdx
        expect 0 compare disk.img ours.vhdx
        vhdiinfo ours.vhdx 2>&1 | grep -q "($size bytes)\|: $size bytes" || { vhdiinfo ours.vhdx; fail "libvhdi reads another size"; }
        if [ "$kind" = "vhdx --sector-size 4096" ]; then # which qemu-img does not read
            vhdiinfo ours.vhdx | grep -q "Bytes per sector.*4096" || fail "libvhdi reads another sector size"
            by_libvhdi
            continue
        fi
        qcheck ours.vhdx
        [ "$(qemu-img info -f vhdx --output=json ours.vhdx | jq '.["virtual-size"]')" = "$size" ] ||
            fail "$kind: qemu-img reads another size"
        qemu-img compare -q -f raw -F vhdx disk.img ours.vhdx || fail "$size, $kind: qemu-img reads another content"
        rm -f ours.vhdx
    done
    for options in subformat=dynamic subformat=fixed subformat=dynamic,block_size=1M,log_size=2M subformat=dynamic,block_size=256M,block_state_zero=off; do
        [ $options = subformat=dynamic ] || [ "$size" -lt 400000000 ] || continue
        qemu-img convert -f raw -O vhdx -o $options disk.img theirs.vhdx
        expect 0 check theirs.vhdx
        "$vhd" convert --quiet theirs.vhdx theirs.img --type raw
        [ "$(stat -c %s theirs.img)" = "$(qemu-img info -f vhdx --output=json theirs.vhdx | jq '.["virtual-size"]')" ] || fail "$options: size"
        qemu-img compare -q -f raw -F raw disk.img theirs.img || fail "$size, $options: we read another content"
        rm -f theirs.vhdx theirs.img
    done
    echo "   $size bytes: the same both ways"
done

echo "== written in turns"
rm -f ./*.img ./*.vhdx
qemu-img create -q -f vhdx -o block_size=2M turn.vhdx 200M
truncate -s 200M turn.img
for i in $(seq 8); do
    head -c 300000 /dev/urandom >piece
    at=$((i * 23 * mib + i * 777))
    dd if=piece of=turn.img bs=300000 oflag=seek_bytes seek=$at conv=notrunc status=none
    "$vhd" serve turn.vhdx --socket "$PWD/s" --once >served 2>serve.err &
    server=$!
    until [ -S s ]; do kill -0 $server || fail "serve: $(cat serve.err)"; sleep 0.02; done
    python3 - "$at" <<'END'
import socket, struct, sys
data, at = open("piece", "rb").read(), int(sys.argv[1])
s = socket.socket(socket.AF_UNIX); s.connect("s")
def need(n):
    out = b""
    while len(out) < n: out += s.recv(n - len(out))
    return out
need(18); s.sendall(struct.pack(">I", 3) + struct.pack(">QII", 0x49484156454F5054, 1, 0)); need(10)
for kind, body in ((1, data), (3, b"")):
    s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, kind, 1, at if body else 0, len(body)) + body)
    assert struct.unpack(">IIQ", need(16))[1] == 0
s.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 2, 1, 0, 0))
END
    wait $server || fail "serve: $(cat serve.err)"
    expect 0 check turn.vhdx
    qcheck turn.vhdx
    qemu-io -f vhdx -c "write -P $i $((i * 512 * 1024)) 64k" turn.vhdx >/dev/null
    head -c 65536 /dev/zero | tr '\0' "\\$(printf %o "$i")" | dd of=turn.img bs=64k seek=$((i * 8)) conv=notrunc status=none
done
qemu-img compare -q -f vhdx -F raw turn.vhdx turn.img || fail "after turns the content differs for qemu-img"
expect 0 compare turn.vhdx turn.img

echo "== discarded blocks"
"$vhd" mount turn.vhdx "$(mkdir -p mnt && echo mnt)" -w 2>err && {
    fallocate --punch-hole --offset 40MiB --length 60MiB mnt/disk.img
    "$vhd" unmount mnt
    fallocate --punch-hole --offset 40MiB --length 60MiB turn.img
    expect 0 check turn.vhdx
    qcheck turn.vhdx
    qemu-img compare -q -f vhdx -F raw turn.vhdx turn.img || fail "after a discard the content differs"
} || echo "(not done: $(cat err))"

echo "== a log to replay, written by hand"
cat >dirty.py <<'END'
# Moves the first payload block to the end of the file, by way of a log that is not replayed yet.
import struct, sys, uuid
path, torn = sys.argv[1], len(sys.argv) > 2
table = []
for i in range(256):
    c = i
    for _ in range(8): c = c >> 1 ^ (0x82f63b78 if c & 1 else 0)
    table.append(c)
def crc(data):
    c = 0xffffffff
    for b in data: c = c >> 8 ^ table[(c ^ b) & 255]
    return c ^ 0xffffffff
f = open(path, "r+b")
def at(offset, n): f.seek(offset); return f.read(n)
heads = [(struct.unpack_from("<Q", at(o, 4096), 8)[0], o) for o in (65536, 131072)]
seq, where = max(heads)
head = bytearray(at(where, 4096))
log_length, log_offset = struct.unpack_from("<IQ", head, 68)
regions = at(196608, 65536)
bat = next(struct.unpack_from("<QI", regions, 16 + 32 * i + 16)[0] for i in range(2)
           if uuid.UUID(bytes_le=regions[16 + 32 * i:32 + 32 * i]) == uuid.UUID("2DC27766-F623-4200-9D64-115E9BFD4A08"))
page = bytearray(at(bat, 4096))
entry = struct.unpack_from("<Q", page, 0)[0]
assert entry & 7 == 6
block = at(entry & ~0xfffff, 2 << 20)
f.seek(0, 2); end = (f.tell() + 0xfffff) & ~0xfffff
f.seek(end); f.write(block); end_after = end + len(block)
f.truncate(end_after)
struct.pack_into("<Q", page, 0, end | 6)
guid = uuid.uuid4().bytes_le
def log_entry(number, tail, pages):
    length = 4096 * (1 + len(pages))
    e = bytearray(length)
    struct.pack_into("<4sIIIQII16sQQ", e, 0, b"loge", 0, length, tail, number, len(pages), 0, guid, end_after, end_after)
    for i, (offset, p) in enumerate(pages):
        struct.pack_into("<4s4s8sQQ", e, 64 + 32 * i, b"desc", p[4092:], p[:8], offset, number)
        e[4096 * (i + 1):4096 * (i + 2)] = b"data" + struct.pack("<I", number >> 32) + p[8:4092] + struct.pack("<I", number & 0xffffffff)
    struct.pack_into("<I", e, 4, crc(e))
    return e
# two entries in a sequence, that wrap around the log's end: the first names a wrong place, the second the right one
wrong = bytearray(page); struct.pack_into("<Q", wrong, 0, (end + (1 << 20)) | 6)
first, second = log_entry(7, log_length - 4096, [(bat, bytes(wrong))]), log_entry(8, log_length - 4096, [(bat, bytes(page))])
if torn: second[5000] ^= 1; first[5000] ^= 1
f.seek(log_offset + log_length - 4096); f.write(first[:4096])
f.seek(log_offset); f.write(first[4096:] + second)
# the block's old place holds something else now
f.seek(entry & ~0xfffff); f.write(b"stale" * 1000)
struct.pack_into("<4sIQ", head, 0, b"head", 0, seq + 1); head[48:64] = guid
struct.pack_into("<I", head, 4, 0); struct.pack_into("<I", head, 4, crc(head))
f.seek(196608 - where); f.write(head)
END
make_raw log.img $((20 * mib))
"$vhd" convert --quiet log.img log.vhdx --type vhdx
python3 dirty.py log.vhdx
cp log.vhdx before.vhdx
expect 0 compare log.img log.vhdx # read through the log, and not changed
cmp log.vhdx before.vhdx || fail "reading wrote to the file"
expect 1 check log.vhdx
grep -q "replayed" out || fail "check says: $(cat out)"
cp before.vhdx theirs.vhdx
qemu-img check -q -r all -f vhdx theirs.vhdx >/dev/null || fail "qemu-img cannot replay it"
qemu-img compare -q -f vhdx -F raw theirs.vhdx log.img || fail "the hand-made log is wrong"
expect 3 check log.vhdx --repair
qcheck log.vhdx
qemu-img compare -q -f vhdx -F raw log.vhdx log.img || fail "we replay it another way"
rm log.vhdx
"$vhd" convert --quiet log.img log.vhdx --type vhdx
python3 dirty.py log.vhdx torn
expect 1 info log.vhdx && expect 1 check log.vhdx --repair && grep -q "log" out err || fail "a torn log: $(cat out err)"

echo "== damaged copies are mended"
"$vhd" convert --quiet log.img copies.vhdx --type vhdx
printf x | dd of=copies.vhdx bs=1 seek=65600 conv=notrunc status=none
printf x | dd of=copies.vhdx bs=1 seek=196700 conv=notrunc status=none
expect 0 compare log.img copies.vhdx
expect 1 check copies.vhdx
expect 3 check copies.vhdx --repair
expect 0 check copies.vhdx
qcheck copies.vhdx
expect 0 compare log.img copies.vhdx

echo "== children"
mkdir -p parents children
"$vhd" convert --quiet log.img parents/base.vhdx --type vhdx
"$vhd" create children/a.vhdx --parent parents/base.vhdx
"$vhd" create children/b.vhdx --parent children/a.vhdx --size 40M
expect 0 info children/b.vhdx --json
[ "$(jq -c '[.format, .virtualSize, (.parents | length), [.chain[].format]]' out)" = '["vhdx-differencing",41943040,2,["vhdx-differencing","vhdx-dynamic"]]' ] || fail "$(cat out)"
expect 0 compare log.img children/a.vhdx
cp -r parents moved-parents && mkdir elsewhere && mv children elsewhere/ && mv parents elsewhere/
expect 0 compare log.img elsewhere/children/a.vhdx # found by its relative path
expect 0 info elsewhere/children/b.vhdx
mv elsewhere/parents away
expect 1 info elsewhere/children/a.vhdx
grep -q "not where it was" err || fail "$(cat err)"
mv away elsewhere/parents
"$vhd" serve elsewhere/parents/base.vhdx --socket "$PWD/s" --once >served &
server=$!
until [ -S s ]; do sleep 0.02; done
qemu-io -f raw -c "write -P 9 0 4096" "nbd+unix://?socket=$PWD/s" >/dev/null
wait $server
expect 1 info elsewhere/children/a.vhdx # its parent was written since
grep -q "written since" err || fail "$(cat err)"
expect 1 create wrong.vhd --parent text
qemu-img create -q -f vpc base.vhd 10M
expect 0 create child.vhd --parent base.vhd

echo "== usage"
expect 1 create bad.vhdx --type vhdx --size 65T
expect 1 create bad.vhdx --type vhdx --size 1G --block-size 3M
expect 1 create bad.vhdx --type vhdx --size 1G --sector-size 1K
expect 2 create bad.vhdx --type vhdy --size 1G
[ ! -e bad.vhdx ] || fail "a failed create left a file"
expect 0 create huge.vhdx --type vhdx --size 64T
qcheck huge.vhdx
expect 0 check huge.vhdx

echo "== compact, resize, snapshot, merge"
cp turn.vhdx ops.vhdx
cp turn.img ops.img
expect 0 compact ops.vhdx
[ "$(stat -c %s ops.vhdx)" -le "$(stat -c %s turn.vhdx)" ] || fail "compacting made it larger"
expect 0 check ops.vhdx
qcheck ops.vhdx
qemu-img compare -q -f vhdx -F raw ops.vhdx ops.img || fail "compacting changed the content"
expect 0 resize ops.vhdx 5000G
qcheck ops.vhdx
[ "$(qemu-img info -f vhdx --output=json ops.vhdx | jq '.["virtual-size"]')" = $((5000 << 30)) ] || fail "another size"
expect 0 resize ops.vhdx 200M
qcheck ops.vhdx
qemu-img compare -q -f vhdx -F raw ops.vhdx ops.img || fail "resizing changed the content"
expect 0 snapshot ops.vhdx saved.vhdx
[ "$("$vhd" info ops.vhdx --json | jq -c '[.format, .chain[0].format]')" = '["vhdx-differencing","vhdx-dynamic"]' ] || fail "no child"
"$vhd" serve ops.vhdx --socket "$PWD/s" --once >served &
server=$!
until [ -S s ]; do kill -0 $server || fail serve; sleep 0.02; done
qemu-io -f raw -c "write -P 5 7M 3M" -c "write -P 6 100M 1k" -c "discard 50M 9M" -c "write -z 20M 1M" "nbd+unix://?socket=$PWD/s" >/dev/null
wait $server || fail serve
"$vhd" convert --quiet ops.vhdx merged.img --type raw
expect 0 merge ops.vhdx
[ ! -e ops.vhdx ] || fail "the merged child is there"
expect 0 check saved.vhdx
qcheck saved.vhdx
qemu-img compare -q -f vhdx -F raw saved.vhdx merged.img || fail "merging changed the content"

echo "== standard output"
"$vhd" convert turn.vhdx - --type raw | cmp - turn.img || fail "raw to standard output"
"$vhd" convert turn.vhdx - --type vhd-fixed >piped.vhd
qemu-img compare -q -f vpc -F raw piped.vhd turn.img || fail "VHD to standard output"
expect 0 check piped.vhd
expect 2 convert turn.vhdx - --type vhdx
echo passed

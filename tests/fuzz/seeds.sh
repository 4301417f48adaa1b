#!/bin/bash
# Makes the fuzz harnesses' seed corpora with our own tools and the file systems' own.
#
#   tests/fuzz/seeds.sh FOLDER      (BUILD names the build; each harness gets FOLDER/NAME/)
set -eu
vhd=$(realpath "$BUILD/drover-vhd")
sparse=$(realpath "$(dirname "$0")/sparse.py")
guests=$(realpath "$(dirname "$0")/../guest")
mkdir -p "$1"
cd "$1"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# FILE, harness, name: with checksums mended and written to, and as it is
seed() {
    mkdir -p "$2"
    python3 "$sparse" 3 "$1" "$2/$3-mended"
    python3 "$sparse" 0 "$1" "$2/$3"
}

mkdir -p vhd vhdx qcow2 fsmap nbd bitmap locator emu_kernel emu_saved emu_options parents
truncate -s 10M "$work/disk.img"
for at in 0 3 7; do printf 'seed %d' $at | dd of="$work/disk.img" bs=1M seek=$at conv=notrunc status=none; done
for family in vhd vhdx; do
    for type in $family $family-fixed; do
        "$vhd" convert --quiet "$work/disk.img" "$work/$type" --type $type
        seed "$work/$type" $family $type
    done
    rm -f parents/parent.$family
    "$vhd" convert --quiet "$work/disk.img" parents/parent.$family --type $family
    rm -f parents/image
    "$vhd" create parents/image --parent parents/parent.$family # the harnesses' name: paths must fit
    seed parents/image $family child
    rm -f parents/image
done
"$vhd" create "$work/4k" --type vhdx --size 10M --sector-size 4096
seed "$work/4k" vhdx 4k
"$vhd" create "$work/odd" --size 5M --block-size 512K
seed "$work/odd" vhd small-blocks
# a VHDX whose log is to be replayed: a server that is killed
"$vhd" create "$work/log" --type vhdx --size 10M
"$vhd" serve "$work/log" --socket "$work/s" >"$work/served" 2>&1 &
server=$!
until [ -S "$work/s" ]; do kill -0 $server && sleep 0.02; done
qemu-io -f raw -c "write -f -P 1 2M 4k" "nbd+unix://?socket=$work/s" >/dev/null
kill -KILL $server
wait $server 2>/dev/null || true
seed "$work/log" vhdx log

q() { # name, options of qemu-img convert
    local name=$1
    shift
    qemu-img convert -f raw -O qcow2 "$@" "$work/disk.img" "$work/q"
    seed "$work/q" qcow2 "$name"
}
q v2 -o compat=0.10,cluster_size=4K
q v3 -o cluster_size=64K
q deflate -c -o cluster_size=4K
q zstd -c -o cluster_size=16K,compression_type=zstd
q extended -o extended_l2=on,cluster_size=16K
qemu-img create -q -f qcow2 parents/parent.qcow2 10M
qemu-img create -q -f qcow2 -u -b parent.qcow2 -F qcow2 "$work/q" 10M
seed "$work/q" qcow2 child

fs() { # name, size, command
    local name=$1
    truncate -s 0 "$work/fs"
    truncate -s "$2" "$work/fs"
    shift 2
    "$@" "$work/fs" >/dev/null 2>&1
    seed "$work/fs" fsmap "$name"
}
fs ext2 1M mke2fs -F -t ext2 -O ^dir_index -N 16
fs ext2-groups 10M mke2fs -F -t ext2 -b 1024 -g 1024 -N 64
fs ext4-uninit 10M mke2fs -F -t ext4 -O ^has_journal,^metadata_csum,uninit_bg -N 64
fs ext4 10M mke2fs -F -t ext4 -O ^has_journal,^metadata_csum,^64bit,^uninit_bg -N 64 -g 2048
fs ext4-meta 10M mke2fs -F -t ext4 -O ^has_journal,^metadata_csum,^uninit_bg,meta_bg,^resize_inode -N 64 -g 512 -b 1024
fs fat12 1M mkfs.fat -F 12
fs fat16 10M mkfs.fat -F 16
fs fat32 34M mkfs.fat -F 32 -s 1
fs ntfs 5M mkntfs -q -F -f -p 0 -H 16 -S 63 -s 512 -c 4096
fs swap 1M mkswap
printf 'label: gpt\nfirst-lba: 34\nstart=64, size=2048\nstart=4096, size=2048\n' >"$work/gpt"
printf 'label: dos\nstart=64, size=1000, type=83\nstart=2048, size=8000, type=5\nstart=2100, size=1000, type=82\nstart=4100, size=1000, type=83\n' >"$work/dos"
for label in gpt dos; do
    truncate -s 0 "$work/fs"
    truncate -s 6M "$work/fs"
    sfdisk -q --wipe never "$work/fs" <"$work/$label" >/dev/null 2>&1
    seed "$work/fs" fsmap $label
done

python3 - <<'END'
import struct
def bitmaps(in_use, *records):
    head = bytearray(512)
    struct.pack_into("<8sIIQQQI", head, 0, b"DRVDIRTY", 1, in_use, 8 << 20, 0, 0, len(records))
    body = b"".join(struct.pack("<64sIQ", name, grain, len(bits)).ljust(128, b"\0") for name, grain, bits in records)
    return bytes([1]) + bytes(head) + body + b"".join(bits for _, _, bits in records)
for name, data in {
    "none": bitmaps(0), "one": bitmaps(0, (b"backup", 65536, b"\x0f" * 16)),
    "two": bitmaps(0, (b"a", 512, b"\x81" * 2048), (b"b", 1 << 20, b"\xff")),
    "slack": bitmaps(0, (b"slack", 64 << 20, b"\xff")), # bits for what there is not
    "in-use": bitmaps(1, (b"move", 65536, b"\0" * 16)),
}.items():
    open("bitmap/" + name, "wb").write(data)
def option(n, data=b""): return struct.pack(">QII", 0x49484156454F5054, n, len(data)) + data
def request(kind, offset, length, flags=0, data=b""):
    return struct.pack(">IHHQQI", 0x25609513, flags, kind, 7, offset, length) + data
def alias(name, *tags):
    head = bytearray(150)
    struct.pack_into(">HH", head, 4, 150, 2)
    struct.pack_into("64p", head, 50, name)
    return bytes(head) + b"".join(struct.pack(">HH", kind, len(text)) + text + b"\0" * (len(text) % 2)
                                  for kind, text in (*tags, (0xffff, b"")))
for form, data in enumerate([
    ".\\a.vhd".encode("utf-16le"), "\\x\\a.vhd".encode("utf-16"), b"..\\b\\a.vhd", b"\\x\\a.vhd",
    b"file://localhost/x/a%20b.vhd", alias(b"a.vhd", (18, b"x/a.vhd"), (19, b"/")),
]):
    open(f"locator/{form}", "wb").write(bytes([form]) + data)
flags, go = b"\0\0\0\3", option(7, struct.pack(">I4sHHH", 4, b"disk", 2, 0, 3))
context = struct.pack(">I4sII15s", 4, b"disk", 1, 15, b"base:allocation")
every = request(0, 0, 70000) + request(1, 4096, 8, 1, b"12345678") + request(3, 0, 0) + request(4, 0, 65536) + \
    request(5, 0, 512) + request(6, 512, 5000, 2) + request(7, 0, 1 << 20) + request(7, 0, 4096, 8) + request(2, 0, 0)
for name, data in {
    "simple": flags + go + every,
    "structured": flags + option(8) + option(9, context) + option(10, context) + go + every,
    "old": flags + option(1, b"disk") + every,
    "list": flags + option(3) + option(6, struct.pack(">IH", 0, 0)) + option(5) + option(2),
}.items():
    for first in (0, 1):
        open(f"nbd/{name}-{first}", "wb").write(bytes([first]) + data)
END

# The emulator's: a byte that says what it is, and the text or file (fuzz_emu_*.c).
tagged() { # harness, name, byte
    { printf "\\x$3"; cat; } >"$1/$2"
}
option() {
    printf %s "$2" | tagged emu_options "$1-$(printf %s "$2" | md5sum | cut -c 1-6)" "$1"
}
option 00 "file=/a,,b.vhd,bus=virtio,format=raw,readonly=on,undo=keep,bps=20M,iops=500,chain=on"
option 01 "/a.img,readonly=on"
option 02 "agent=unix:/tmp/a"
option 03 "user,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:1-10.0.2.15:2,tftp=/a,bootfile=b,restrict=on,model=e1000,mac=52:54:00:12:34:56"
option 03 "tap,ifname=t0,model=virtio"
option 03 "bridge,name=br0"
option 03 "socket,listen=/a"
option 04 "tcp:127.0.0.1:8080-:80"
option 05 "x86-64-v3,+aes,-avx2"
option 05 "host,-xsaves"
option 06 "1048576K"
option 06 "acdn"
option 07 "12345678-1234-1234-1234-123456789abc"
nasm -w-all -I "$guests/" -f bin -o "$work/multiboot" "$guests/multiboot.asm"
for way in 1 3 5; do tagged emu_kernel multiboot-$way 0$way <"$work/multiboot"; done
for way in 0 1 2 3; do
    # a bzImage's head, of a protocol that is taken, before a little of a kernel
    python3 -c '
import sys
image = bytearray(8192)
image[0x1f1] = 4
image[0x1f4:0x1f8] = (256).to_bytes(4, "little")
image[0x1fe:0x206] = b"\x55\xaa\xeb\x66HdrS"
image[0x206:0x208] = (0x20f).to_bytes(2, "little")
image[0x211] = 1
image[0x22c:0x230] = (0x7fffffff).to_bytes(4, "little")
image[0x230:0x234] = (0x200000).to_bytes(4, "little")
image[0x234] = 1
image[0x236] = 3
image[0x238:0x23c] = (2047).to_bytes(4, "little")
image[0x258:0x260] = (0x1000000).to_bytes(8, "little")
image[0x260:0x264] = (0x100000).to_bytes(4, "little")
sys.stdout.buffer.write(image)' | tagged emu_kernel linux-$way 0$way
done

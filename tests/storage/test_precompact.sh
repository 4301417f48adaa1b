#!/bin/bash
# precompact on images that mke2fs, mkfs.fat, mkntfs, mkswap and sfdisk made: what it calls free is as
# much as their own tools say, nothing that is in use is touched, and what is not in order is left alone.
. "$(dirname "$0")/lib.sh"

mib=1048576
# Fills a new raw disk with bytes that are not zero, so that every byte given back shows.
fill() { head -c "$2" /dev/zero | tr '\0' '\252' >"$1"; }
# precompact's free bytes of the first volume; its state.
free_bytes() { jq -r '.volumes[0].freeBytes' out; }
state() { jq -r '.volumes[0].state' out; }

make_files

echo "== ext2, ext3, ext4, of many shapes"
check_ext() { # label, mke2fs options
    local name=$1
    shift
    fill ext.img $((96 * mib))
    mke2fs -q -F -E nodiscard "$@" -d files ext.img >/dev/null 2>mke2fs.log || { cat mke2fs.log; fail "mke2fs $*"; }
    # a hole in the middle of what is used
    debugfs -w -R "rm sub/f7" ext.img >/dev/null 2>&1
    e2fsck -fp ext.img >/dev/null 2>&1 || [ $? -le 1 ] || fail "$name: mke2fs's own is not clean"
    local size expected
    size=$(dumpe2fs -h ext.img 2>/dev/null | sed -n 's/^Block size: *//p')
    expected=$(dumpe2fs -h ext.img 2>/dev/null | sed -n 's/^Free blocks: *//p')
    cp ext.img before.img
    expect 0 precompact ext.img --dry-run --json
    cmp ext.img before.img || fail "$name: a dry run wrote"
    [ "$(state)" = mapped ] || { cat out; fail "$name: not mapped"; }
    expect 0 precompact ext.img --json
    [ "$(free_bytes)" = $((expected * size)) ] ||
        fail "$name: $(free_bytes) bytes are free, dumpe2fs says $expected blocks of $size"
    e2fsck -fn ext.img >fsck.log 2>&1 || { cat fsck.log; fail "$name: e2fsck after precompact"; }
    rm -rf found && mkdir found
    debugfs -R "rdump / found" ext.img >/dev/null 2>&1
    (cd found && grep -v " ./sub/f7$" ../hashes | sha256sum --quiet -c) || fail "$name: a file changed"
    # what is free is gone from the host, too
    [ $(($(stat -c %b ext.img) * 512)) -le $((96 * mib - expected * size + 4 * mib)) ] ||
        fail "$name: $(stat -c %b ext.img) sectors are still there"
    echo "   $name: $(free_bytes) bytes free"
}
check_ext "ext2, 1 KiB blocks" -t ext2 -b 1024
check_ext "ext2, no sparse_super" -t ext2 -O ^sparse_super,^resize_inode -b 1024
check_ext "ext3" -t ext3
check_ext "ext4" -t ext4
check_ext "ext4, 1 KiB blocks" -t ext4 -b 1024
check_ext "ext4, 64bit off, uninit_bg" -t ext4 -O ^64bit,^metadata_csum,uninit_bg
check_ext "ext4, no flex_bg, small groups" -t ext4 -O ^flex_bg -g 4096 -b 2048
check_ext "ext4, meta_bg" -t ext4 -O meta_bg,^resize_inode -g 1024 -b 1024
check_ext "ext4, bigalloc" -t ext4 -O bigalloc -b 4096 -C 16384
check_ext "ext4, sparse_super2" -t ext4 -O sparse_super2 -b 1024
check_ext "ext4, csum_seed" -t ext4 -O metadata_csum_seed

echo "== ext that is not in order is left alone"
mke2fs -q -F -t ext4 -b 4096 ext.img
left_alone() { # state, label
    cp ext.img before.img
    expect 0 precompact ext.img --json
    [ "$(state)" = "$1" ] || { cat out; fail "$2: state $(state), not $1"; }
    [ "$(free_bytes)" = 0 ] && cmp -s ext.img before.img || fail "$2: was not left alone"
    expect 0 precompact ext.img
    grep -q "left alone: ." out || fail "$2: it does not say why"
    echo "   $2: $(sed -n 's/.*left alone: //p' out)"
}
debugfs -w -R "ssv state 0" ext.img >/dev/null 2>&1
left_alone unclean "not unmounted"
mke2fs -q -F -t ext4 -b 4096 ext.img
debugfs -w -R "feature needs_recovery" ext.img >/dev/null 2>&1
left_alone unclean "journal to replay"
mke2fs -q -F -t ext4 -O ^metadata_csum,^uninit_bg ext.img
debugfs -w -R "ffb 1 5000" ext.img >/dev/null 2>&1
debugfs -w -R "setb 6000 20" ext.img >/dev/null 2>&1
debugfs -w -R "ssv free_blocks_count 1" ext.img >/dev/null 2>&1
debugfs -w -R "set_bg 0 free_blocks_count 7" ext.img >/dev/null 2>&1
left_alone damaged "a wrong count"
mke2fs -q -F -t ext4 -b 4096 ext.img
bitmap=$(dumpe2fs ext.img 2>/dev/null | sed -n 's/.*Block bitmap at \([0-9]*\).*/\1/p' | head -1)
printf '\0' | dd of=ext.img bs=4096 seek="$bitmap" conv=notrunc status=none
left_alone damaged "a bitmap's checksum"

echo "== FAT12, FAT16, FAT32"
for kind in "12 8" "16 64" "32 80"; do
    read -r bits size <<<"$kind"
    fill fat.img $((size * mib))
    mkfs.fat -F "$bits" fat.img >/dev/null
    mcopy -i fat.img -s files/* ::
    mdel -i fat.img ::sub/f7
    expected=$(mdir -i fat.img :: | grep 'bytes free' | tr -d ' ' | sed 's/bytesfree//')
    expect 0 precompact fat.img --json
    [ "$(state)" = mapped ] || { cat out; fail "fat$bits: not mapped"; }
    [ "$(jq -r '.volumes[0].type' out)" = "fat$bits" ] || fail "fat$bits: $(cat out)"
    [ "$(free_bytes)" = "$expected" ] || fail "fat$bits: $(free_bytes) free, mdir says $expected"
    fsck.fat -n fat.img >fsck.log || { cat fsck.log; fail "fat$bits: fsck.fat after precompact"; }
    rm -rf found && mkdir found && mcopy -i fat.img -s ::* found/
    (cd found && grep -v " ./sub/f7$" ../hashes | sha256sum --quiet -c) || fail "fat$bits: a file changed"
    echo "   fat$bits: $expected bytes free"
done
cp fat.img before.img
printf '\1' | dd of=fat.img bs=1 seek=65 conv=notrunc status=none # FAT32's dirty bit
expect 0 precompact fat.img --json
[ "$(state)" = unclean ] || { cat out; fail "a dirty FAT32 was taken"; }
cp before.img fat.img
printf '\377' | dd of=fat.img bs=1 seek=$((32 * 512 + 40)) conv=notrunc status=none # one of the FATs
expect 0 precompact fat.img --json
[ "$(state)" = damaged ] || { cat out; fail "a FAT32 whose FATs differ was taken"; }

echo "== NTFS"
fill ntfs.img $((64 * mib))
mkntfs -q -F -f -p 0 -H 16 -S 63 ntfs.img >mkntfs.log 2>&1 || { cat mkntfs.log; fail mkntfs; }
for file in large small sub/f1 sub/f2; do ntfscp -q ntfs.img files/$file "$(basename $file)"; done
ntfsinfo -m ntfs.img >info 2>&1 || fail "ntfsinfo: $(tail -1 info)"
clusters=$(sed -n 's/.*Free Clusters: *\([0-9]*\).*/\1/p' info | head -1)
cluster=$(sed -n 's/.*Cluster Size: *\([0-9]*\).*/\1/p' info | head -1)
expect 0 precompact ntfs.img --json
[ "$(state)" = mapped ] || { cat out; fail "ntfs: not mapped"; }
[ -n "$clusters" ] && [ "$(free_bytes)" = $((clusters * cluster)) ] ||
    fail "ntfs: $(free_bytes) free, ntfsinfo says $clusters of $cluster"
ntfsfix -n ntfs.img >fix.log 2>&1 || { cat fix.log; fail "ntfsfix after precompact"; }
for file in large small sub/f1 sub/f2; do
    ntfscat -q ntfs.img "$(basename $file)" | cmp - files/$file || fail "ntfs: $file changed"
done
echo "   ntfs: $(free_bytes) bytes free"
ntfsfix ntfs.img >/dev/null 2>&1 || true # sets the dirty flag
expect 0 precompact ntfs.img --json
[ "$(state)" = unclean ] || { cat out; fail "a dirty NTFS was taken"; }

echo "== partitions: GPT and MBR with logical ones; swap; what is unknown"
truncate -s 300M disk.img
sfdisk -q disk.img <<'END'
label: gpt
start=2048, size=131072, name=root
start=133120, size=65536, type=S
start=198656, size=65536, name=secret
END
fill ext.img $((64 * mib))
mke2fs -q -F -E nodiscard -t ext4 -d files ext.img
dd if=ext.img of=disk.img bs=1M seek=1 conv=notrunc status=none
fill swap.img $((32 * mib))
mkswap -q swap.img 2>/dev/null || mkswap swap.img >/dev/null
dd if=swap.img of=disk.img bs=1M seek=65 conv=notrunc status=none
{ printf 'LUKS\xba\xbe'; head -c $((32 * mib - 6)) /dev/urandom; } |
    dd of=disk.img bs=1M seek=97 conv=notrunc iflag=fullblock status=none
"$vhd" convert --quiet disk.img disk.vhd
before=$(jq .blocksAllocated <("$vhd" info disk.vhd --json))
expect 0 precompact disk.vhd --json
[ "$(jq -c '[.partitionTable, (.volumes[] | [.partition, .name, .type, .state])]' out)" = \
    '["gpt",[1,"root","ext4","mapped"],[2,"","swap","mapped"],[3,"secret","LUKS","unknown"]]' ] || fail "$(cat out)"
after=$(jq .blocksAllocated <("$vhd" info disk.vhd --json))
expect 0 check disk.vhd
[ $((before - after)) -ge 30 ] || fail "$before blocks before, $after after"
echo "   GPT: $before blocks before, $after after"
qemu-img convert -f vpc -O raw disk.vhd after.img
cmp -n $((32 * mib)) -i $((97 * mib)) disk.img after.img || fail "the unknown partition changed"
cmp -n 4096 -i $((65 * mib)) disk.img after.img || fail "swap's header changed"
dd if=after.img of=ext.img bs=1M skip=1 count=64 status=none
e2fsck -fn ext.img >fsck.log 2>&1 || { cat fsck.log; fail "e2fsck of the partition"; }
sgdisk=$(sfdisk --verify after.img 2>&1) || fail "sfdisk: $sgdisk"

truncate -s 300M mbr.img
sfdisk -q mbr.img <<'END'
label: dos
start=2048, size=131072, type=83
start=133120, size=300000, type=5
start=135168, size=65536, type=82
start=202752, size=65536, type=83
END
dd if=ext.img of=mbr.img bs=1M seek=1 conv=notrunc status=none
dd if=swap.img of=mbr.img bs=512 seek=135168 conv=notrunc status=none
expect 0 precompact mbr.img --json
[ "$(jq -c '[.partitionTable, (.volumes[] | [.partition, .type, .state])]' out)" = \
    '["mbr",[1,"ext4","mapped"],[5,"swap","mapped"],[6,"unknown","unknown"]]' ] || fail "$(cat out)"
printf 'S1SUSPEND\0' | dd of=mbr.img bs=1 seek=$((135168 * 512 + 4086)) conv=notrunc status=none
expect 0 precompact mbr.img --json
[ "$(jq -r '.volumes[1].state' out)" = unclean ] || fail "a hibernated swap was taken: $(cat out)"

echo "== damaged tables"
cp disk.img gpt.img
dd if=/dev/zero of=gpt.img bs=512 seek=1 count=33 conv=notrunc status=none
expect 0 precompact gpt.img --dry-run --json # the second copy serves
[ "$(jq '.volumes | length' out)" = 3 ] || fail "the GPT's copy was not used"
dd if=/dev/zero of=gpt.img bs=512 seek=$((300 * 2048 - 33)) count=33 conv=notrunc status=none
expect 1 precompact gpt.img
grep -q "partition table" err || fail "$(cat err)"
echo passed

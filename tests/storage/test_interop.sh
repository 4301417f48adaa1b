#!/bin/bash
# VHDs between us, qemu-img and libvhdi, byte for byte, both ways, over a spread of sizes.
set -eu
cd "$TEST_TMP"
vhd=$BUILD/drover-vhd

fail() { echo "FAILED: $*" >&2; exit 1; }

# A raw disk with data at its start, its end and between, and holes.
make_raw() {
    truncate -s "$2" "$1"
    for at in 0 3 7 64; do
        [ $((at << 20)) -lt $(($2 - 70000)) ] || continue
        head -c 70000 /dev/urandom | dd of="$1" bs=4096 seek=$((at * 256)) conv=notrunc status=none
    done
    printf 'the very end' | dd of="$1" bs=1 seek=$(($2 - 12)) conv=notrunc status=none
}

for size in 512 1048576 $((17 * 1024 * 1024 + 512)) $((300 * 1024 * 1024)) $((9 * 1024 * 1024 * 1024)); do
    rm -f ./*.img ./*.vhd
    make_raw disk.img "$size"
    for type in dynamic fixed; do
        [ $type = dynamic ] || [ "$size" -lt 1000000000 ] || continue # reading gigabytes of zeroes
        echo "== $size bytes, $type: ours"
        "$vhd" convert --quiet disk.img ours.vhd --type $type
        qemu-img compare -f raw -F vpc disk.img ours.vhd || fail "qemu-img reads another content"
        [ "$(qemu-img info -f vpc --output=json ours.vhd | jq '.["virtual-size"]')" = "$size" ] ||
            fail "qemu-img reads another size"
        vhdiinfo ours.vhd | grep -q "($size bytes)\|: $size bytes" || {
            vhdiinfo ours.vhd
            fail "libvhdi reads another size"
        }
        echo "== $size bytes, $type: qemu-img's"
        qemu-img convert -f raw -O vpc -o subformat=$type,force_size=on disk.img theirs.vhd
        "$vhd" convert --quiet theirs.vhd theirs.img --type raw
        qemu-img compare -f raw -F raw disk.img theirs.img || fail "we read another content"
        rm -f ours.vhd theirs.vhd theirs.img
    done
    # without force_size qemu-img rounds up to a whole geometry, and so must we read it
    qemu-img convert -f raw -O vpc disk.img rounded.vhd
    "$vhd" convert --quiet rounded.vhd rounded.img --type raw
    qemu-img compare -f vpc -F raw rounded.vhd rounded.img || fail "a rounded disk differs"
    [ "$(stat -c %s rounded.img)" = "$(qemu-img info -f vpc --output=json rounded.vhd | jq '.["virtual-size"]')" ] ||
        fail "a rounded disk's size differs"
done

echo "== whose disk has which size: by creator"
# sign FILE CREATOR: another creator in its footers, with the checksum that goes with it
sign() {
    python3 - "$1" "$2" <<'PY'
import sys
path, creator = sys.argv[1], sys.argv[2].encode().replace(b"_", b" ").replace(b"0", b"\0")
with open(path, "r+b") as file:
    file.seek(-512, 2)
    for at in {0, file.tell()}:
        file.seek(at)
        footer = bytearray(file.read(512))
        if footer[:8] != b"conectix":
            continue
        footer[28:32] = creator
        footer[64:68] = bytes(4)
        footer[64:68] = (~sum(footer) & 0xffffffff).to_bytes(4, "big")
        file.seek(at)
        file.write(footer)
PY
}
for size in 3M 1000000512 33G 200G; do # the last is beyond the geometry's reach
    for type in dynamic fixed; do
        rm -f creator.vhd
        "$vhd" create creator.vhd --size $size --type $type
        for creator in vpc_ vs__ qemu qem2 win_ d2v_ tap0 CTXS abcd 0000; do
            sign creator.vhd $creator
            ours=$("$vhd" info --json creator.vhd | jq .virtualSize)
            theirs=$(qemu-img info -f vpc --output=json creator.vhd | jq '.["virtual-size"]')
            [ "$ours" = "$theirs" ] || fail "creator $creator, $size, $type: $ours bytes here, $theirs in qemu-img"
        done
        # newer than this qemu-img, or not its to say: both keep the exact size in the footer
        for creator in wa00 vbox; do
            sign creator.vhd $creator
            exact=$("$vhd" info --json creator.vhd | jq .virtualSize)
            sign creator.vhd win_
            [ "$exact" = "$("$vhd" info --json creator.vhd | jq .virtualSize)" ] || fail "creator $creator: $exact bytes"
        done
    done
done

echo "== libvhdi reads our bytes"
if [ -c /dev/fuse ] && command -v vhdimount >/dev/null; then
    rm -f ./*.img ./*.vhd
    make_raw disk.img $((20 * 1024 * 1024))
    "$vhd" convert --quiet disk.img ours.vhd
    mkdir mnt
    if vhdimount ours.vhd mnt >/dev/null 2>mount.log; then
        cmp disk.img mnt/vhdi1 || { umount mnt; fail "libvhdi reads another content"; }
        umount mnt
    else
        echo "(not done: vhdimount cannot mount here: $(cat mount.log))"
    fi
else
    echo "(not done: no FUSE here)"
fi

echo "== errors are one line that names the file"
printf 'not a disk' >text
for arguments in "info text" "info missing.vhd" "convert text out.vhd" "create a.vhd --size 1X" \
    "create a.vhd" "bogus" "info" "convert disk.img" "create . --size 1M"; do
    # shellcheck disable=SC2086
    if "$vhd" $arguments >out 2>err; then fail "drover-vhd $arguments did not fail"; fi
    [ "$(wc -l <err)" = 1 ] || { cat err; fail "drover-vhd $arguments: more than one line"; }
done
[ ! -e out.vhd ] && [ ! -e a.vhd ] || fail "a failed command left a file"

echo "== a full file system loses nothing"
if mkdir full && mount -t tmpfs -o size=3m tmpfs full 2>/dev/null; then
    "$vhd" create full/small.vhd --size 1G
    head -c 8388608 /dev/urandom >disk.img
    if "$vhd" convert --quiet disk.img full/copy.vhd 2>err; then umount full; fail "it fitted"; fi
    grep -q "No space left" err || { umount full; cat err; fail "no word of the reason"; }
    [ ! -e full/copy.vhd ] || { umount full; fail "half a copy was left"; }
    "$vhd" info full/small.vhd >/dev/null
    umount full
else
    echo "(not done: no tmpfs can be mounted here)"
fi
echo passed

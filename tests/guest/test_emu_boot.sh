#!/bin/bash
# What SeaBIOS boots beside disks: an isolinux CD with Debian's kernel, a GRUB rescue CD, and iPXE
# over the network from a TFTP folder; and the order that --boot-order gives.
set -u
cd "$(dirname "$0")/../.."
emu=$BUILD/drover-emu
guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/vmlinuz" ] || { echo "skipped: $guest/vmlinuz is not there (make guest)"; exit 77; }
# A network namespace of our own keeps the ports to ourselves.
if [ "${IN_NAMESPACE:-}" != yes ] && unshare -n true 2>/dev/null; then
    IN_NAMESPACE=yes exec unshare -n "$0"
fi
[ "${IN_NAMESPACE:-}" = yes ] && ip link set lo up
failed=0
fail() { echo "FAIL: $*"; failed=1; }

cat >"$tmp/script" <<'SCRIPT'
echo "result disc: $(mount -t iso9660 -o ro /dev/sr0 /mnt && md5sum </mnt/payload | cut -c 1-32)"
umount /mnt
echo "change it"
for i in $(seq 200); do
    mount -t iso9660 -o ro /dev/sr0 /mnt 2>/dev/null && [ -e /mnt/second ] && break
    umount /mnt 2>/dev/null
    usleep 100000
done
echo "result second: $(md5sum </mnt/second | cut -c 1-32)"
SCRIPT
tests/guest/initrd.sh "$tmp/initrd.gz" "$tmp/script" ata_piix sr_mod isofs || exit 1

mkdir -p "$tmp/cd/isolinux" "$tmp/second"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$tmp/cd/isolinux/"
cp "$guest/vmlinuz" "$tmp/initrd.gz" "$tmp/cd/"
head -c 2000000 /dev/urandom >"$tmp/cd/payload"
head -c 2000000 /dev/urandom >"$tmp/second/second"
cat >"$tmp/cd/isolinux/isolinux.cfg" <<'CFG'
SERIAL 0 115200
DEFAULT linux
PROMPT 0
LABEL linux
  KERNEL /vmlinuz
  INITRD /initrd.gz
  APPEND console=ttyS0,115200 panic=-1
CFG
xorriso -as mkisofs -quiet -R -o "$tmp/isolinux.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
    -no-emul-boot -boot-load-size 4 -boot-info-table "$tmp/cd" 2>"$tmp/xorriso" || { cat "$tmp/xorriso"; exit 1; }
xorriso -as mkisofs -quiet -R -o "$tmp/second.iso" "$tmp/second" 2>"$tmp/xorriso"

# An empty disk comes first in the order: the BIOS goes on to the CD.
truncate -s 4M "$tmp/empty.img"
"$emu" --memory 256M --disk "file=$tmp/empty.img,bus=ide,format=raw" --cdrom "$tmp/isolinux.iso" \
    --no-reboot --serial "file:$tmp/isolinux.log" --control "ipc://$tmp/control" --allow "$tmp" &
pid=$!
# Only a hang takes so long.
for _ in $(seq 900); do
    grep -aq "change it" "$tmp/isolinux.log" 2>/dev/null && break
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
timeout 20 "$emu" ctl "$tmp/control" change-disc 0 "$tmp/second.iso" || fail "change-disc"
timeout 20 "$emu" ctl "$tmp/control" change-disc 7 none 2>/dev/null && fail "there is no drive 7"
for _ in $(seq 600); do
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
kill -KILL $pid 2>/dev/null && fail "the isolinux CD's Linux does not end"
wait $pid 2>/dev/null
value() { tr -d '\r' <"$tmp/isolinux.log" | sed -n "s/^result $1: //p"; }
[ "$(value disc)" = "$(md5sum <"$tmp/cd/payload" | cut -c 1-32)" ] || fail "the disc reads otherwise: $(value disc)"
[ "$(value second)" = "$(md5sum <"$tmp/second/second" | cut -c 1-32)" ] || fail "the second disc reads otherwise"

# wait_for LOG TEXT: only a hang takes so long.
wait_for() {
    for _ in $(seq 900); do
        grep -aq -- "$2" "$1" 2>/dev/null && return
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    fail "$1 never says \"$2\""
    tail -n 20 "$1"
}
ctl() { timeout 20 "$emu" ctl "$tmp/control" "$@"; }

mkdir -p "$tmp/grub/boot/grub" "$tmp/tftp"
cat >"$tmp/grub/boot/grub/grub.cfg" <<'CFG'
serial --unit=0 --speed=115200
terminal_input console
terminal_output console serial
echo "hello from GRUB, with $grub_platform"
echo "what is it?"
read what
echo "it is: $what"
sleep --interruptible 60
CFG
if grub-mkrescue -o "$tmp/grub.iso" "$tmp/grub" >"$tmp/mkrescue" 2>&1; then
    "$emu" --memory 128M --no-reboot --serial "file:$tmp/grub.log" --cdrom "$tmp/grub.iso" \
        --control "ipc://$tmp/control" &
    pid=$!
    wait_for "$tmp/grub.log" "hello from GRUB, with pc"
    wait_for "$tmp/grub.log" "what is it?"
    ctl type 'A "quick" brown_fox: 42%?' || fail "type"
    ctl key enter || fail "key"
    ctl key no-such-key 2>/dev/null && fail "there is no such key"
    wait_for "$tmp/grub.log" 'it is: A "quick" brown_fox: 42%?'
    ctl text >"$tmp/screen.txt" || fail "text"
    grep -q 'it is: A "quick" brown_fox: 42%?$' "$tmp/screen.txt" || { cat "$tmp/screen.txt"; fail "the screen's text"; }
    ctl mouse 10 -10 1 || fail "mouse"
    kill -KILL $pid
    wait $pid 2>/dev/null
else
    tail -n 3 "$tmp/mkrescue"
    fail "grub-mkrescue"
fi

# The largest firmware there may be: SeaBIOS at the end of 16 MiB.
(head -c $((16 * 1024 * 1024 - 262144)) /dev/zero && cat /usr/share/seabios/bios-256k.bin) >"$tmp/large.bin"
"$emu" --memory 64M --firmware "$tmp/large.bin" --debugcon "file:$tmp/large.log" &
pid=$!
wait_for "$tmp/large.log" "Booting from"
kill -KILL $pid
wait $pid 2>/dev/null

# What TFTP gives is a script; that it ran is seen by what it fetches over HTTP.
printf '#!ipxe\nimgfetch http://10.0.2.2:8123/hello-from-${net0/chip}\npoweroff\n' >"$tmp/tftp/script.ipxe"
(cd "$tmp/tftp" && exec python3 -u -m http.server 8123 >"$tmp/http.log" 2>&1) &
server=$!
for model in virtio e1000; do
    "$emu" --memory 128M --no-reboot --debugcon "file:$tmp/pxe-$model.bios" --boot-order n \
        --net "user,model=$model,tftp=$tmp/tftp,bootfile=script.ipxe" &
    pid=$!
    for _ in $(seq 900); do
        [ "$(grep -c hello-from "$tmp/http.log")" -ge $([ $model = virtio ] && echo 1 || echo 2) ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL $pid 2>/dev/null
    wait $pid 2>/dev/null
done
kill -KILL $server
wait $server 2>/dev/null
grep -q "hello-from-virtio-net" "$tmp/http.log" || fail "iPXE did not run on the virtio card: $(cat "$tmp/http.log")"
grep -q "hello-from-82540" "$tmp/http.log" || fail "iPXE did not run on the e1000"

[ $failed -eq 0 ] && echo "an isolinux CD, its change, a GRUB CD and iPXE with two cards"
exit $failed

#!/bin/bash
# What SeaBIOS boots beside disks: an isolinux CD with Debian's kernel, a GRUB rescue CD, and iPXE
# over the network from a TFTP folder; and the order that --boot-order gives.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
own_network

cat >"$tmp/script" <<'SCRIPT'
echo "result disc: $(mount -t iso9660 -o ro /dev/sr0 /mnt && md5sum </mnt/payload | cut -c 1-32)"
umount /mnt
echo "change it"
while true; do
    mount -t iso9660 -o ro /dev/sr0 /mnt 2>/dev/null && [ -e /mnt/second ] && break
    umount /mnt 2>/dev/null
    usleep 100000
done
echo "result second: $(md5sum </mnt/second | cut -c 1-32)"
SCRIPT
initrd "$tmp/script" ata_piix sr_mod isofs

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
start --memory 256M --disk "file=$tmp/empty.img,bus=ide,format=raw" --cdrom "$tmp/isolinux.iso" \
    --no-reboot --serial "file:$log" --control "ipc://$tmp/control" --allow "$tmp"
wait_for "$log" "change it"
ctl change-disc 0 "$tmp/second.iso" || fail "change-disc"
ctl change-disc 7 none 2>/dev/null && fail "there is no drive 7"
wait_end
[ "$(value disc)" = "$(md5sum <"$tmp/cd/payload" | cut -c 1-32)" ] || fail "the disc reads otherwise: $(value disc)"
[ "$(value second)" = "$(md5sum <"$tmp/second/second" | cut -c 1-32)" ] || fail "the second disc reads otherwise"

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
    start --memory 128M --no-reboot --serial "file:$tmp/grub.log" --cdrom "$tmp/grub.iso" \
        --control "ipc://$tmp/control"
    wait_for "$tmp/grub.log" "hello from GRUB, with pc"
    wait_for "$tmp/grub.log" "what is it?"
    ctl type 'A "quick" brown_fox: 42%?' || fail "type"
    ctl key enter || fail "key"
    ctl key no-such-key 2>/dev/null && fail "there is no such key"
    wait_for "$tmp/grub.log" 'it is: A "quick" brown_fox: 42%?'
    ctl text >"$tmp/screen.txt" || fail "text"
    grep -q 'it is: A "quick" brown_fox: 42%?$' "$tmp/screen.txt" || { cat "$tmp/screen.txt"; fail "the screen's text"; }
    ctl mouse 10 -10 1 || fail "mouse"
    end_machine
else
    tail -n 3 "$tmp/mkrescue"
    fail "grub-mkrescue"
fi

# The largest firmware there may be: SeaBIOS at the end of 16 MiB.
(head -c $((16 * 1024 * 1024 - 262144)) /dev/zero && cat /usr/share/seabios/bios-256k.bin) >"$tmp/large.bin"
start --memory 64M --firmware "$tmp/large.bin" --debugcon "file:$tmp/large.log"
wait_for "$tmp/large.log" "Booting from"
end_machine

# What TFTP gives is a script; that it ran is seen by what it fetches over HTTP.
printf '#!ipxe\nimgfetch http://10.0.2.2:8123/hello-from-${net0/chip}\npoweroff\n' >"$tmp/tftp/script.ipxe"
(cd "$tmp/tftp" && exec python3 -u -m http.server 8123 >"$tmp/http.log" 2>&1) &
processes+=($!)
fetched() { [ "$(grep -c hello-from "$tmp/http.log")" -ge "$1" ]; }
times=0
for model in virtio e1000; do
    times=$((times + 1))
    start --memory 128M --no-reboot --debugcon "file:$tmp/pxe-$model.bios" --boot-order n \
        --net "user,model=$model,tftp=$tmp/tftp,bootfile=script.ipxe"
    wait_until fetched $times
    end_machine
done
grep -q "hello-from-virtio-net" "$tmp/http.log" || fail "iPXE did not run on the virtio card: $(cat "$tmp/http.log")"
grep -q "hello-from-82540" "$tmp/http.log" || fail "iPXE did not run on the e1000"
end_test "an isolinux CD, its change, a GRUB CD and iPXE with two cards"

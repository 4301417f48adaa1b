#!/bin/bash
# Debian 12's kernels, amd64 and i386 (with and without PAE), boot from an IDE and from a virtio disk
# to a shell on the disk's root file system. There each network card takes a lease, pings, and
# fetches a file. Every system is booted once at a stretch, and once saved and restored in between.
#
# SYSTEM_FLAVOURS and SYSTEM_WAYS choose some of them.
. "$(dirname "$0")/system_lib.sh"
flavours=${SYSTEM_FLAVOURS:-amd64 686 686-pae}
ways=${SYSTEM_WAYS:-ide:at-a-stretch ide:restored virtio:at-a-stretch virtio:restored}
for flavour in $flavours; do
    arch=i386
    [ "$flavour" = amd64 ] && arch=amd64
    system_kernel "$flavour" $arch >/dev/null || skip "there is no kernel $flavour to be had"
    system_package busybox-static $arch >/dev/null || skip "there is no busybox for $arch to be had"
done
own_network

serve_payload

# make_disk FLAVOUR DISK: the initramfs waits for the disk named by root= and goes there.
make_disk() {
    local arch=i386 tree=$tmp/tree applet
    [ "$1" = amd64 ] && arch=amd64
    local busybox=$systems/busybox-static-$arch/bin/busybox
    cat >"$tmp/init" <<'INIT'
root=$(sed 's/.*root=\([^ ]*\).*/\1/' /proc/cmdline)
until [ -b "$root" ]; do usleep 100000; done
mount -t ext4 "$root" /mnt && for dir in dev proc sys; do mount --move /$dir /mnt/$dir; done
exec switch_root /mnt /sbin/init
INIT
    KERNEL=$systems/kernel-$1 BUSYBOX=$busybox tests/guest/initrd.sh "$tmp/initrd.gz" "$tmp/init" virtio_pci \
        virtio_blk virtio_net e1000 tulip ata_piix sd_mod ext4 crc32c_generic || return 1
    rm -rf "$tree"
    mkdir -p "$tree"/{bin,sbin,dev,proc,sys,tmp,etc/udhcpc,root}
    cp "$busybox" "$tree/bin/busybox"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
    done
    ln -s ../bin/busybox "$tree/sbin/init"
    cp tests/guest/cards-guest.sh "$tree/cards"
    printf '#!/bin/sh\n[ "$1" = bound ] || [ "$1" = renew ] || exit 0\nip addr flush dev "$interface"\nip addr add "$ip/${mask:-24}" dev "$interface"\n' \
        >"$tree/etc/udhcpc/default.script"
    chmod 755 "$tree/etc/udhcpc/default.script"
    cat >"$tree/etc/inittab" <<'TAB'
::sysinit:/bin/mount -o remount,rw /
::sysinit:/bin/ip link set lo up
ttyS0::respawn:-/bin/sh
::shutdown:/bin/umount -r /
TAB
    system_disk "$tmp/disk.img" "$(echo "$systems/kernel-$1"/boot/vmlinuz-*)" "$tmp/initrd.gz" "$tree" \
        "console=ttyS0,115200 panic=-1 root=/dev/${2}2"
}

# one FLAVOUR BUS SAVED
one() {
    local flavour=$1 bus=$2 saved=$3 card
    say "Debian $flavour on $bus, $saved"
    make_disk "$flavour" "$([ "$bus" = ide ] && echo sda || echo vda)" || { fail "no disk for $flavour"; return; }
    system_start "$flavour-$bus-$saved" --memory 256M --cpus 2 --disk "file=$tmp/disk.img,bus=$bus,format=raw" \
        --name here --uuid 00112233-4455-6677-8899-aabbccddeeff \
        --no-reboot --net user,model=virtio,mac=52:54:00:00:00:01 \
        --net user,model=e1000,mac=52:54:00:00:00:02 --net user,model=tulip,mac=52:54:00:00:00:03
    if [ "$saved" = restored ]; then
        wait_for "PCI: Using configuration type 1" && system_save_restore
        wait_for "Run /init as init process" && system_save_restore
    fi
    wait_for "BusyBox v.*built-in shell" && guest ". /cards" || { system_kill; return; }
    guest "uname -m; grep -c processor /proc/cpuinfo; findmnt / 2>/dev/null || grep ' / ' /proc/mounts; echo written >/here; sync"
    case $flavour in amd64) wanted=x86_64 ;; *) wanted=i686 ;; esac
    [ "$(head -n 1 <<<"$output")" = "$wanted" ] || fail "the kernel is \"$(head -n 1 <<<"$output")\", not $wanted"
    [ "$(sed -n 2p <<<"$output")" = 2 ] || fail "$flavour has not two CPUs: $output"
    grep -q "ext4" <<<"$output" || fail "the root is not the disk's: $output"
    guest "cd /sys/class/dmi/id; cat sys_vendor product_name product_serial product_uuid; cd /"
    [ "$(echo $output)" = "Drover Drover here 00112233-4455-6677-8899-aabbccddeeff" ] || fail "$flavour reads of its machine: $output"
    for card in virtio:1 e1000:2 tulip:3; do
        guest "try_card ${card%:*} 52:54:00:00:00:0${card#*:}"
        for line in "lease: 10.0.2.15" "ping: yes" "http: $sum"; do
            grep -q "^result ${card%:*} $line" <<<"$output" || fail "$flavour on $bus, ${card%:*}: no \"$line\" in: $output"
        done
    done
    [ "$saved" = at-a-stretch ] || system_save_restore
    guest "cat /here" && [ "$output" = written ] || fail "$flavour on $bus: the disk forgets: $output"
    complaints || fail "the kernel complains"
    echo poweroff >&8
    system_stop
    dd if="$tmp/disk.img" of="$tmp/root.img" bs=1M skip=41 count=64 status=none
    e2fsck -fn "$tmp/root.img" >"$tmp/e2fsck" 2>&1 || { cat "$tmp/e2fsck"; fail "e2fsck of $flavour on $bus"; }
}
for flavour in $flavours; do
    for way in $ways; do
        one "$flavour" "${way%:*}" "${way#*:}"
    done
done
end_test "Debian's kernels $flavours with three cards, on $ways"

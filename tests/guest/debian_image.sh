#!/bin/bash
# Makes a disk with a whole Debian 12 on it, as mmdebstrap installs it: no mount, no loop device, and no
# root where user namespaces are to be had.
#
#   tests/guest/debian_image.sh OUT.vhd      (BUILD names the build folder)
#
# MBR -> GRUB in the gap -> Linux, initramfs and systemd from the ext4 file system in partition 1, at
# 1 MiB. Root has no password. The network is systemd-networkd's, by DHCP.
set -euo pipefail
out=$1
export PATH=$PATH:/sbin:/usr/sbin LC_ALL=C
work=$(mktemp -d "$(dirname "$out")/debian.XXXXXX")
trap 'rm -rf "$work"' EXIT
mode=unshare
[ "$(id -u)" -ne 0 ] || mode=root
start=2048 sectors=$((2 * 1024 * 1024 * 2 - 2048))
uuid=c5b2d7a4-6f0e-4d0b-9a35-6d726f766572

# Before the kernel is installed, so that the initramfs has what the root file system needs.
cat >"$work/essential" <<HOOK
#!/bin/sh
echo 'UUID=$uuid / ext4 errors=remount-ro 0 1' >"\$1/etc/fstab"
HOOK
cat >"$work/customize" <<HOOK
#!/bin/sh
set -e
sed -i 's|^root:[^:]*|root:|' "\$1/etc/shadow"
echo drover >"\$1/etc/hostname"
printf '127.0.0.1 localhost drover\n' >"\$1/etc/hosts"
printf '[Match]\nType=ether\n[Network]\nDHCP=yes\n' >"\$1/etc/systemd/network/lan.network"
systemctl --root "\$1" enable systemd-networkd >/dev/null 2>&1
mkdir -p "\$1/boot/grub"
cat >"\$1/boot/grub/grub.cfg" <<'GRUB'
serial --unit=0 --speed=115200
terminal_output console serial
echo "GRUB starts Debian"
linux /vmlinuz root=UUID=$uuid ro console=tty0 console=ttyS0,115200
initrd /initrd.img
boot
GRUB
HOOK
chmod 755 "$work/essential" "$work/customize"
mmdebstrap --quiet --mode=$mode --skip=output/dev --variant=minbase \
    --include=systemd-sysv,udev,dbus,libpam-systemd,login,kmod,linux-image-amd64,initramfs-tools,zstd,e2fsprogs,iproute2,iputils-ping,procps,stress-ng \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --essential-hook="$work/essential" --customize-hook="$work/customize" bookworm "$work/tree.tar" >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    exit 1
}
as_owner=()
[ $mode = root ] || as_owner=(fakeroot) # so that the tree's owners are kept
mkdir "$work/tree"
truncate -s $((sectors * 512)) "$work/root.img"
"${as_owner[@]}" sh -c 'tar -C "$1" -xf "$2" && mkdir -p "$1/dev" && mke2fs -qF -t ext4 -U "$3" -d "$1" "$4"' sh \
    "$work/tree" "$work/tree.tar" $uuid "$work/root.img"
rm -rf "$work/tree.tar" "$work/tree"

truncate -s $(((start + sectors) * 512)) "$work/disk.img"
echo "start=$start, size=$sectors, type=83, bootable" | sfdisk -q --label dos "$work/disk.img"
grub-mkimage -O i386-pc -p '(hd0,msdos1)/boot/grub' -o "$work/core.img" biosdisk part_msdos ext2 normal linux \
    serial terminal echo boot
[ "$(stat -c %s "$work/core.img")" -lt $(((start - 1) * 512)) ]
dd if=/usr/lib/grub/i386-pc/boot.img of="$work/disk.img" bs=440 count=1 conv=notrunc status=none
dd if="$work/core.img" of="$work/disk.img" bs=512 seek=1 conv=notrunc status=none
dd if="$work/root.img" of="$work/disk.img" bs=1M seek=1 conv=notrunc,sparse status=none
"$BUILD/drover-vhd" convert --quiet "$work/disk.img" "$work/disk.vhd" --type dynamic
mv "$work/disk.vhd" "$out"

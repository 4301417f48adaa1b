#!/bin/bash
# Builds the demo's guest from Debian packages: no root, no mount, no loop device.
#
#   deploy/guest/build.sh DIRECTORY      (DROVER_VHD names our drover-vhd)
#
# Leaves in DIRECTORY: vmlinuz, initrd.gz and hello.vhd, a partitioned disk that boots
# SeaBIOS -> MBR -> syslinux (FAT partition 1) -> Linux (ext4 partition 2).
set -euo pipefail

source_dir=$(cd "$(dirname "$0")" && pwd)
out=${1:?the directory to build in}
drover_vhd=$(realpath "${DROVER_VHD:?the drover-vhd to write the disk with}")
mkdir -p "$out"
cd "$out"
export PATH=$PATH:/sbin:/usr/sbin LC_ALL=C
umask 022

say() { echo "  GUEST   $*"; }
die() { echo "guest: $*" >&2; exit 1; }

# Modules beyond what Debian's kernel has built in; what they depend on comes along.
modules="ata_piix ata_generic sd_mod ext4 crc32c_generic button evdev"

fetch_kernel() {
    local package download
    package=$(apt-cache depends linux-image-amd64 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -n 1)
    if [ -z "$package" ] && [ "$(id -u)" -eq 0 ]; then
        apt-get update >/dev/null
        package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -n 1)
    fi
    [ -n "$package" ] || die "apt knows no linux-image-amd64; run apt-get update first"
    say "downloading $package"
    download=$(mktemp -d)
    chmod 755 "$download"
    (cd "$download" && apt-get -o APT::Sandbox::User="$(id -un)" download "$package" >apt.log 2>&1) ||
        die "apt-get download $package failed: $(tail -n 1 "$download/apt.log")"
    rm -rf kernel
    dpkg-deb -x "$download"/*.deb kernel
    rm -rf "$download"
}

# Prints the named modules' files, each after those it depends on.
module_files() {
    local dep=$1 name path
    shift
    for name in "$@"; do
        path=$(sed -n "s|^\([^:]*/${name//_/[-_]}\.ko\):.*|\1|p" "$dep")
        [ -n "$path" ] || die "Debian's kernel has no module $name"
        # modules.dep names the nearest dependency first, so reversed they load in order.
        sed -n "s|^$path: *||p" "$dep" | tr ' ' '\n' | tac | grep . || true
        echo "$path"
    done | awk '!seen[$0]++'
}

build_initramfs() {
    local tree=initramfs version dep n=10 file
    version=$(basename kernel/lib/modules/*)
    dep=kernel/lib/modules/$version/modules.dep
    [ -s "$dep" ] || busybox depmod -b kernel "$version"
    rm -rf $tree
    mkdir -p $tree/{bin,dev,proc,sys,root,modules}
    cp /bin/busybox $tree/bin/
    install -m 755 "$source_dir/initramfs-init" $tree/init
    for file in $(module_files "$dep" $modules); do
        cp "kernel/lib/modules/$version/$file" "$tree/modules/$n-$(basename "$file")"
        n=$((n + 1))
    done
    (cd $tree && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -9n >initrd.gz
}

build_root() {
    local tree=root applet
    rm -rf $tree
    mkdir -p $tree/{bin,sbin,dev,proc,sys,tmp,root,var/log,etc/acpi/PWRF,usr/bin,usr/sbin}
    cp /bin/busybox $tree/bin/
    for applet in $(busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "$tree/bin/$applet"
    done
    ln -s ../bin/busybox $tree/sbin/init
    install -m 755 "$source_dir/rc" $tree/etc/rc
    install -m 644 "$source_dir/inittab" $tree/etc/inittab
    install -m 755 "$source_dir/power-button" $tree/etc/acpi/PWRF/00000080
    echo 'root::0:0:root:/root:/bin/sh' >$tree/etc/passwd
    echo 'root:x:0:' >$tree/etc/group
    rm -f root.img
    truncate -s 64M root.img
    mke2fs -qF -t ext4 -L root -E root_owner=0:0 -d $tree root.img
}

# Sectors: 1 MiB of partition table and gap, 32 MiB FAT, 64 MiB ext4.
build_disk() {
    local fat_start=2048 fat_sectors=65536 root_start=67584 root_sectors=131072
    local mbr=/usr/lib/syslinux/mbr/mbr.bin
    rm -f disk.img fat.img hello.vhd
    truncate -s $(((root_start + root_sectors) * 512)) disk.img
    sfdisk -q disk.img <<TABLE
label: dos
start=$fat_start, size=$fat_sectors, type=c, bootable
start=$root_start, size=$root_sectors, type=83
TABLE
    dd if=$mbr of=disk.img bs=440 count=1 conv=notrunc status=none
    truncate -s $((fat_sectors * 512)) fat.img
    mkfs.vfat -h $fat_start -n BOOT fat.img >/dev/null
    export MTOOLS_SKIP_CHECK=1
    mcopy -i fat.img vmlinuz ::vmlinuz
    mcopy -i fat.img initrd.gz ::initrd.gz
    mcopy -i fat.img "$source_dir/syslinux.cfg" ::syslinux.cfg
    syslinux --install fat.img
    dd if=fat.img of=disk.img bs=512 seek=$fat_start conv=notrunc,sparse status=none
    dd if=root.img of=disk.img bs=512 seek=$root_start conv=notrunc,sparse status=none
    "$drover_vhd" convert --quiet disk.img hello.vhd.part --type dynamic
    mv hello.vhd.part hello.vhd
    rm -f disk.img fat.img root.img
}

[ -f kernel/complete ] || { fetch_kernel && touch kernel/complete; }
cp kernel/boot/vmlinuz-* vmlinuz
rm -f hello.vhd.part
say "initramfs"
build_initramfs
say "root file system"
build_root
say "hello.vhd"
build_disk

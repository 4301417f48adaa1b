#!/bin/bash
# Makes an initramfs for a device test: busybox, modules of Debian's kernel, and a script as init.
#
#   tests/guest/initrd.sh OUT SCRIPT MODULE...      (BUILD names the build folder)
#
# KERNEL and BUSYBOX name another kernel's unpacked package and another architecture's busybox.
#
# The modules are loaded in the order given, each after what it depends on, with the parameters that
# the kernel's command line has for them (NAME.PARAMETER=VALUE). SCRIPT runs with /proc,
# /sys and /dev mounted and all of busybox's applets in /bin; the machine powers off at its end.
set -euo pipefail
out=$1 script=$2
shift 2
kernel=${KERNEL:-$BUILD/guest/kernel}
version=$(basename "$kernel"/lib/modules/*)
dep=$kernel/lib/modules/$version/modules.dep
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT

mkdir -p "$tree"/{bin,dev,proc,sys,tmp,mnt,modules,etc/udhcpc}
cp "${BUSYBOX:-/bin/busybox}" "$tree/bin/busybox"
n=100
for name in "$@"; do
    path=$(sed -n "s|^\([^:]*/${name//_/[-_]}\.ko\):.*|\1|p" "$dep")
    [ -n "$path" ] || { echo "initrd: Debian's kernel has no module $name" >&2; exit 1; }
    sed -n "s|^$path: *||p" "$dep" | tr ' ' '\n' | tac | grep . || true
    echo "$path"
done | awk '!seen[$0]++' >"$tree/list"
while read -r path; do
    cp "$kernel/lib/modules/$version/$path" "$tree/modules/$n-$(basename "$path")"
    n=$((n + 1))
done <"$tree/list"
rm "$tree/list"
cat >"$tree/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    name=$(basename "$module" .ko | sed 's/^[0-9]*-//; s/-/_/g')
    insmod "$module" $(tr ' ' '\n' </proc/cmdline | sed -n "s/^$name\.//p") || echo "cannot load $module"
done
. /script
poweroff -f
INIT
# What udhcpc does with a lease.
cat >"$tree/etc/udhcpc/default.script" <<'LEASE'
#!/bin/busybox sh
[ "$1" = bound ] || [ "$1" = renew ] || exit 0
ip addr flush dev "$interface"
ip addr add "$ip/${mask:-24}" dev "$interface"
echo "$router" >"/tmp/router-$interface"
echo "$dns" >"/tmp/dns-$interface"
echo "$boot_file" >"/tmp/bootfile-$interface"
LEASE
chmod 755 "$tree/init" "$tree/etc/udhcpc/default.script"
cp "$script" "$tree/script"
(cd "$tree" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1n >"$out"

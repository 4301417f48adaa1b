#!/bin/bash
# The legacy interface (0.9.5) of the virtio devices, with Debian's drivers made to use it: disk,
# network card, console, entropy and balloon.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
cat >"$tmp/script" <<'SCRIPT'
result() { echo "result $1: $2"; }
# Feature 32 is what a modern device has.
result "modern" "$(for path in /sys/bus/virtio/devices/*; do cut -c 33 "$path/features"; done | sort -u | tr '\n' ' ')"
result "devices" "$(for path in /sys/bus/virtio/devices/*; do basename "$(readlink "$path/driver")"; done | sort | tr '\n' ' ')"
card=$(basename "$(readlink -f /sys/bus/virtio/drivers/virtio_net/virtio*/net/*)")
ip link set "$card" up
udhcpc -i "$card" -n -q -t 10 >/dev/null 2>&1
result "lease" "$(ip -4 addr show dev "$card" | sed -n 's/.*inet \([0-9.]*\).*/\1/p')"
ping -c 2 -s 1400 -W 60 10.0.2.2 >/dev/null 2>&1 && result "ping" yes
dd if=/dev/urandom of=/payload bs=64k count=32 2>/dev/null
mke2fs /dev/vda >/dev/null 2>&1
mount -t ext4 /dev/vda /mnt && cp /payload /mnt/payload && umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 /dev/vda /mnt && cmp /payload /mnt/payload && result "disk" same
umount /mnt
result "entropy" "$(cat /sys/class/misc/hw_random/rng_current) $(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
echo "hello over hvc0" >/dev/hvc0
free_kib() { sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
before=$(free_kib)
echo "balloon now"
while [ $(free_kib) -ge $((before - 20000)) ]; do usleep 100000; done
result balloon inflated
sleep 1
dmesg | grep -E "BUG:|Oops|rcu.*stall|soft lockup|NETDEV WATCHDOG" && result "kernel" "complains"
result "end" yes
SCRIPT
initrd "$tmp/script" virtio_pci virtio_blk virtio_net virtio_console virtio-rng virtio_balloon ext4 crc32c_generic
truncate -s 24M "$tmp/disk.img"
start --memory 128M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
    --append "console=ttyS0 panic=-1 virtio_pci.force_legacy=1" --no-reboot --serial "file:$log" \
    --control "ipc://$tmp/control" --net user,model=virtio --disk "file=$tmp/disk.img,bus=virtio,format=raw" \
    --console "file:$tmp/hvc0" --device rng --device balloon
wait_for "$log" "balloon now"
ctl balloon 80 || fail "balloon"
wait_end
check modern "0 "
check devices "virtio_balloon virtio_blk virtio_console virtio_net virtio_rng "
check lease 10.0.2.15
check ping yes
check disk same
check entropy "virtio_rng.0 64"
check balloon inflated
check kernel ""
check end yes
[ "$(tr -d '\r' <"$tmp/hvc0")" = "hello over hvc0" ] || fail "hvc0 says \"$(cat "$tmp/hvc0")\""
e2fsck -fn "$tmp/disk.img" >"$tmp/e2fsck" 2>&1 || { cat "$tmp/e2fsck"; fail "e2fsck of the disk"; }
end_test "five devices through the legacy interface" "$log"

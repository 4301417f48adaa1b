# What the guest of test_emu_devices.sh does; run by the initramfs that initrd.sh makes.
# Prints lines of "result NAME: VALUE" for the host to check.
dd if=/dev/urandom of=/payload bs=64k count=16 2>/dev/null
result "payload" "$(md5sum </payload | cut -c 1-32)"
try_card virtio 52:54:00:00:00:01
try_card e1000 52:54:00:00:00:02
try_card tulip 52:54:00:00:00:03

# The bridge: checksums and segmentation are left to the host, both ways.
for path in /sys/class/net/*; do
    [ "$(cat "$path/address")" = 52:54:00:00:00:04 ] || continue
    card=$(basename "$path")
    ip addr add 10.9.0.2/24 dev "$card"
    ip link set "$card" up
    ping -c 2 -W 60 10.9.0.1 >/dev/null 2>&1 && result "bridge ping" yes
    result "bridge http" "$(wget -qO - http://10.9.0.1:8123/payload | md5sum | cut -c 1-32)"
    nc 10.9.0.1 8124 </payload
done

# Disks: what is written is read back after the cache is dropped; the host looks at it, too.
for disk in vda sda; do
    [ -b /dev/$disk ] || { result "$disk" "not there"; continue; }
    mke2fs /dev/$disk >/dev/null 2>&1
    mount -t ext4 /dev/$disk /mnt && cp /payload /mnt/payload && umount /mnt
    echo 3 >/proc/sys/vm/drop_caches
    mount -t ext4 /dev/$disk /mnt && result "$disk" "$(md5sum </mnt/payload | cut -c 1-32)"
    umount /mnt
done
result "vda queues" "$(ls /sys/block/vda/mq | wc -l)"
result "vda discard" "$(blkdiscard /dev/vda && echo yes) $(dd if=/dev/vda bs=64k count=100 2>/dev/null | tr -d '\0' | wc -c)"
result "vda cache" "$(cat /sys/block/vda/queue/write_cache)"
result "entropy" "$(cat /sys/class/misc/hw_random/rng_current) $(dd if=/dev/hwrng bs=64 count=1 2>/dev/null | wc -c)"
# The host comes in through its forwarded port, for the payload and to end this.
mkdir -p /cgi-bin
printf '#!/bin/sh\ntouch /tmp/end\necho; echo bye\n' >/cgi-bin/end
chmod 755 /cgi-bin/end
for path in /sys/class/net/*; do
    [ "$(cat "$path/address")" = 52:54:00:00:00:01 ] || continue
    ip link set "$(basename "$path")" up
    udhcpc -i "$(basename "$path")" -n -q -t 10 >/dev/null 2>&1
done
httpd -p 80 -h /
free_kib() { sed -n 's/^MemFree: *\([0-9]*\) kB/\1/p' /proc/meminfo; }
dd if=/dev/zero of=/tmp/big bs=1M count=120 2>/dev/null # so that the host has given it all
rm /tmp/big
echo 3 >/proc/sys/vm/drop_caches
before=$(free_kib)
echo "serving at port 80"
gave=no
while [ ! -e /tmp/end ]; do
    [ $gave = no ] && [ $(free_kib) -lt $((before - 60000)) ] && gave=yes && result balloon inflated
    usleep 100000
done
sleep 1
dmesg | grep -E "BUG:|Oops|rcu.*stall|soft lockup|NETDEV WATCHDOG" && result "kernel" "complains"
result "end" yes

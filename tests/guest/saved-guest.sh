# What the guest of test_emu_save.sh does: it keeps a disk, a network connection and both CPUs busy,
# and says at the end whether anything went wrong meanwhile.
result() { echo "result $1: $2"; }
mke2fs /dev/vda >/dev/null 2>&1
mount -t ext4 /dev/vda /mnt
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
(
    i=0
    while [ ! -e /tmp/stop ]; do
        i=$(((i + 1) % 4))
        dd if=/dev/urandom bs=16k count=4 2>/dev/null | tee /mnt/file$i | md5sum >/tmp/sum$i
    done
    touch /tmp/stopped
) &
(while [ ! -e /tmp/stop ]; do :; done) &
(read -r word </dev/ttyS0; touch /tmp/told) & # when it has been where it should
n=0
while [ ! -e /tmp/told ]; do
    n=$((n + 1))
    echo "tick $n"
    sleep 0.3
done
touch /tmp/stop
while [ ! -e /tmp/stopped ]; do sleep 0.1; done
umount /mnt
mount -t ext4 /dev/vda /mnt
for i in 0 1 2 3; do
    [ "$(md5sum </mnt/file$i)" = "$(cat /tmp/sum$i)" ] || result "file $i" differs
done
umount /mnt
ping -c 2 -W 60 10.0.2.2 >/dev/null 2>&1 && result ping yes
result clock "$(hwclock -u -r -f /dev/rtc0 >/dev/null && cat /sys/class/rtc/rtc0/since_epoch)"
dmesg | grep -E "BUG:|Oops|rcu.*stall|soft lockup|I/O error" && result kernel complains
result end yes

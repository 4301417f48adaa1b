# What the guest of test_emu_board.sh does; run by the initramfs that initrd.sh makes.
result() { echo "result $1: $2"; }
clocks=/sys/devices/system/clocksource/clocksource0
result "clock" "$(cat $clocks/current_clocksource)"
result "hpet" "$(dmesg | grep -c 'hpet0: 3 comparators, 64-bit 100.000000 MHz counter')"
result "rtc" "$(hwclock -r >/dev/null 2>&1 && echo read)"
result "serial" "$(dmesg | sed -n 's/.*00:0.: \(ttyS1 at .*\)/\1/p')"
stty -F /dev/ttyS1 115200 raw -echo
exec 3<>/dev/ttyS1
echo "hello over COM2" >&3
read -t 600 line <&3 && result "com2" "$line"
result "parport" "$(dmesg | sed -n 's/.*parport0: PC-style at \(.*\)/\1/p')"
dd if=/dev/urandom bs=1k count=40 of=/page 2>/dev/null
result "page" "$(md5sum </page | cut -c 1-32)"
cat /page >/dev/lp0 && result "printed" yes
# The virtio console: a line each way on hvc0, and files through a named port, both ways. Left open:
# what comes in between would go with the closing.
exec 5<>/dev/hvc0
echo "hello over hvc0" >&5
read -t 600 line <&5 && result "hvc0" "$line"
for path in /sys/class/virtio-ports/*; do
    name=$(cat "$path/name" 2>/dev/null)
    [ -n "$name" ] && ln -s "/dev/$(basename "$path")" "/dev/$name"
done
result "ports" "$(cat /sys/class/virtio-ports/*/name | sort | tr '\n' ' ')"
cat /page >/dev/to.file && result "file" yes
head -c 300000 </dev/org.drover.test | md5sum | cut -c 1-32 >/sum
result "port" "$(cat /sum)"
exec 4<>/dev/org.drover.test
cat /page >&4
while [ "$(head -c 2 <&4)" != ok ]; do usleep 100000; done # it has come there
result "irqs" "$(sed -n 's/ *\([0-9]*\): *\([0-9]*\) .* \(parport0\|ttyS1\)$/\1/p' /proc/interrupts | tr '\n' ' ')"
dmesg | grep -E "BUG:|Oops|rcu.*stall|soft lockup" && result "kernel" "complains"
result "end" yes

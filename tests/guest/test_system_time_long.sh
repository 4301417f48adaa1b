#!/bin/bash
# A guest's clock against the host's: over minutes of load and rest by turns, with two CPUs, then over a
# pause, and over a save and a restore. The guest says its time in answer to a key; the host looks at its
# own before and after. What an idle guest costs is told, and decides nothing.
#
# SYSTEM_MINUTES: how long (5).
. "$(dirname "$0")/system_lib.sh"
system_kernel amd64 amd64 >/dev/null || skip "there is no kernel to be had"
minutes=${SYSTEM_MINUTES:-5}

cat >"$tmp/script" <<'SCRIPT'
exec </dev/console
echo "ready"
while read -r word; do
    case $word in
    time) echo "time 0 $(date +%s) $(cut -d ' ' -f 1 /proc/uptime)" ;;
    load) (timeout 20 sha256sum /dev/zero & timeout 20 dd if=/dev/zero of=/tmp/x bs=64k count=2000 conv=notrunc; timeout 10 dd if=/dev/urandom of=/dev/null bs=4k) >/dev/null 2>&1 & ;;
    rtc) echo "rtc $(hwclock -u -r >/dev/null && cat /sys/class/rtc/rtc0/since_epoch)" ;;
    source) echo "source $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource)" ;;
    complaints) dmesg | grep -E "unstable|rcu.*stall|soft lockup|skew|hrtimer: interrupt took|BUG:" | sed 's/^/complaint /'; echo "end of complaints" ;;
    off) break ;;
    esac
done
SCRIPT
tests/guest/initrd.sh "$tmp/initrd.gz" "$tmp/script" || exit 1

system_start time --memory 256M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
    --append "console=ttyS0 panic=-1" --no-reboot
wait_for "^ready" || { system_kill; end_test "not reached"; }

# offset WHAT: the guest's uptime less the host's; both counted from the first call. In $offset and
# $uncertain, ms. The guest's answer lies between the two looks at the host's clock.
first=
offset() {
    local before after guest_ms host_ms
    for _ in 1 2 3 4 5; do # the answer that came soonest is the most exact
        before=$(date +%s%3N)
        echo time >&8
        wait_for "^time [0-9.]+ [0-9]+ [0-9.]+" || return
        after=$(date +%s%3N)
        [ $((after - before)) -lt 700 ] && break
    done
    guest_ms=$(tail -c "+$((seen - 1))" "$log" | tr -d '\r' | sed -n '1s/^time [^ ]* [^ ]* \([0-9]*\)\.\([0-9][0-9]\).*/\1\20/p')
    host_ms=$(((before + after) / 2))
    [ -n "$first" ] || first=$((guest_ms - host_ms))
    offset=$((guest_ms - host_ms - first))
    uncertain=$(((after - before) / 2))
    seconds=$(tail -c "+$((seen - 1))" "$log" | sed -n '1s/^time [^ ]* \([0-9]*\) .*/\1/p')
    say "$1: the guest is $offset ms ahead of the host (to $uncertain ms), its wall clock $((seconds - after / 1000)) s"
}
check_offset() {
    offset "$1"
    [ "${offset#-}" -le $((1000 + uncertain)) ] || fail "$1: the guest's clock is $offset ms ahead"
    local wall=$((seconds - $(date +%s)))
    [ "${wall#-}" -le $((2 + 2 * uncertain / 1000)) ] || fail "$1: the guest's wall clock is $wall s ahead"
}
# The real-time clock is the host's, whatever the guest's own time did meanwhile.
check_rtc() {
    local rtc
    echo rtc >&8
    wait_for "^rtc [0-9]+" || return
    rtc=$(tail -c "+$((seen - 1))" "$log" | sed -n '1s/^rtc \([0-9]*\).*/\1/p')
    [ $(($(date +%s) - rtc)) -le 3 ] && [ $((rtc - $(date +%s))) -le 1 ] || fail "$1: the guest's RTC is $((rtc - $(date +%s))) s ahead"
}
ticks() { awk '{print $14 + $15}' "/proc/$pid/stat"; }

check_offset "at first"
sleep 10 # what it still does after its start
begin=$(ticks)
sleep 60
say "an idle guest with two CPUs costs $((($(ticks) - begin) * 1000 / ($(getconf CLK_TCK) * 60))) thousandths of a core"
for minute in $(seq "$minutes"); do
    echo load >&8
    sleep 60
    check_offset "minute $minute"
done
ctl pause || fail "pause"
sleep 20
ctl resume || fail "resume"
sleep 5
check_offset "after a pause of 20 s"
check_rtc "after a pause"
system_save_restore
sleep 5
check_offset "after save and restore"
check_rtc "after save and restore"
echo source >&8
wait_for "^source [a-z]"
say "clock $(tail -c "+$((seen - 1))" "$log" | head -n 1)"
echo complaints >&8
wait_for "^end of complaints"
grep -a "^complaint .*\[" "$log" && fail "the kernel complains"
echo off >&8
system_stop
end_test "the guest kept time"

#!/bin/bash
# A guest's own wall clock follows the host's over a pause, and over a save and a restore: Linux with
# KVM's clock. What the guest says is held against the host's time before and after it was asked, so
# that a slow host cannot fail the test.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
initrd tests/guest/clock-guest.sh
boot() {
    : >"$log"
    start --engine jit --allow "$tmp" --memory 192M --cpus 2 --serial "file:$log" --control "ipc://$tmp/control" \
        --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0" --no-reboot "$@"
}
lines() { grep -ac "^now [0-9]*" "$log"; }
has_lines() { [ "$(lines)" -ge "$1" ]; }
# The guest's time, said after this was called: the third line from now on was begun after it.
clock_right() {
    local before after said from
    before=$(date +%s)
    from=$(lines)
    wait_until has_lines $((from + 3))
    said=$(tr -d '\r' <"$log" | sed -n 's/^now \([0-9]*\)$/\1/p' | sed -n "$((from + 3))p")
    after=$(date +%s)
    [ -n "$said" ] || { fail "$1: the guest says nothing"; tail -n 5 "$log"; return; }
    [ "$said" -ge $((before - 1)) ] && [ "$said" -le $((after + 1)) ] ||
        fail "$1: the guest says $said, the host had $before before and $after after"
}

boot
clock_right "after the start"
grep -aq "kvm-clock: Using msrs" "$log" || fail "the guest does not use KVM's clock"
ctl pause >/dev/null && sleep 4 && ctl resume >/dev/null || fail "pause and resume"
clock_right "after a pause"
ctl save "$tmp/saved" >/dev/null || fail "save"
sleep 4
ctl resume >/dev/null
clock_right "after a save"
end_machine
boot --restore "$tmp/saved"
clock_right "after a restore"
grep -aqE "soft lockup|rcu.*stall|unstable" "$log" && fail "the guest's watchdogs speak up"
end_test "the guest's clock is right each time"

#!/bin/bash
# A guest's own wall clock follows the host's over a pause, and over a save and a restore: Linux with
# KVM's clock. What the guest says is held against the host's time before and after it was asked, so
# that a slow host cannot fail the test.
set -u
emu=$BUILD/drover-emu
guest=$BUILD/guest
here=$(cd "$(dirname "$0")" && pwd)
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/vmlinuz" ] || { echo "skipped: $guest/vmlinuz is not there (make guest)"; exit 77; }
failed=0
fail() { echo "FAIL: $*"; failed=1; }
pid=
trap '[ -z "$pid" ] || kill -KILL $pid 2>/dev/null' EXIT
"$here/initrd.sh" "$tmp/initrd.gz" "$here/clock-guest.sh" 2>/dev/null || { echo "no initrd"; exit 1; }

ctl() { timeout 60 "$emu" ctl "$tmp/control" "$@"; }
start() {
    "$emu" --engine jit --allow "$tmp" --memory 192M --cpus 2 --serial "file:$tmp/log" \
        --control "ipc://$tmp/control" \
        --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0" --no-reboot "$@" &
    pid=$!
}
lines() { grep -ac "^now [0-9]*" "$tmp/log"; }
# The guest's time, said after this was called: the third line from now on was begun after it.
check() {
    local before after said from
    before=$(date +%s)
    from=$(lines)
    for _ in $(seq 1200); do
        [ "$(lines)" -ge $((from + 3)) ] && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    said=$(tr -d '\r' <"$tmp/log" | sed -n 's/^now \([0-9]*\)$/\1/p' | sed -n "$((from + 3))p")
    after=$(date +%s)
    [ -n "$said" ] || { fail "$1: the guest says nothing"; tail -n 5 "$tmp/log"; return; }
    [ "$said" -ge $((before - 1)) ] && [ "$said" -le $((after + 1)) ] ||
        fail "$1: the guest says $said, the host had $before before and $after after"
}

: >"$tmp/log"
start
check "after the start"
grep -aq "kvm-clock: Using msrs" "$tmp/log" || fail "the guest does not use KVM's clock"
ctl pause >/dev/null && sleep 4 && ctl resume >/dev/null || fail "pause and resume"
check "after a pause"
ctl save "$tmp/saved" >/dev/null || fail "save"
sleep 4
ctl resume >/dev/null
check "after a save"
kill -KILL $pid
wait $pid 2>/dev/null
: >"$tmp/log"
start --restore "$tmp/saved"
check "after a restore"
grep -aqE "soft lockup|rcu.*stall|unstable" "$tmp/log" && fail "the guest's watchdogs speak up"
[ $failed -eq 0 ] && echo "the guest's clock is right each time"
exit $failed

#!/bin/bash
# drover-emu in its sandbox: which threads are confined, what ctl may open, giving up root, and running
# without it from the start. What the sandbox itself forbids is tests/unit/emu/test_sandbox.c's matter.
. "$(dirname "$0")/emu_lib.sh"
other=$(mktemp -d)
trap 'end_processes; rm -rf "$other"' EXIT
begin() {
    start --memory 32M --control "ipc://$tmp/control" "$@" 2>"$tmp/err"
    wait_until answers || fail "no machine with $*: $(cat "$tmp/err")"
}
stop() { ctl quit; wait_end; }
# A field's different values in all threads' status.
threads() { sed -n "s/^$1:[[:space:]]*//p" /proc/$pid/task/*/status | sort -u; }

mkdir -p "$tmp/allowed"
begin --allow "$tmp/allowed" --cpus 2
if grep -q "no Landlock" "$tmp/err"; then
    stop
    skip "this kernel has no Landlock"
fi
[ "$(threads Seccomp)" = 2 ] || fail "not every thread has the filter"
[ "$(threads NoNewPrivs)" = 1 ] || fail "a thread may get privileges"
ctl screendump "$tmp/allowed/screen.png" || fail "screendump into the folder given"
ctl screendump "$other/screen.png" 2>"$tmp/refused" && fail "screendump into another folder"
grep -q -e "--allow" "$tmp/refused" || fail "the refusal says \"$(cat "$tmp/refused")\""
ctl save "$other/saved" 2>"$tmp/refused" && fail "save into another folder"
grep -q -e "--allow" "$tmp/refused" || fail "the refusal says \"$(cat "$tmp/refused")\""
[ "$(ctl status -o json | jq -r .state)" = running ] || fail "a machine that could not be saved stands still"
ctl save "$tmp/allowed/saved" || fail "save into the folder given"
stop
[ -z "$(ls "$other")" ] || fail "something was left in the other folder"

# What a difference is told with must be there before: no library comes into a confined process.
if ldconfig -p 2>/dev/null | grep -q libZydis || [ -e /usr/lib/x86_64-linux-gnu/libZydis.so.4.0 ]; then
    begin --engine lockstep
    grep -q libZydis /proc/$pid/maps || fail "lockstep has no disassembler"
    stop
fi

begin --sandbox off
[ "$(threads Seccomp)" = 0 ] || fail "--sandbox off: there is a filter"
ctl screendump "$other/screen.png" || fail "--sandbox off: screendump"
stop

if [ "$(id -u)" -eq 0 ]; then
    nobody=$(id -u nobody)
    begin --user nobody
    [ "$(threads Uid | tr '\t' ' ')" = "$nobody $nobody $nobody $nobody" ] || fail "--user: not every thread has it"
    stop
    "$emu" --user nobody-of-this-name 2>"$tmp/err" && fail "a user that does not exist was taken"
    grep -q "nobody-of-this-name" "$tmp/err" || fail "the refusal says \"$(cat "$tmp/err")\""
    # Without root from the start, in a folder of its own.
    chown nobody "$other"
    chmod a+rx "$(dirname "$emu")" 2>/dev/null
    if setpriv --reuid "$nobody" --regid "$(id -g nobody)" --clear-groups "$emu" --version >/dev/null 2>&1; then
        setpriv --reuid "$nobody" --regid "$(id -g nobody)" --clear-groups "$emu" --memory 32M --no-reboot \
            --control "ipc://$other/control" --serial "file:$other/serial" --exit-file "$other/exit" 2>"$tmp/err" &
        pid=$!
        processes+=($pid)
        control=$other/control
        wait_ctl
        ctl quit || fail "without root: $(cat "$tmp/err")"
        wait_end
        [ "$(cat "$other/exit")" = poweroff ] || fail "without root: no exit file"
    else
        echo "another user cannot run $emu here: not tried"
    fi
fi
end_test "confined as it should be"

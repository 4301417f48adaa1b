#!/bin/bash
# drover-emu in its sandbox: which threads are confined, what ctl may open, giving up root, and running
# without it from the start. What the sandbox itself forbids is tests/unit/emu/test_sandbox.c's matter.
set -u
emu=$BUILD/drover-emu
tmp=${TEST_TMP:-$(mktemp -d)}
other=$(mktemp -d)
failed=no pid=
fail() { echo "FAIL: $*"; failed=yes; }
ctl() { timeout 30 "$emu" ctl "$tmp/control" "$@"; }
start() {
    "$emu" --memory 32M --control "ipc://$tmp/control" "$@" 2>"$tmp/err" &
    pid=$!
    for _ in $(seq 600); do ctl status >/dev/null 2>&1 && return; kill -0 $pid 2>/dev/null || break; sleep 0.1; done
    fail "no machine with $*: $(cat "$tmp/err")"
}
stop() { ctl quit; wait $pid; [ $? -eq 0 ] || fail "$1: the status is not 0"; pid=; }
trap '[ -z "$pid" ] || kill -9 $pid; rm -rf "$other"' EXIT
# A field's different values in all threads' status.
threads() { sed -n "s/^$1:[[:space:]]*//p" /proc/$pid/task/*/status | sort -u; }

mkdir -p "$tmp/allowed"
start --allow "$tmp/allowed" --cpus 2
if grep -q "no Landlock" "$tmp/err"; then
    stop "without Landlock"
    echo "this kernel has no Landlock"
    exit 77
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
stop "confined"
[ -z "$(ls "$other")" ] || fail "something was left in the other folder"

# What a difference is told with must be there before: no library comes into a confined process.
if ldconfig -p 2>/dev/null | grep -q libZydis || [ -e /usr/lib/x86_64-linux-gnu/libZydis.so.4.0 ]; then
    start --engine lockstep
    grep -q libZydis /proc/$pid/maps || fail "lockstep has no disassembler"
    stop "lockstep"
fi

start --sandbox off
[ "$(threads Seccomp)" = 0 ] || fail "--sandbox off: there is a filter"
ctl screendump "$other/screen.png" || fail "--sandbox off: screendump"
stop "--sandbox off"

if [ "$(id -u)" -eq 0 ]; then
    nobody=$(id -u nobody)
    start --user nobody
    [ "$(threads Uid | tr '\t' ' ')" = "$nobody $nobody $nobody $nobody" ] || fail "--user: not every thread has it"
    stop "--user"
    "$emu" --user nobody-of-this-name 2>"$tmp/err" && fail "a user that does not exist was taken"
    grep -q "nobody-of-this-name" "$tmp/err" || fail "the refusal says \"$(cat "$tmp/err")\""
    # Without root from the start, in a folder of its own.
    chown nobody "$other"
    chmod a+rx "$(dirname "$emu")" 2>/dev/null
    if setpriv --reuid "$nobody" --regid "$(id -g nobody)" --clear-groups "$emu" --version >/dev/null 2>&1; then
        setpriv --reuid "$nobody" --regid "$(id -g nobody)" --clear-groups "$emu" --memory 32M --no-reboot \
            --control "ipc://$other/control" --serial "file:$other/serial" --exit-file "$other/exit" 2>"$tmp/err" &
        pid=$!
        for _ in $(seq 600); do
            timeout 30 "$emu" ctl "$other/control" status >/dev/null 2>&1 && break
            kill -0 $pid 2>/dev/null || break
            sleep 0.1
        done
        timeout 30 "$emu" ctl "$other/control" quit || fail "without root: $(cat "$tmp/err")"
        wait $pid || fail "without root: the status is not 0"
        pid=
        [ "$(cat "$other/exit")" = poweroff ] || fail "without root: no exit file"
    else
        echo "another user cannot run $emu here: not tried"
    fi
fi
[ $failed = no ] && echo "confined as it should be"
[ $failed = no ]

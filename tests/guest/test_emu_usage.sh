#!/bin/bash
# Every wrong command line gives one line that names what is wrong, and status 2; what is missing or
# unreadable on the host gives one line and status 1.
. "$(dirname "$0")/emu_lib.sh"

# expect STATUS TEXT ARGUMENT... : one line on stderr that has TEXT, nothing on stdout.
expect() {
    local status=$1 text=$2 got
    shift 2
    timeout 300 "$emu" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null
    got=$?
    if [ $got -ne "$status" ] || [ "$(wc -l <"$tmp/err")" -ne 1 ] || [ -s "$tmp/out" ] ||
        ! grep -qF -- "$text" "$tmp/err"; then
        echo "drover-emu $*: status $got, expected $status and one line with \"$text\"; it said:"
        cat "$tmp/out" "$tmp/err"
        failed=1
    fi
}

head -c 70000 /dev/zero >"$tmp/not-an-image"
head -c 1000 /dev/zero >"$tmp/small"
printf 'no kernel' >"$tmp/text"

timeout 300 "$emu" --cpu-model help >"$tmp/out" && grep -q "^  pentium3 " "$tmp/out" || {
    echo "--cpu-model help does not tell what there is"
    failed=1
}

expect 2 --nonsense --nonsense
expect 2 "disk.vhd" disk.vhd
expect 2 512Q --memory 512Q
expect 2 "512M" --memory 512
expect 2 "--memory 0M" --memory 0M
expect 2 "--memory -5M" --memory=-5M
expect 2 "--memory 1K" --memory 1K
expect 2 "--memory 9999999T" --memory 9999999T
expect 2 "--cpus 0" --cpus 0
expect 2 "--cpus 1000" --cpus 1000
expect 2 "--cpus two" --cpus two
expect 2 "--engine warp" --engine warp
expect 2 "--cpu-model z80" --cpu-model z80
expect 2 "486 pentium3 x86-64-v1" --cpu-model z80
expect 2 "CPU feature +warp" --cpu-model x86-64-v2,+warp
expect 2 "CPU feature sse" --cpu-model x86-64-v2,sse
expect 2 "--serial telnet" --serial telnet
expect 2 "--serial unix:" --serial unix:
expect 2 "bus \"scsi\"" --disk file=x,bus=scsi
expect 2 "the file is missing" --disk bus=ide
expect 2 "colour" --disk file=x,colour=red
expect 2 "readonly" --disk file=x,readonly=maybe
expect 2 "has no value" --disk x.vhd
expect 2 "--boot-order cz" --boot-order cz
expect 2 "--kernel" --append quiet
expect 2 "--uuid 1234" --uuid 1234
expect 2 "ipc://" --control /tmp/x
expect 2 "file:PATH" --debugcon log
expect 1 "$tmp/none.vhd" --disk "file=$tmp/none.vhd,bus=ide"
expect 1 "$tmp/not-an-image" --disk "file=$tmp/not-an-image,bus=ide"
expect 1 "$tmp/none" --kernel "$tmp/none"
expect 1 "bzImage" --kernel "$tmp/text"
expect 1 "$tmp/none" --firmware "$tmp/none"
expect 1 "$tmp/small" --firmware "$tmp/small"
expect 1 "/nowhere/" --serial file:/nowhere/log
expect 1 "/nowhere/" --serial unix:/nowhere/socket
expect 1 "/nowhere/" --control ipc:///nowhere/socket
expect 1 "/nowhere/" --pidfile /nowhere/pid
expect 1 "/nowhere/" --debugcon file:/nowhere/log

# The control client.
expect 2 "socket and a command" ctl
expect 2 "dance" ctl "$tmp/none" dance
expect 2 "screendump" ctl "$tmp/none" screendump
expect 2 "json" ctl "$tmp/none" status -o yaml
expect 1 "$tmp/none" ctl "$tmp/none" status

# --help and --version succeed; help tells the exit statuses.
"$emu" --help | grep -q "triple fault" || { echo "--help does not tell the exit statuses"; failed=1; }
"$emu" --version | grep -q '^drover-emu [0-9]' || { echo "--version is wrong"; failed=1; }

end_test "every message as it should be"

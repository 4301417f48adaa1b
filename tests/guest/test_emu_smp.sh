#!/bin/bash
# Debian's kernel on sixteen CPUs, with both engines: xAPIC with its own timer, and x2APIC with the
# TSC's deadline. All CPUs come up, work, and interrupt each other. The kernel's watchdogs are off: they
# go by time, of which sixteen threads on a small host get little.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
initrd tests/guest/smp-guest.sh

# run NAME OPTION...
run() {
    local log=$tmp/$1
    shift
    timeout -s KILL 280 "$emu" --memory 512M --cpus 16 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
        --append "console=ttyS0 quiet nowatchdog rcupdate.rcu_cpu_stall_suppress=1" --no-reboot --serial "file:$log" "$@" || { echo "$log: status $?"; failed=1; }
    need "$log" "Brought up 1 node, 16 CPUs" "worker 16: done" "smp guest ends" \
        "cpus with LOC: 16" "cpus with CAL: 16"
    [ "$(grep -ac "worker [0-9]*: done" "$log")" -eq 16 ] || { echo "$log: workers are missing"; failed=1; }
    grep -aE "wrong|calibrate_delay_direct|BUG:|Oops" "$log" && failed=1
}
need() {
    local log=$1
    shift
    for text in "$@"; do
        grep -aq "$text" "$log" || { echo "$log: no \"$text\""; failed=1; }
    done
}
run interp --engine interp
run jit --engine jit
run x2apic --engine jit --cpu-model x86-64-v2,+x2apic,+tsc-deadline
need "$tmp/x2apic" "x2apic enabled" "deadline timer"
end_test "sixteen CPUs at work, three times"

#!/bin/bash
# Debian's kernel on the emulator: from the disk through SeaBIOS, and started directly; two and four
# CPUs; the power button; what the guest wrote is on the disk at the next boot.
set -u
emu=$BUILD/drover-emu
guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
for file in hello.vhd vmlinuz initrd.gz; do
    [ -s "$guest/$file" ] || { echo "skipped: $guest/$file is not there (make guest)"; exit 77; }
done
cd "$tmp" || exit 1
failed=0
fail() { echo "FAIL: $*"; failed=1; }
pid=
trap '[ -z "$pid" ] || kill -KILL $pid 2>/dev/null' EXIT

ctl() { timeout 20 "$emu" ctl "$tmp/control" "$@"; }
# start LOG OPTION... ; wait_for LOG TEXT: only a hang takes five minutes.
start() {
    local log=$1
    shift
    : >"$log"
    "$emu" --memory 256M --serial "file:$log" --control "ipc://$tmp/control" "$@" &
    pid=$!
}
wait_for() {
    for _ in $(seq 3000); do
        grep -aq -- "$2" "$1" && return 0
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    fail "$1 never says \"$2\""
    tail -n 20 "$1"
    return 1
}
power_down() {
    ctl powerdown || fail "powerdown"
    wait $pid
    [ $? -eq 0 ] || fail "$1: the status after power-off is not 0"
    pid=
}

cp "$guest/hello.vhd" disk.vhd
start first.log --disk file=disk.vhd,bus=ide
wait_for first.log "hello from drover: boot 1" && power_down "first boot"
start second.log --disk file=disk.vhd,bus=ide --cpus 2
if wait_for second.log "hello from drover: boot 2"; then
    grep -aq "Brought up 1 node, 2 CPUs" second.log || fail "the second CPU did not come up"
    grep -aqE "ACPI (BIOS )?(Error|Warning|Exception)" second.log && fail "ACPI complains"
    grep -aqE "ata1.*(failed|exception|error)" second.log && fail "the disk fails"
    ctl reset || fail "reset"
    wait_for second.log "hello from drover: boot 3" && power_down "after a reset"
fi

start direct.log --kernel "$guest/vmlinuz" --initrd "$guest/initrd.gz" --no-reboot \
    --append "console=ttyS0 root=/dev/sda2 rw" --disk file=disk.vhd,bus=ide --cpus 4
if wait_for direct.log "hello from drover: boot 4"; then
    grep -aq "Brought up 1 node, 4 CPUs" direct.log || fail "four CPUs did not come up"
    grep -aq "DMI: Drover Drover" direct.log || fail "the kernel finds no SMBIOS tables"
    grep -aqE "BUG:|Oops|rcu.*stall|soft lockup" direct.log && fail "the kernel complains"
    power_down "direct boot"
fi

[ $failed -eq 0 ] && echo "four boots, all as they should be"
exit $failed

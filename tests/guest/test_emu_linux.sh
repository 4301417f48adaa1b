#!/bin/bash
# Debian's kernel on the emulator: from the disk through SeaBIOS, and started directly; two and four
# CPUs; the power button; what the guest wrote is on the disk at the next boot.
. "$(dirname "$0")/emu_lib.sh"
need_guest hello.vhd vmlinuz initrd.gz
cd "$tmp" || exit 1
# boot LOG OPTION...
boot() {
    local log=$1
    shift
    start --memory 256M --serial "file:$log" --control "ipc://$tmp/control" "$@"
}
power_down() {
    ctl powerdown || fail "powerdown"
    wait_end
}

cp "$guest/hello.vhd" disk.vhd
boot first.log --disk file=disk.vhd,bus=ide
wait_for first.log "hello from drover: boot 1" && power_down
boot second.log --disk file=disk.vhd,bus=ide --cpus 2
if wait_for second.log "hello from drover: boot 2"; then
    grep -aq "Brought up 1 node, 2 CPUs" second.log || fail "the second CPU did not come up"
    grep -aqE "ACPI (BIOS )?(Error|Warning|Exception)" second.log && fail "ACPI complains"
    grep -aqE "ata1.*(failed|exception|error)" second.log && fail "the disk fails"
    ctl reset || fail "reset"
    wait_for second.log "hello from drover: boot 3" && power_down
fi

boot direct.log --kernel "$guest/vmlinuz" --initrd "$guest/initrd.gz" --no-reboot \
    --append "console=ttyS0 root=/dev/sda2 rw" --disk file=disk.vhd,bus=ide --cpus 4
if wait_for direct.log "hello from drover: boot 4"; then
    grep -aq "Brought up 1 node, 4 CPUs" direct.log || fail "four CPUs did not come up"
    grep -aq "DMI: Drover Drover" direct.log || fail "the kernel finds no SMBIOS tables"
    grep -aqE "BUG:|Oops|rcu.*stall|soft lockup" direct.log && fail "the kernel complains"
    power_down
fi

end_test "four boots, all as they should be"

#!/bin/bash
# The Xen hypervisor from a GRUB CD, with Debian's kernel as its first domain, which Xen runs in ring 3
# beside its programs; also saved and restored in mid-boot. It powers off through Xen.
. "$(dirname "$0")/system_lib.sh"
xen=$(system_package xen-hypervisor-4.17-amd64) || skip "the package of Xen cannot be had"
need_guest vmlinuz
mkdir -p "$tmp/cd/boot/grub"
cp "$xen"/boot/xen-4.17-amd64.gz "$tmp/cd/xen.gz"
cp "$guest/vmlinuz" "$tmp/cd/"
cat >"$tmp/script" <<'SCRIPT'
echo "result: $(cat /sys/hypervisor/type) $(cat /sys/hypervisor/version/major), $(nproc) CPUs"
n=0
while [ $n -lt 300 ]; do
    n=$((n + 1))
    echo $n | md5sum
done >/tmp/sums
echo "result: $(md5sum </tmp/sums)"
SCRIPT
sums=$(for n in $(seq 300); do echo "$n" | md5sum; done | md5sum)
tests/guest/initrd.sh "$tmp/cd/initrd.gz" "$tmp/script" || exit 1
cat >"$tmp/cd/boot/grub/grub.cfg" <<'CFG'
serial --unit=0 --speed=115200
terminal_output serial
multiboot2 /xen.gz console=com1 com1=115200 dom0_mem=256M loglvl=all
module2 /vmlinuz console=hvc0 panic=-1
module2 /initrd.gz
boot
CFG
grub-mkrescue -o "$tmp/xen.iso" "$tmp/cd" >"$tmp/mkrescue" 2>&1 || { cat "$tmp/mkrescue"; exit 1; }

# one CPUS at-a-stretch|restored
one() {
    say "Xen on $1 CPUs, $2"
    system_start "xen-$1-$2" --memory 512M --cpus "$1" --cdrom "$tmp/xen.iso" --boot-order d --no-reboot
    wait_for "\(XEN\) Xen version 4" || { system_kill; return; }
    if [ "$2" = restored ]; then
        wait_for "Booting kernel on Xen" && system_save_restore
        wait_for "result:" && system_save_restore
    fi
    wait_for "Entering ACPI S5 state" && system_stop
    [ -z "$pid" ] || system_kill
    grep -aq "result: xen 4, $1 CPUs" "$log" || fail "the kernel does not run on Xen with $1 CPUs"
    grep -aqF "result: $sums" "$log" || fail "the domain's programs compute something else"
    complaints 'tsc\|TSC' || fail "the kernel complains" # Xen's own clock is set by ours time and again
}
one 1 restored
one 2 at-a-stretch
end_test "Xen and its first domain, on one CPU and on two"

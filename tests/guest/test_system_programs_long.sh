#!/bin/bash
# Programs that people use (Python, Node, Java, LuaJIT, GCC, SQLite, OpenSSL, ffmpeg and others)
# compute in the guest what they compute on the host's own processor, also when the machine is saved
# and restored in the midst of them: as programs of 64 bits, and of 32 on a kernel of 32.
. "$(dirname "$0")/system_lib.sh"
[ "$(id -u)" -eq 0 ] || skip "what the programs compute here is found by chroot, which takes root"
grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo || skip "this host's processor has no AVX2 or FMA, which decide some last digits"
mkdir -p "$systems"
for architecture in amd64 i386; do
    [ -s "$systems/programs-$architecture.vhd" ] ||
        tests/guest/programs_image.sh "$systems/programs-$architecture.vhd" "$systems/programs-$architecture.expected" $architecture ||
        skip "mmdebstrap cannot install the programs for $architecture"
done
kernel_amd64=$(system_kernel amd64 amd64) && kernel_i386=$(system_kernel 686-pae i386) && busybox_i386=$(system_package busybox-static i386) ||
    skip "the kernels cannot be had"
cat >"$tmp/script" <<'SCRIPT'
mount -t ext4 /dev/vda /mnt
for fs in proc sysfs devtmpfs; do mount -t $fs $fs /mnt/$(echo $fs | sed 's/fs$//; s/devtmp/dev/'); done
mkdir -p /mnt/dev/shm
for at in dev/shm tmp; do mount -t tmpfs $at /mnt/$at; done
ip link set lo up
chroot /mnt /programs/run.sh
for at in tmp dev/shm dev sys proc .; do umount /mnt/$at; done
SCRIPT
modules="virtio_pci virtio_blk crc32c_generic ext4"
KERNEL=$kernel_amd64 tests/guest/initrd.sh "$tmp/amd64.gz" "$tmp/script" $modules || exit 1
KERNEL=$kernel_i386 BUSYBOX=$busybox_i386/bin/busybox tests/guest/initrd.sh "$tmp/i386.gz" "$tmp/script" $modules || exit 1

# one ARCHITECTURE CPUS MOMENT...: with the machine saved and restored when it says each of them
one() {
    local architecture=$1 cpus=$2 name=$1-$2 moment kernel=kernel_$1
    say "$name"
    cp --sparse=always --reflink=auto --no-preserve=mode "$systems/programs-$architecture.vhd" "$tmp/disk.vhd"
    system_start "$name" --memory 1G --cpus "$cpus" --cpu-model x86-64-v3 --kernel "${!kernel}"/boot/vmlinuz-* \
        --initrd "$tmp/$architecture.gz" --append "console=ttyS0 quiet panic=-1" --no-reboot --disk "file=$tmp/disk.vhd,bus=virtio"
    shift 2
    for moment in "$@"; do
        wait_for "$moment" || { system_kill; return; }
        system_save_restore
    done
    wait_for "end of programs" && system_stop
    [ -z "$pid" ] || system_kill
    tr -d '\r' <"$log" | grep -aE "^[a-z0-9-]+: |^end of programs" >"$tmp/found"
    diff "$systems/programs-$architecture.expected" "$tmp/found" || fail "$name: the host (<) and the guest (>) differ"
    complaints || fail "the kernel complains"
}
one amd64 2 "python: sort" "node: sort" "java: map"
one amd64 1
one i386 2 "python: sort" "java: map"
end_test "$(cat "$systems"/programs-*.expected | wc -l) lines that programs compute are as on this processor"

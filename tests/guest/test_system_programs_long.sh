#!/bin/bash
# Programs that people use (Python, Node, Java, LuaJIT, GCC, SQLite, OpenSSL, ffmpeg and others)
# compute in the guest what they compute on the host's own processor, also when the machine is saved
# and restored in the midst of them.
. "$(dirname "$0")/system_lib.sh"
[ "$(id -u)" -eq 0 ] || skip "what the programs compute here is found by chroot, which takes root"
grep -qw avx2 /proc/cpuinfo && grep -qw fma /proc/cpuinfo || skip "this host's processor has no AVX2 or FMA, which decide some last digits"
need_guest vmlinuz
mkdir -p "$systems"
[ -s "$systems/programs.vhd" ] || tests/guest/programs_image.sh "$systems/programs.vhd" "$systems/programs.expected" ||
    skip "mmdebstrap cannot install the programs"
cat >"$tmp/script" <<'SCRIPT'
mount -t ext4 /dev/vda /mnt
for fs in proc sysfs devtmpfs; do mount -t $fs $fs /mnt/$(echo $fs | sed 's/fs$//; s/devtmp/dev/'); done
mkdir -p /mnt/dev/shm
for at in dev/shm tmp; do mount -t tmpfs $at /mnt/$at; done
ip link set lo up
chroot /mnt /programs/run.sh
for at in tmp dev/shm dev sys proc .; do umount /mnt/$at; done
SCRIPT
initrd "$tmp/script" virtio_pci virtio_blk crc32c_generic ext4

# one NAME CPUS SAVED: with the machine saved before each line that SAVED names
one() {
    local name=$1 cpus=$2 moment
    say "$name"
    cp --sparse=always --reflink=auto --no-preserve=mode "$systems/programs.vhd" "$tmp/disk.vhd"
    system_start "$name" --memory 1G --cpus "$cpus" --cpu-model x86-64-v3 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
        --append "console=ttyS0 quiet panic=-1" --no-reboot --disk "file=$tmp/disk.vhd,bus=virtio"
    shift 2
    for moment in "$@"; do
        wait_for "^$moment" || { system_kill; return; }
        system_save_restore
    done
    wait_for "end of programs" && system_stop
    [ -z "$pid" ] || system_kill
    tr -d '\r' <"$log" | grep -aE "^[a-z0-9-]+: |^end of programs" >"$tmp/found"
    diff "$systems/programs.expected" "$tmp/found" || fail "$name: the host (<) and the guest (>) differ"
    complaints || fail "the kernel complains"
}
one two-cpus 2 python: node: "java: map"
one one-cpu 1
end_test "$(wc -l <"$systems/programs.expected") lines that programs compute are as on this processor"

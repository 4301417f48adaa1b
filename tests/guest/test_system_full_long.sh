#!/bin/bash
# A whole Debian 12, as mmdebstrap installs it: SeaBIOS, GRUB and systemd from a disk to the login
# prompt. Nothing may have failed there, the network must be up, and after the power button the file
# system clean. With one and four CPUs, on virtio and IDE, and saved and restored on the way.
#
# SYSTEM_WAYS chooses some of them: BUS:CPUS:at-a-stretch or restored.
. "$(dirname "$0")/system_lib.sh"
ways=${SYSTEM_WAYS:-virtio:1:at-a-stretch ide:4:restored virtio:4:at-a-stretch ide:1:restored}
system_debian >/dev/null || skip "mmdebstrap cannot install Debian 12"
own_network
serve_payload

# one BUS CPUS SAVED
one() {
    local bus=$1 cpus=$2 saved=$3
    say "Debian on $bus, $cpus CPUs, $saved"
    rm -f "$tmp/disk.vhd"
    cp --sparse=always --reflink=auto --no-preserve=mode "$systems/debian.vhd" "$tmp/disk.vhd"
    system_start "full-$bus-$cpus-$saved" --memory 512M --cpus "$cpus" --disk "file=$tmp/disk.vhd,bus=$bus" \
        --net user,model=virtio
    wait_for "GRUB starts Debian" || { system_kill; return; }
    if [ "$saved" = restored ]; then
        wait_for "Linux version" && wait_for "Freeing unused kernel image" && system_save_restore
        wait_for "systemd\[1\]: .*running in system mode|Welcome to.*Debian" && system_save_restore
    fi
    system_login || { system_kill; return; }
    guest "systemctl is-system-running --wait"
    [ "$output" = running ] || { fail "the system is $output"; guest "systemctl --failed --no-legend"; echo "$output"; }
    guest "nproc; findmnt -no SOURCE,FSTYPE /"
    [ "$(head -n 1 <<<"$output")" = "$cpus" ] || fail "$output CPUs are at work, not $cpus"
    [ "$saved" = at-a-stretch ] || system_save_restore
    guest "/lib/systemd/systemd-networkd-wait-online --timeout 120 && ping -c 2 -W 5 10.0.2.2" || fail "the network: $output"
    guest 'exec 5<>/dev/tcp/10.0.2.2/8123; printf "GET /payload HTTP/1.0\r\n\r\n" >&5; sed "1,/^\r$/d" <&5 | md5sum'
    [ "${output%% *}" = "$sum" ] || fail "what came over HTTP differs: $output"
    guest "dmesg --level err,crit,alert,emerg | grep -v firmware" # of which it installs none
    [ -z "$output" ] || fail "the kernel complains: $output"
    guest "dmesg | grep -E 'BUG:|Oops|WARNING:|rcu.*stall|soft lockup|unstable'" && fail "the kernel complains: $output"
    ctl powerdown || fail "powerdown"
    wait_for "reboot: Power down|Reached target.*(Power-Off|poweroff)"
    system_stop
    "$BUILD/drover-vhd" convert --quiet "$tmp/disk.vhd" "$tmp/disk.img" --type raw || fail "convert"
    e2fsck -fn "$tmp/disk.img?offset=1048576" >"$tmp/e2fsck" 2>&1 || { cat "$tmp/e2fsck"; fail "e2fsck of $bus, $cpus"; }
    grep -q "recovering journal" "$tmp/e2fsck" && fail "the file system was not unmounted"
    rm -f "$tmp/disk.img"
}
for way in $ways; do
    IFS=: read -r bus cpus saved <<<"$way"
    one "$bus" "$cpus" "$saved"
done
end_test "Debian 12 as a whole, on $ways"

#!/bin/bash
# A TCP connection through a tap goes on, whole, when the machine is saved in the middle of it and
# restored in another process; one through the user network, whose other end ends with the process,
# is reset.
. "$(dirname "$0")/emu_lib.sh"
if [ "${1:-}" != inside ]; then # a network of our own
    own=(unshare --net)
    [ "$(id -u)" -eq 0 ] || own=(unshare --map-root-user --net)
    "${own[@]}" true 2>/dev/null || skip "this host lets us have no network of our own"
    "${own[@]}" "$self" inside
    exit
fi
need_guest vmlinuz
ip tuntap add dev flow0 mode tap 2>"$tmp/tap" || skip "no tap: $(cat "$tmp/tap")"
ip addr add 10.77.0.1/24 dev flow0
ip link set flow0 up
ip link set lo up
initrd tests/guest/flow-guest.sh virtio_pci virtio_net
python3 tests/guest/flow.py "$tmp" &
processes+=($!)
wait_until test -e "$tmp/listening" || { echo "the server does not start"; exit 1; }
options=(--memory 256M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0 panic=-1"
    --no-reboot --control "ipc://$tmp/control" --allow "$tmp" --net tap,ifname=flow0,mac=52:54:00:77:00:0a
    --net user,mac=52:54:00:77:00:0b)
start "${options[@]}" --serial "file:$tmp/before"
wait_until test -e "$tmp/third" || fail "the connection never gets as far as to be saved"
ctl save "$tmp/saved" || fail "save"
[ -e "$tmp/sums" ] && fail "the connection was over before the machine was saved"
ctl quit
wait_end
sleep 1 # what is sent meanwhile is lost, and sent again
start "${options[@]}" --serial "file:$tmp/after" --restore "$tmp/saved"
touch "$tmp/restored"
wait_end
cat "$tmp/before" "$tmp/after" >"$log"
wait_until test -s "$tmp/sums" # the server's word
read -r up down <"$tmp/sums" || fail "the connection did not end"
[ "$(value user)" = "answer to before" ] || fail "the user network does not work before"
[ "$(value up)" = "$up" ] || fail "what the guest sent is not what came: $(value up), $up"
[ "$(value down)" = "$down" ] || fail "what the guest was sent is not what came: $(value down), $down"
[ "$(value reset)" = yes ] || fail "a connection through the user network hangs"
[ "$(value ping)" = yes ] || fail "the user network is gone"
[ "$(value end)" = yes ] || fail "the guest's end is missing"
[ -z "$(value kernel)" ] || fail "the kernel complains"
end_test "the connection goes on whole" "$tmp/before" "$tmp/after"

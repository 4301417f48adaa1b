#!/bin/bash
# A TCP connection through a tap goes on, whole, when the machine is saved in the middle of it and
# restored in another process; one through the user network, whose other end ends with the process,
# is reset.
set -u
cd "$(dirname "$0")/../.."
if [ "${1:-}" != inside ]; then # a network of our own
    own=(unshare --net)
    [ "$(id -u)" -eq 0 ] || own=(unshare --map-root-user --net)
    "${own[@]}" true 2>/dev/null || { echo "skipped: this host lets us have no network of our own"; exit 77; }
    "${own[@]}" "$0" inside
    exit
fi
emu=$BUILD/drover-emu
guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/vmlinuz" ] || { echo "skipped: $guest/vmlinuz is not there (make guest)"; exit 77; }
ip tuntap add dev flow0 mode tap 2>"$tmp/tap" || { echo "skipped: no tap: $(cat "$tmp/tap")"; exit 77; }
ip addr add 10.77.0.1/24 dev flow0
ip link set flow0 up
ip link set lo up
failed=0
fail() { echo "FAIL: $*"; failed=1; }
pid= server=
trap 'kill -KILL $pid $server 2>/dev/null' EXIT
ctl() { timeout 60 "$emu" ctl "$tmp/control" "$@"; }
await() { # FILE: only a hang takes four minutes
    for _ in $(seq 2400); do
        [ -e "$tmp/$1" ] && return
        kill -0 $pid 2>/dev/null || return 1
        sleep 0.1
    done
    return 1
}
tests/guest/initrd.sh "$tmp/initrd.gz" tests/guest/flow-guest.sh virtio_pci virtio_net || exit 1
python3 tests/guest/flow.py "$tmp" &
server=$!
pid=$$
await listening || { echo "the server does not start"; exit 1; }
options=(--memory 256M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0 panic=-1"
    --no-reboot --control "ipc://$tmp/control" --allow "$tmp" --net tap,ifname=flow0,mac=52:54:00:77:00:0a
    --net user,mac=52:54:00:77:00:0b)
"$emu" "${options[@]}" --serial "file:$tmp/before" &
pid=$!
await third || fail "the connection never gets as far as to be saved"
ctl save "$tmp/saved" || fail "save"
[ -e "$tmp/sums" ] && fail "the connection was over before the machine was saved"
ctl quit
wait $pid
sleep 1 # what is sent meanwhile is lost, and sent again
"$emu" "${options[@]}" --serial "file:$tmp/after" --restore "$tmp/saved" &
pid=$!
touch "$tmp/restored"
for _ in $(seq 2400); do
    kill -0 $pid 2>/dev/null || break
    sleep 0.1
done
kill -0 $pid 2>/dev/null && fail "the guest does not end"
value() { cat "$tmp/before" "$tmp/after" | tr -d '\r' | sed -n "s/^result $1: //p"; }
await_sums() { for _ in $(seq 100); do [ -s "$tmp/sums" ] && return; sleep 0.1; done; }
await_sums
read -r up down <"$tmp/sums" || fail "the connection did not end"
[ "$(value user)" = "answer to before" ] || fail "the user network does not work before"
[ "$(value up)" = "$up" ] || fail "what the guest sent is not what came: $(value up), $up"
[ "$(value down)" = "$down" ] || fail "what the guest was sent is not what came: $(value down), $down"
[ "$(value reset)" = yes ] || fail "a connection through the user network hangs"
[ "$(value ping)" = yes ] || fail "the user network is gone"
[ "$(value end)" = yes ] || fail "the guest's end is missing"
[ -z "$(value kernel)" ] || fail "the kernel complains"
[ $failed -eq 0 ] && echo "the connection goes on whole" || tail -n 40 "$tmp/before" "$tmp/after"
exit $failed

#!/bin/bash
# Debian's drivers against the network cards, the virtio devices and the back ends, in one boot:
# a lease, a ping and a file over HTTP with each card; files on each kind of disk.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
bridge=()
if own_network && ip link add br0 type bridge 2>/dev/null; then
    ip addr add 10.9.0.1/24 dev br0
    ip link set br0 up
    bridge=(--net bridge,bridge=br0,model=virtio,mac=52:54:00:00:00:04)
else
    echo "skipped: the bridge, for this host gives no network namespace and bridge"
fi

serve_payload
if [ ${#bridge[@]} -gt 0 ]; then
    python3 -c 'import socket, sys
connection = socket.create_server(("10.9.0.1", 8124)).accept()[0]
while data := connection.recv(65536): sys.stdout.buffer.write(data)' >"$tmp/upload" &
    processes+=($!)
fi
truncate -s 24M "$tmp/virtio.img" "$tmp/ide.img"
cat tests/guest/cards-guest.sh tests/guest/devices-guest.sh >"$tmp/script"
initrd "$tmp/script" virtio_pci virtio_net virtio_blk virtio-rng virtio_balloon e1000 tulip ata_piix sd_mod ext4 \
    crc32c_generic

start --memory 256M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
    --append "console=ttyS0 panic=-1" --no-reboot --serial "file:$log" --control "ipc://$tmp/control" \
    --net "user,model=virtio,mac=52:54:00:00:00:01,hostfwd=tcp:127.0.0.1:8080-:80" \
    --net user,model=e1000,mac=52:54:00:00:00:02 --net user,model=tulip,mac=52:54:00:00:00:03 \
    "${bridge[@]}" --disk "file=$tmp/virtio.img,bus=virtio,format=raw" \
    --disk "file=$tmp/ide.img,bus=ide,format=raw" --device rng --device balloon
wait_for "$log" "serving at port 80"
curl -sS --max-time 300 -o "$tmp/forwarded" http://127.0.0.1:8080/payload
status_seen=$(ctl status -o json)
# The balloon: what the guest gives away, this process has no more.
shared() { sed -n 's/^RssShmem:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$pid/status"; }
gave_back() { [ "$(shared)" -lt 180224 ]; }
ctl balloon 80 || fail "balloon"
wait_until gave_back || fail "of 256 MiB less 80 the guest still takes $(shared) KiB"
wait_for "$log" "result balloon"
ctl balloon 0 || fail "balloon"
curl -sS --max-time 300 http://127.0.0.1:8080/cgi-bin/end >/dev/null
wait_end
ours=$(value payload)
for card in virtio e1000 tulip; do
    check "$card lease" 10.0.2.15
    check "$card ping" yes
    check "$card http" "$sum"
done
check "virtio driver" virtio_net
check "e1000 driver" e1000
check "tulip driver" tulip
[ "$(md5sum <"$tmp/forwarded" | cut -c 1-32)" = "$ours" ] || fail "what came through the forwarded port differs"
if [ ${#bridge[@]} -gt 0 ]; then
    check "bridge ping" yes
    check "bridge http" "$sum"
    [ "$(md5sum <"$tmp/upload" | cut -c 1-32)" = "$ours" ] || fail "what was sent over the bridge differs"
fi
for disk in vda sda; do check $disk "$ours"; done
check "vda queues" 2
check "vda cache" "write back"
check "entropy" "virtio_rng.0 64"
check "kernel" ""
check "balloon" inflated
check "end" yes
check "vda discard" "yes 0"
e2fsck -fn "$tmp/ide.img" >"$tmp/e2fsck" 2>&1 || { cat "$tmp/e2fsck"; fail "e2fsck of the IDE disk"; }
[ "$(du -k "$tmp/virtio.img" | cut -f 1)" -lt 1000 ] || fail "what the guest discarded still takes up room"
jq -e '.nets[0].received_bytes > 3000000 and .nets[0].model == "virtio" and .nets[0].up' \
    <<<"$status_seen" >/dev/null || fail "ctl status counts no traffic: $status_seen"

end_test "three cards, the bridge, two disks, the entropy source and the balloon, as they should be" "$log"

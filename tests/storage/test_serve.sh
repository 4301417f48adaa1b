#!/bin/bash
# serve, against NBD clients that are not ours: nbdinfo, nbdcopy, qemu-img, qemu-io, and one that breaks
# every rule.
. "$(dirname "$0")/lib.sh"

server=
stop() { [ -z "$server" ] || kill -KILL $server 2>/dev/null || true; }
trap stop EXIT
# Starts a server and waits until it says where it is: the address is in uri.
start() {
    : >served
    "$vhd" serve "$@" >served 2>serve.err &
    server=$!
    until grep -q "^serving" served; do
        kill -0 $server 2>/dev/null || fail "serve $*: $(cat serve.err)"
        sleep 0.02
    done
    uri=$(sed -n 's/^serving .* at //p' served)
}
finish() {
    kill -TERM $server
    local status=0
    wait $server || status=$?
    server=
    [ $status = 0 ] || fail "serve ended with $status: $(cat serve.err)"
}

truncate -s 60M disk.img
for at in 0 5 6 31; do head -c 70000 /dev/urandom | dd of=disk.img bs=1M seek=$at conv=notrunc status=none; done
printf end | dd of=disk.img bs=1 seek=$((60 * 1048576 - 3)) conv=notrunc status=none
"$vhd" convert --quiet disk.img disk.vhd

echo "== what nbdinfo sees"
start disk.vhd --socket "$PWD/s" --name data --read-only
nbdinfo --json "nbd+unix:///data?socket=$PWD/s" >info
[ "$(jq -c '.exports[0] | [.["export-name"], .["export-size"], .is_read_only, .can_multi_conn, .can_df, .contexts]' info)" = \
    '["data",62914560,true,true,true,["base:allocation"]]' ] || fail "$(cat info)"
[ "$(nbdinfo --json --list "nbd+unix://?socket=$PWD/s" | jq -r '.exports[0]["export-name"]')" = data ] || fail "--list"
[ "$(nbdinfo --size "nbd+unix://?socket=$PWD/s")" = 62914560 ] || fail "the empty name is no export"
! nbdinfo "nbd+unix:///other?socket=$PWD/s" >/dev/null 2>&1 || fail "an export that there is not"
nbdinfo --map --json "$uri" >map
[ "$(jq -c '[.[] | select(.type == 0) | [.offset, .length]]' map)" = \
    '[[0,2097152],[4194304,4194304],[31457280,2097152],[60817408,2097152]]' ] || fail "map: $(cat map)"

echo "== copies, read-only, several connections"
nbdcopy --connections=4 --requests=32 "$uri" copy.img
cmp disk.img copy.img || fail "nbdcopy reads another content"
nbdcopy --no-extents --connections=1 "$uri" copy2.img
cmp disk.img copy2.img || fail "nbdcopy without extents reads another content"
qemu-img convert -n -f raw -O raw "$uri" copy.img
qemu-img compare -f raw -F raw "$uri" disk.img || fail "qemu-img reads another content"
[ $(($(stat -c %b copy.img) * 512)) -lt 20000000 ] || fail "the copy is not sparse"
! qemu-io -f raw -c "write 0 4k" "$uri" 2>&1 | grep -q "^wrote" || fail "a read-only export was written"
expect 4 serve disk.vhd --port 1 # read-only servers let nobody write
echo "== qemu-nbd as a client, which exports it once more"
qemu-nbd -r -f raw -k "$PWD/again" "$uri" &
again=$!
until [ -S again ]; do kill -0 $again || fail "qemu-nbd does not take it"; sleep 0.02; done
nbdcopy "nbd+unix:///?socket=$PWD/again" copy4.img # it ends with its client
wait $again || fail "qemu-nbd: status $?"
cmp disk.img copy4.img || fail "qemu-nbd reads another content"
echo "== the kernel's nbd as a client"
if [ -b /dev/nbd0 ] && command -v nbd-client >/dev/null; then
    nbd-client -unix "$PWD/s" /dev/nbd0 -name data -readonly >/dev/null || fail "nbd-client"
    cmp disk.img /dev/nbd0 || { nbd-client -d /dev/nbd0; fail "the kernel reads another content"; }
    nbd-client -d /dev/nbd0 >/dev/null
else
    echo "NOT DONE: there is no /dev/nbd0 with nbd-client here, so the kernel's client is untried"
fi
finish
[ ! -e s ] || fail "the socket is still there"

echo "== writing: over TCP, trim, zeroes, flush, FUA"
start disk.vhd --port 20809
qemu-io -f raw -d unmap -t none -c "write -P 0x55 1M 3M" -c "write -f -P 0x66 40M 1M" -c "write -z 6M 64k" \
    -c "write -z -u 31M 1M" -c "discard 0 1M" -c "flush" -c "read -P 0x55 1M 3M" -c "read -P 0 31M 1M" "$uri" >qemu-io.log 2>&1
! grep -qi "fail\|error" qemu-io.log || { cat qemu-io.log; fail "qemu-io"; }
qemu-img convert -n -f raw -O raw copy2.img "$uri" -W -m 8 || fail "qemu-img convert into it"
nbdcopy --connections=3 copy2.img "$uri" || fail "nbdcopy into it"
nbdcopy "$uri" copy3.img
cmp copy2.img copy3.img || fail "what was written is not read"
finish
expect 0 check disk.vhd
expect 0 compare disk.vhd disk.img

echo "== a new disk, filled through it, by many at once"
"$vhd" create new.vhd --size 60M
start new.vhd --socket "$PWD/s"
for i in 0 1 2 3; do
    qemu-io -f raw -c "aio_write -P 0x1$i $((i * 15))M 5M" -c "aio_write -P 0x2$i $((i * 15 + 5))M 3M" -c "aio_flush" \
        -c flush "$uri" >q$i.log 2>&1 &
    clients[i]=$!
done
wait "${clients[@]}"
! grep -qi "fail\|error" q?.log || { cat q?.log; fail "parallel writers"; }
kill $server
wait $server || fail "it ended with $?"
server=
start new.vhd --socket "$PWD/s" --once
qemu-io -r -f raw -c "read 0 4k" "$uri" >q.log 2>&1 || { cat q.log; fail "one client"; }
wait $server || fail "--once: it ended with $?"
server=
"$vhd" convert --quiet new.vhd new.img --type raw
for i in 0 1 2 3; do
    qemu-io -r -f raw -c "read -P 0x1$i $((i * 15))M 5M" -c "read -P 0x2$i $((i * 15 + 5))M 3M" -c "read -P 0 $((i * 15 + 8))M 7M" \
        new.img >q.log 2>&1
    ! grep -qi "fail\|error" q.log || { cat q.log; fail "part $i differs"; }
done

echo "== killed in the midst of writing: the image is good"
start new.vhd --socket "$PWD/s2"
qemu-io -f raw -c "write -f -P 0x77 58M 1M" "$uri" >q.log 2>&1
size=$(stat -c %s new.vhd)
qemu-io -f raw -c "write -P 0x78 8M 6M" -c "sleep 60000" "$uri" >q.log 2>&1 &
client=$!
until [ "$(stat -c %s new.vhd)" -gt "$size" ]; do sleep 0.01; done
kill -KILL $server $client
wait $server $client 2>/dev/null || true
server=
"$vhd" check new.vhd --repair >out 2>&1 || [ $? = 3 ] || { cat out; fail "the image is damaged"; }
start new.vhd --socket "$PWD/s2" # over the socket that was left
qemu-io -f raw -c "read -P 0x77 58M 1M" "$uri" 2>&1 | grep -q "^read" || fail "what was flushed is lost"

echo "== clients that break the rules end their own connection only"
python3 - "$PWD/s2" <<'END' || fail "the rule breaker"
import os, random, socket, struct, sys
rand = random.Random(2006)
IHAVEOPT, REQUEST = 0x49484156454F5054, 0x25609513
def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    s.connect(sys.argv[1])
    return s
def option(number, data): return struct.pack(">QII", IHAVEOPT, number, len(data)) + data
go = option(7, struct.pack(">IH", 0, 0))
def request(flags, kind, offset, length): return struct.pack(">IHHQQI", REQUEST, flags, kind, 1, offset, length)
streams = [b"", b"\0\0\0\1", b"\0\0\0\7", b"\0\0\0\3" + os.urandom(100),
    b"\0\0\0\3" + struct.pack(">QII", IHAVEOPT, 7, 0xffffffff),
    b"\0\0\0\3" + option(7, struct.pack(">IH", 0xffffffff, 9)),
    b"\0\0\0\3" + option(7, struct.pack(">IH", 0, 0xffff)),
    b"\0\0\0\3" + option(10, struct.pack(">II", 0, 0xffffffff)),
    b"\0\0\0\3" + option(8, b"") + option(10, struct.pack(">III", 0, 1, 0xffffffff)) + go,
    b"\0\0\0\3" + option(3, b"") * 200,
    b"\0\0\0\3" + go + request(0, 0, 0, 0xffffffff) + request(0, 0, 2**63, 1) + request(0, 0, 2**64 - 1, 2),
    b"\0\0\0\3" + go + request(0xffff, 1, 0, 4) + b"abcd" + request(0, 99, 0, 0) + request(0, 7, 0, 4096),
    b"\0\0\0\3" + go + request(0, 1, 0, 0xffffffff) + bytes(100000),
    b"\0\0\0\3" + go + request(0, 4, 2**62, 0xffffffff) + request(0, 6, 100, 0xffffffff),
    b"\0\0\0\3" + go + b"".join(request(0, 0, 0, 1 << 25) for _ in range(20)),
    b"\0\0\0\3" + option(8, b"") + go + b"".join(request(4, 0, 0, 4096) for _ in range(5000))]
for _ in range(150):
    base = bytearray(rand.choice(streams[9:]) or b"x")
    for _ in range(rand.randrange(1, 6)):
        base[rand.randrange(len(base))] = rand.randrange(256)
    streams.append(bytes(base))
for data in streams:
    s = connect()
    try:
        s.sendall(data)
        if rand.random() < 0.5:
            s.shutdown(socket.SHUT_WR)
            while s.recv(1 << 20): pass
    except (BrokenPipeError, ConnectionResetError, TimeoutError):
        pass
    s.close()
END
kill -0 $server || fail "the server has died: $(cat serve.err)"
[ "$(nbdinfo --size "$uri")" = 62914560 ] || fail "it does not answer any more"
finish
"$vhd" check new.vhd >out || { cat out; fail "the image is damaged"; }

echo "== usage"
expect 2 serve disk.vhd --port 99999
expect 2 serve disk.vhd --socket s --port 5
expect 1 serve disk.vhd --address 256.1.1.1
expect 1 serve missing.vhd
echo passed

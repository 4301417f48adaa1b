#!/bin/bash
# Debian's drivers against the board's smaller devices: the HPET as the clock, the second serial
# port, the printer port, and the virtio console with its ports.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
initrd tests/guest/board-guest.sh virtio_pci virtio_console parport_pc lp
# The far ends of a line's socket: says what it hears until a text, answers, listens on.
cat >"$tmp/far.py" <<'PY'
import hashlib, os, socket, sys, time
kind, path = sys.argv[1:3]
while True:
    try:
        s = socket.socket(socket.AF_UNIX)
        s.connect(path)
        break
    except OSError:
        time.sleep(0.1)
if kind == "line":
    heard = b""
    while not heard.endswith(b"\n"):
        heard += s.recv(1)
    print(heard.decode().strip(), flush=True)
    s.sendall(b"and hello to you\n")
    while s.recv(4096):
        pass
else: # a file each way
    payload = os.urandom(300000)
    print(hashlib.md5(payload).hexdigest(), flush=True)
    s.sendall(payload)
    s.close()
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    got = b""
    while len(got) < 40960:
        piece = s.recv(65536)
        if not piece:
            break
        got += piece
    print(hashlib.md5(got).hexdigest(), flush=True)
    s.sendall(b"ok")
    while s.recv(4096):
        pass
PY
start --memory 128M --cpus 2 --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
    --append "console=ttyS0 panic=-1 clocksource=hpet" --no-reboot --serial "file:$log" \
    --serial "unix:$tmp/com2" --parallel "file:$tmp/printed" --console "unix:$tmp/hvc0" \
    --port "org.drover.test=unix:$tmp/port" --port "to.file=file:$tmp/ported" --control "ipc://$tmp/control"
far=()
for end in "line com2" "line hvc0" "files port"; do
    set -- $end
    python3 "$tmp/far.py" "$1" "$tmp/$2" >"$tmp/$2.heard" &
    processes+=($!) far+=($!)
done
wait_end
wait "${far[@]}"
sum() { md5sum <"$1" | cut -c 1-32; }
check clock hpet
check hpet 1
check rtc read
check serial "ttyS1 at I/O 0x2f8 (irq = 3, base_baud = 115200) is a 16550A"
check com2 "and hello to you"
check hvc0 "and hello to you"
check parport "0x378, irq 7 [PCSPP,TRISTATE]"
check printed yes
check ports "org.drover.test to.file "
check port "$(sed -n 1p "$tmp/port.heard")"
check kernel ""
check end yes
[ "$(cat "$tmp/com2.heard")" = "hello over COM2" ] || fail "COM2 says \"$(cat "$tmp/com2.heard")\""
[ "$(tr -d '\r' <"$tmp/hvc0.heard")" = "hello over hvc0" ] || fail "hvc0 says \"$(cat "$tmp/hvc0.heard")\""
for file in printed ported; do
    [ "$(sum "$tmp/$file")" = "$(value page)" ] || fail "what was $file is not what the guest sent"
done
[ "$(sed -n 2p "$tmp/port.heard")" = "$(value page)" ] || fail "the port does not carry what the guest sent"
end_test "HPET, COM2, the printer port, a virtio console and its ports" "$log"

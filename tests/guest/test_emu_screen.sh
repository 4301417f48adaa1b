#!/bin/bash
# The screen: a guest sets text, planar, 256-colour and linear modes through the video BIOS and draws
# in each. What a VNC viewer sees and what ctl screendump writes must be what QEMU shows.
. "$(dirname "$0")/emu_lib.sh"
nasm -w-all -f bin -o "$tmp/screen.img" tests/guest/screen.asm || exit 1
cp "$tmp/screen.img" "$tmp/qemu.img"
start --memory 64M --floppy "$tmp/screen.img" --boot-order a --debugcon "file:$tmp/ours.log" \
    --vnc "unix:$tmp/vnc" --control "ipc://$tmp/control" --allow "$tmp"
qemu-system-x86_64 -accel tcg -m 64 -vga std -display none -nodefaults -drive "if=floppy,format=raw,file=$tmp/qemu.img" \
    -boot a -debugcon "file:$tmp/qemu.log" -monitor "unix:$tmp/monitor,server,nowait" &
qemu=$!
processes+=($qemu)
# Both machines go through the modes together; a key, from a viewer here, takes each to the next one.
timeout 800 python3 - "$tmp" "$emu" <<'PY' || fail "the screens"
import hashlib, os, socket, struct, subprocess, sys, time, zlib
sys.argv, (tmp, emu) = ["vnc.py"], sys.argv[1:]
source = open("tests/guest/vnc.py").read().replace("\nmain()\n", "\n")
exec(source)

def read_ppm(path):
    data = open(path, "rb").read()
    fields, at = [], 0
    while len(fields) < 4:
        end = at
        while data[end:end + 1] not in (b" ", b"\n"):
            end += 1
        fields.append(data[at:end])
        at = end + 1
    return int(fields[1]), int(fields[2]), data[at:]

def read_png(path):
    data, at, packed = open(path, "rb").read(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        at += 12 + length
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        elif kind == b"IDAT":
            packed += body
    raw, stride = zlib.decompress(packed), width * 3
    rows, before = [], bytearray(stride)
    for y in range(height):
        way, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for i in range(stride if way else 0):
            a, b, c = (row[i - 3] if i >= 3 else 0), before[i], (before[i - 3] if i >= 3 else 0)
            if way == 1: row[i] = row[i] + a & 255
            elif way == 2: row[i] = row[i] + b & 255
            elif way == 3: row[i] = row[i] + (a + b) // 2 & 255
            else:
                p = a + b - c
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
                row[i] = row[i] + (a if pa <= pb and pa <= pc else b if pb <= pc else c) & 255
        rows.append(bytes(row))
        before = row
    return width, height, b"".join(rows)

def lines(path):
    text = open(path).read() if os.path.exists(path) else ""
    whole = text[:text.rfind("\n") + 1].splitlines()
    return [line for line in whole if line == "over" or line.startswith("mode ")]

def wait(condition, what):
    for _ in range(6000): # only a hang takes ten minutes
        if condition():
            return
        time.sleep(0.1)
    sys.exit(f"FAIL: {what}")

class Monitor:
    def __init__(self, path):
        wait(lambda: os.path.exists(path), "no monitor")
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.answer()
    def answer(self):
        text = b""
        while not text.endswith(b"(qemu) "):
            text += self.socket.recv(4096)
    def do(self, command):
        self.socket.sendall(command.encode() + b"\n")
        self.answer()

monitor = Monitor(tmp + "/monitor")
wait(lambda: os.path.exists(tmp + "/vnc"), "no viewer's socket")
viewer = Viewer("unix:" + tmp + "/vnc")
failed, count = [], 0
while True:
    wait(lambda: len(lines(tmp + "/ours.log")) > count and len(lines(tmp + "/qemu.log")) > count, f"mode {count} never comes")
    mode = lines(tmp + "/ours.log")[count]
    assert lines(tmp + "/qemu.log")[count] == mode, (mode, lines(tmp + "/qemu.log"))
    count += 1
    if mode == "over":
        break
    monitor.do(f"screendump {tmp}/qemu.ppm")
    subprocess.run([emu, "ctl", tmp + "/control", "screendump", tmp + "/ours.png"], check=True)
    ours, theirs = read_png(tmp + "/ours.png"), read_ppm(tmp + "/qemu.ppm")
    # QEMU's palette and its 15- and 16-bit colours end short of full brightness; a DAC's do not.
    exact = mode[5:] in ("0112", "0142", "0118")
    table = bytes(i if exact else i >> 3 for i in range(256))
    mine, its = (ours[0], ours[1], ours[2].translate(table)), (theirs[0], theirs[1], theirs[2].translate(table))
    if mine != its:
        same = ours[:2] == theirs[:2] and sum(a != b for a, b in zip(mine[2], its[2]))
        failed.append(f"{mode}: {ours[0]}x{ours[1]}, QEMU {theirs[0]}x{theirs[1]}" + (f", {same} bytes differ" if same else ""))
        for name in ("ours.png", "qemu.ppm"):
            os.rename(f"{tmp}/{name}", f"{tmp}/{mode[5:]}-{name}")
    # The viewer sees the same, once it has been told all.
    for _ in range(6000):
        if (viewer.width, viewer.height, viewer.rgb()) == ours:
            break
        viewer.update(False)
        time.sleep(0.05)
    else:
        failed.append(f"{mode}: the viewer sees something else")
    viewer.socket.sendall(struct.pack(">BBxxI", 4, 1, 0x20) + struct.pack(">BBxxI", 4, 0, 0x20))
    monitor.do("sendkey spc")
for text in failed:
    print("FAIL:", text)
print(count - 1, "modes")
sys.exit(bool(failed))
PY

# A viewer that is not ours, at a port; and what is no place for viewers.
kill -KILL $qemu
end_machine
port=$((5920 + $$ % 70))
start --memory 32M --vnc "127.0.0.1:$port" --control "ipc://$tmp/control"
shows() { ctl text 2>/dev/null | grep -q "$1"; }
wait_until shows "No bootable device" || fail "the BIOS does not come to its end"
timeout 300 gvnccapture "127.0.0.1:$((port - 5900))" "$tmp/capture.png" >"$tmp/capture.log" 2>&1 || { cat "$tmp/capture.log"; fail "gvnccapture"; }
[ "$(od -An -tx1 -j16 -N8 "$tmp/capture.png" | tr -d ' ')" = 000002d000000190 ] || fail "gvnccapture's picture is not of 720x400"
# Pages of web sites have no business at the port.
timeout 300 curl -sS -i -N --max-time 60 -H "Connection: Upgrade" -H "Upgrade: websocket" -H "Origin: http://example.org" -H "Host: 127.0.0.1" \
    -H "Sec-WebSocket-Version: 13" -H "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==" "http://127.0.0.1:$port/" >"$tmp/page" 2>/dev/null
[ $? -eq 28 ] && fail "a WebSocket at a port stays open"
for where in 0.0.0.0:5900 :1 example.org:5900 127.0.0.1:0 unix:; do
    "$emu" --vnc "$where" 2>/dev/null
    [ $? -eq 2 ] || fail "--vnc $where is taken"
done
end_test "every mode looks as it does in QEMU, to a viewer, too"

#!/bin/bash
# The life of a machine that SeaBIOS boots from a sector of ours: serial output, control socket, pause,
# reset, power button, triple fault, the exit statuses.
. "$(dirname "$0")/emu_lib.sh"
cd "$tmp" || exit 1

# sector NAME ACTION: says hello, then acts.
sector() { boot_sector "$1" "hello from the boot sector" "" "$2" "idt:    dw 0, 0, 0"; }
sector stay ""
sector triple "        lidt [idt]
        int3"
sector keyboard "        mov al, 0xfe
        out 0x64, al"
sector pci "        mov al, 6
        mov dx, 0xcf9
        out dx, al"
sector exit "        mov al, 21
        out 0xf4, al"
sector off "        mov dx, 0x604
        mov ax, 0x2000
        out dx, ax"

# run IMAGE OPTION... : the exit status of a machine that ends by itself.
run() {
    local image=$1
    shift
    timeout 600 "$emu" --memory 32M --disk "file=$image.img,bus=ide,format=raw" --serial stdio "$@" \
        </dev/null >"$image.out" 2>"$image.err"
}

run triple --no-reboot
[ $? -eq 3 ] || fail "triple fault: status is not 3"
grep -q "triple fault" triple.err || fail "triple fault: no line on stderr"
[ "$(wc -l <triple.err)" -eq 1 ] || fail "triple fault: not one line"
run keyboard --no-reboot || fail "reset by the keyboard controller: status is not 0"
run pci --no-reboot || fail "reset by port 0xcf9: status is not 0"
run off || fail "soft off: status is not 0"
run exit --debug-exit
[ $? -eq 43 ] || fail "debug exit: status is not 43"
for image in triple keyboard pci off exit; do
    grep -q "hello from the boot sector" $image.out || fail "$image: no hello"
done

# The control socket, with a machine that stays.
start --name life --memory 32M --disk file=stay.img,bus=ide,format=raw --serial unix:serial \
    --control "ipc://$tmp/control" --pidfile pid --debugcon file:bios.log
field() { ctl status -o json | jq -r ".$1"; }
said_hello() { [ "$(field serial_out_bytes 2>/dev/null)" -ge $((28 * $1)) ] 2>/dev/null; }
wait_until said_hello 1 || fail "no hello"
[ "$(cat pid)" = $pid ] || fail "the pidfile is wrong"
[ "$(field name)" = life ] || fail "the name is wrong"
[ "$(field state)" = running ] || fail "the state is not running"
[ "$(field 'disks[0].reads')" -gt 0 ] || fail "no reads were counted"
[ "$(stat -c %a control)" = 600 ] || fail "the control socket's mode is not 600"

# The serial socket replays what was said before.
python3 - <<'END' || fail "the serial socket does not replay"
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(300)
s.connect("serial")
got = b""
while b"hello from the boot sector" not in got:
    part = s.recv(4096)
    if not part: sys.exit(1)
    got += part
END

ctl pause || fail "pause"
[ "$(field state)" = paused ] || fail "the state is not paused"
before=$(field uptime_ns)
interpreted=$(field interpreted_instructions)
sleep 0.3
[ "$(field uptime_ns)" = "$before" ] || fail "time goes on in a paused machine"
[ "$(field interpreted_instructions)" = "$interpreted" ] || fail "a paused machine executes"
ctl powerdown 2>/dev/null && fail "a paused machine took the power button"
ctl resume || fail "resume"
[ "$(field state)" = running ] || fail "the state is not running again"

ctl screendump screen.png || fail "screendump"
[ "$(head -c 4 screen.png | tail -c 3)" = PNG ] || fail "the picture is no PNG"
ctl screendump /nowhere/screen.png 2>err && fail "a screendump to nowhere succeeded"
grep -q /nowhere/ err || fail "the message does not name the file"

ctl reset || fail "reset"
wait_until said_hello 2 || fail "no hello after the reset"
[ "$(field resets)" = 1 ] || fail "the reset was not counted"

# SIGTERM is the power button, which this guest does not hear; a second one cuts the power.
kill -TERM $pid
sleep 0.3
gone && fail "one SIGTERM ended the machine"
while ! gone; do kill -TERM $pid; sleep 0.3; done
wait_end
[ -e pid ] && fail "the pidfile is left behind"
[ -e serial ] && fail "the serial socket is left behind"

# At a terminal: raw while it runs, Ctrl-A x ends it, and the terminal is as before.
python3 - "$emu" <<'END' || fail "the terminal"
import os, pty, subprocess, sys, termios, time
ours, theirs = pty.openpty()
before = termios.tcgetattr(theirs)
machine = subprocess.Popen([sys.argv[1], "--memory", "32M", "--serial", "stdio",
                            "--disk", "file=stay.img,bus=ide,format=raw"], stdin=theirs, stdout=theirs)
got = b""
while b"hello from the boot sector" not in got:
    got += os.read(ours, 4096)
raw = termios.tcgetattr(theirs)
os.write(ours, b"abc\x01\x01\x01x")
status = machine.wait(600)
after = termios.tcgetattr(theirs)
sys.exit(status != 0 or after != before or raw[3] & termios.ICANON != 0)
END

# quit.
start --memory 32M --control "ipc://$tmp/control"
wait_ctl
ctl quit || fail "quit"
wait_end

# A second opener of a disk is refused by name.
start --memory 32M --disk file=stay.img,bus=ide,format=raw --control "ipc://$tmp/control"
wait_ctl
run stay && fail "two machines share a disk"
grep -q "stay.img is in use" stay.err || fail "the message does not say that the disk is in use"
ctl quit
wait_end

end_test "all as it should be"

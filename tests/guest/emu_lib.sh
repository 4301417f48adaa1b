# What the tests of drover-emu share; they source it. They run from the top of the tree. A failure is told
# and the test goes on; what cannot be had ends it as skipped; end_test is the last line of each.
#
# Nothing here goes by the clock: what is waited for comes, or the machine ends, or it hangs, which takes
# ten minutes to be believed (tests/run.sh ends a test after fifteen).
set -u
self=$(realpath "$0")
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
BUILD=$(realpath "${BUILD:-build}")
export BUILD PATH=$PATH:/sbin:/usr/sbin LC_ALL=C
emu=$BUILD/drover-emu vhd=$BUILD/drover-vhd guest=$BUILD/guest
tmp=${TEST_TMP:-$(mktemp -d)}
log=$tmp/log         # the machine's serial line, for value() and check()
control=$tmp/control # its control socket, for ctl()
failed=0
pid=         # the machine; empty: none
status=0     # its exit status, once it has ended
processes=() # what must be gone when the test ends

fail() { echo "FAIL: $*"; failed=1; }
skip() { echo "skipped: $*"; exit 77; }
end_processes() {
    local p
    for p in "${processes[@]}"; do kill -KILL "$p" 2>/dev/null; done
    wait "${processes[@]}" 2>/dev/null
}
trap end_processes EXIT

# need_guest FILE...: of the build's folder of guests.
need_guest() {
    local file
    for file in "$@"; do [ -e "$guest/$file" ] || skip "$guest/$file is not there (make guest)"; done
}

# has_model MODEL: can this host run it? A machine that has a model comes as far as to miss its kernel.
has_model() {
    "$emu" --cpu-model "$1" --kernel "$tmp/no-such-kernel" 2>"$tmp/model"
    grep -q no-such-kernel "$tmp/model"
}

# own_network: runs the test anew in a network namespace of its own, which keeps ports and bridges to itself.
# False where there is none to be had; then one test after the other has the host's.
own_network() {
    if [ "${IN_NAMESPACE:-}" != yes ] && unshare -n true 2>/dev/null; then
        IN_NAMESPACE=yes exec unshare -n "$self"
    fi
    [ "${IN_NAMESPACE:-}" = yes ] && ip link set lo up && return
    exec 7>"$BUILD/network.lock" # the others wait until this test is over
    flock 7
    return 1
}

# initrd SCRIPT MODULE...: what initrd.sh makes of them is $tmp/initrd.gz.
initrd() { tests/guest/initrd.sh "$tmp/initrd.gz" "$@" || { echo "cannot make the initramfs"; exit 1; }; }

# serve_payload: at port 8123, a file of that name, whose MD5 is $sum.
serve_payload() {
    mkdir -p "$tmp/www"
    head -c 3000000 /dev/urandom >"$tmp/www/payload"
    sum=$(md5sum <"$tmp/www/payload" | cut -c 1-32)
    (cd "$tmp/www" && exec python3 -m http.server 8123 >/dev/null 2>&1) &
    processes+=($!)
}

# boot_sector NAME TEXT BEFORE AFTER DATA: NAME.img, whose first sector does BEFORE, says TEXT at COM1, does
# AFTER and halts; all but TEXT is assembler.
boot_sector() {
    cat >"$1.asm" <<END
        bits 16
        org 0x7c00
        cli
        xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
$3
        mov si, text
next:   lodsb
        test al, al
        jz act
        mov dx, 0x3f8
        out dx, al
        jmp next
act:
$4
halt:   sti
        hlt
        jmp halt
text:   db "$2", 13, 10, 0
$5
        times 510 - (\$ - \$\$) db 0
        dw 0xaa55
END
    nasm -f bin -o "$1.img" "$1.asm" || exit 1
    truncate -s 4M "$1.img"
}

# ---- a machine ------------------------------------------------------------------------------------

# start OPTION...: a machine in the background.
start() {
    "$emu" "$@" <&0 & # its own input, if it is given one
    pid=$!
    processes+=($pid)
}
ctl() { timeout 300 "$emu" ctl "$control" "$@"; }
gone() { ! kill -0 "$pid" 2>/dev/null; }

# wait_until COMMAND...: for it to succeed; false when the machine has ended first, or hangs.
wait_until() {
    local hangs=$((SECONDS + ${PATIENCE:-600}))
    while ! "$@"; do
        if [ -n "$pid" ] && gone; then
            "$@" # it may have come last of all
            return
        fi
        [ $SECONDS -lt $hangs ] || return
        sleep 0.1
    done
}
says() { grep -aqs -- "$2" "$1"; }
# wait_for FILE PATTERN
wait_for() {
    wait_until says "$1" "$2" && return
    fail "$1 never says \"$2\""
    tail -n 20 "$1"
    return 1
}
# For its control socket to answer.
wait_ctl() { wait_until answers || fail "ctl status is never answered"; }
answers() { ctl status >/dev/null 2>&1; }

# wait_end [STATUS]: the machine ends by itself, and with that status.
wait_end() {
    wait_until gone || fail "the machine does not end"
    end_machine
    [ $status -eq "${1:-0}" ] || fail "the machine's status is $status"
}
end_machine() {
    kill -KILL "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    status=$?
    pid=
}

# A line of words to the guest whose serial line was given `--serial stdio` and `<&8`. Whoever is started so
# hears them, in the next process too.
open_line() {
    mkfifo "$tmp/line"
    exec 8<>"$tmp/line"
}
tell() { echo "$1" >&8; }

# ---- what the guest says --------------------------------------------------------------------------

# value NAME: of the guest's lines "result NAME: VALUE".
value() { tr -d '\r' <"$log" | sed -n "s/^result $1: //p"; }
# check NAME VALUE
check() { [ "$(value "$1")" = "$2" ] || fail "$1 is \"$(value "$1")\", not \"$2\""; }

# end_test WORDS [LOG...]: ends the test; the logs' ends are shown if it failed.
end_test() {
    local words=$1
    shift
    if [ $failed -eq 0 ]; then
        echo "$words"
    elif [ $# -gt 0 ]; then
        tail -n 40 "$@"
    fi
    exit $failed
}

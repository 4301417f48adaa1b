#!/bin/bash
# ctl type: a long text reaches a program that asks the BIOS for keys, and is slow at it, whole.
set -u
cd "$(dirname "$0")/../.."
emu=$BUILD/drover-emu
tmp=${TEST_TMP:-$(mktemp -d)}
failed=0
fail() { echo "FAIL: $*"; failed=1; }
nasm -w-all -f bin -o "$tmp/echo.img" tests/guest/echo.asm || exit 1
nasm -w-all -DSLOW -f bin -o "$tmp/slow.img" tests/guest/echo.asm || exit 1
python3 - "$tmp/text" <<'PY'
import sys
signs = "".join(chr(c) for c in range(32, 127))
open(sys.argv[1], "w").write("".join(signs[(i * i + i // 7) % 95] for i in range(2000)))
PY

check() { # WHAT IMAGE LENGTH: what the guest says that it was given is the text
    local what=$1 image=$2 length=$3 pid i
    rm -f "$tmp/log"
    "$emu" --memory 32M --floppy "$image" --boot-order a --debugcon "file:$tmp/log" --control "ipc://$tmp/control" &
    pid=$!
    for i in $(seq 600); do grep -qs '^ready$' "$tmp/log" && break; sleep 0.1; done
    head -c "$length" "$tmp/text" >"$tmp/typed"
    "$emu" ctl "$tmp/control" type "$(cat "$tmp/typed")
" || fail "$what: type"
    for i in $(seq 2400); do # only a hang takes four minutes
        [ "$(sed '1,/^ready$/d' "$tmp/log" | wc -l)" -ge 1 ] && break
        sleep 0.1
    done
    kill -KILL $pid
    wait $pid 2>/dev/null
    sed '1,/^ready$/d' "$tmp/log" | tr -d '\r\n' >"$tmp/got"
    cmp "$tmp/typed" "$tmp/got" || fail "$what: not what was typed"
}
check "a program that waits for keys" "$tmp/echo.img" 2000
check "a program that is slow" "$tmp/slow.img" 60
[ $failed -eq 0 ] && echo "every key arrives"
exit $failed

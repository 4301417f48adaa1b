#!/bin/bash
# ctl type: a long text reaches a program that asks the BIOS for keys, and is slow at it, whole.
. "$(dirname "$0")/emu_lib.sh"
nasm -w-all -f bin -o "$tmp/echo.img" tests/guest/echo.asm || exit 1
nasm -w-all -DSLOW -f bin -o "$tmp/slow.img" tests/guest/echo.asm || exit 1
python3 - "$tmp/text" <<'PY'
import sys
signs = "".join(chr(c) for c in range(32, 127))
open(sys.argv[1], "w").write("".join(signs[(i * i + i // 7) % 95] for i in range(2000)))
PY

answered() { [ "$(sed '1,/^ready$/d' "$log" | wc -l)" -ge 1 ]; }
type_to() { # WHAT IMAGE LENGTH: what the guest says that it was given is the text
    local what=$1 image=$2 length=$3
    rm -f "$log"
    start --memory 32M --floppy "$image" --boot-order a --debugcon "file:$log" --control "ipc://$tmp/control"
    wait_for "$log" '^ready$'
    head -c "$length" "$tmp/text" >"$tmp/typed"
    ctl type "$(cat "$tmp/typed")
" || fail "$what: type"
    wait_until answered || fail "$what: no answer"
    end_machine
    sed '1,/^ready$/d' "$log" | tr -d '\r\n' >"$tmp/got"
    cmp "$tmp/typed" "$tmp/got" || fail "$what: not what was typed"
}
type_to "a program that waits for keys" "$tmp/echo.img" 2000
type_to "a program that is slow" "$tmp/slow.img" 60
end_test "every key arrives"

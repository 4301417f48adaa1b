#!/bin/bash
# noVNC, as people's browsers run it, before a real machine: Chromium shows the guest's screen, what
# is typed reaches the guest, and the pointer is where it points.
. "$(dirname "$0")/../guest/emu_lib.sh"
for command in node npm chromium; do
    command -v $command >/dev/null || skip "$command is not installed: deploy/install-deps.sh does it"
done
mkdir -p "$tmp/browser"
cp tests/browser/*.js* "$tmp/browser/"
(cd "$tmp/browser" && timeout 400 npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) || {
    tail -n 5 "$tmp/browser/npm.log"
    echo "npm cannot fetch what tests/browser/package-lock.json names"
    exit 1
}
nasm -w-all -f bin -o "$tmp/echo.img" tests/guest/echo.asm || exit 1
start --memory 32M --floppy "$tmp/echo.img" --boot-order a --debugcon "file:$tmp/log" --vnc "unix:$tmp/vnc" \
    --control "ipc://$tmp/control" --allow "$tmp"
wait_until test -S "$tmp/vnc" && wait_until test -e "$tmp/log" || fail "no machine"
cd "$tmp/browser" && HOME=$tmp timeout 400 node novnc.js "$emu" "$tmp"

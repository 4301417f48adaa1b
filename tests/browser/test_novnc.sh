#!/bin/bash
# noVNC, as people's browsers run it, before a real machine: Chromium shows the guest's screen, what
# is typed reaches the guest, and the pointer is where it points.
set -u
cd "$(dirname "$0")/../.."
emu=$BUILD/drover-emu
tmp=${TEST_TMP:-$(mktemp -d)}
for command in node npm chromium; do
    command -v $command >/dev/null || { echo "$command is not installed: deploy/install-deps.sh does it"; exit 77; }
done
mkdir -p "$tmp/browser"
cp tests/browser/*.js* "$tmp/browser/"
(cd "$tmp/browser" && timeout 120 npm ci --ignore-scripts --no-audit --no-fund >npm.log 2>&1) || {
    tail -n 5 "$tmp/browser/npm.log"
    echo "npm cannot fetch what tests/browser/package-lock.json names"
    exit 1
}
nasm -w-all -f bin -o "$tmp/echo.img" tests/guest/echo.asm || exit 1
"$emu" --memory 32M --floppy "$tmp/echo.img" --boot-order a --debugcon "file:$tmp/log" --vnc "unix:$tmp/vnc" \
    --control "ipc://$tmp/control" --allow "$tmp" &
pid=$!
trap 'kill -KILL $pid 2>/dev/null' EXIT
for _ in $(seq 600); do [ -S "$tmp/vnc" ] && [ -e "$tmp/log" ] && break; sleep 0.1; done
cd "$tmp/browser" && HOME=$tmp timeout 200 node novnc.js "$emu" "$tmp"

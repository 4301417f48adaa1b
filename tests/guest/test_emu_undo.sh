#!/bin/bash
# Machines on undo disks: what their guest wrote is committed, kept or discarded when they end, as the
# option or ctl says; kill -9 and a saved machine keep it. And disks that are held to a rate.
. "$(dirname "$0")/emu_lib.sh"
cd "$tmp" || exit 1

# sector NAME ACTION: counts up the first byte of sector 5, says so, and then acts.
sector() {
    boot_sector "$1" counted "        mov [drive], dl
        mov ah, 0x42
        call transfer
        inc byte [0x8000]
        mov ax, 0x4300
        call transfer" "$2
        jmp halt
transfer:
        mov si, packet
        mov dl, [drive]
        int 0x13
        jc halt
        ret" "drive:  db 0
        align 4
packet: db 16, 0
        dw 1, 0x8000, 0
        dq 5"
}
sector off "        mov dx, 0x604
        mov ax, 0x2000
        out dx, ax"
sector stay ""

# count_of FILE: what its sector 5 begins with, seen through the whole chain
count_of() { "$vhd" convert --quiet --type raw "$1" - | od -An -tu1 -j2560 -N1 | tr -d ' '; }
# expect WHAT BASE UNDO: the counts in base.vhd and in its undo disk ("-": there is none)
expect() {
    local undo=-
    [ "$(count_of base.vhd)" = "$2" ] || fail "$1: the base counts $(count_of base.vhd), not $2"
    [ ! -e base.vhd.undo ] || undo=$(count_of base.vhd.undo)
    [ "$undo" = "$3" ] || fail "$1: the undo disk counts $undo, not $3"
}
run() {
    timeout 600 "$emu" --memory 32M --disk "file=base.vhd,bus=ide,$1" --serial stdio </dev/null >out 2>err ||
        { cat err; fail "$1: status $?"; }
    grep -q counted out || fail "$1: the guest did not come to its end"
}

for type in dynamic fixed vhdx; do
    echo "== $type"
    rm -f base.vhd base.vhd.undo
    "$vhd" convert --quiet --type $type off.img base.vhd
    run undo=commit && expect "commit" 1 -
    run undo=discard && expect "discard" 1 -
    run undo=keep && expect "keep" 1 2
    run undo=keep && expect "keep, again" 1 3
    run undo=commit && expect "commit what was kept" 4 -
    run undo=keep && "$vhd" undo discard base.vhd && expect "discard by hand" 4 -
    run undo=keep && "$vhd" undo commit --quiet base.vhd && expect "commit by hand" 5 -
done

# A machine that stays: with the options given, until its guest has counted.
stay() {
    start --memory 32M --disk "file=base.vhd,bus=ide,$1" --serial file:serial --control "ipc://$tmp/control" 2>err
    wait_for serial counted || cat err
}
end() { ctl quit; wait_end; rm -f serial; }

echo "== kill -9 keeps it, and the next machine goes on with it"
rm -f base.vhd base.vhd.undo serial
"$vhd" convert --quiet stay.img base.vhd
stay undo=discard
ctl pause # so that what was counted has reached the file
end_machine
rm -f serial
[ -e base.vhd.undo ] || fail "kill -9 took the undo disk away"
[ "$(count_of base.vhd)" = 0 ] || fail "kill -9 changed the base"
"$vhd" check base.vhd.undo >/dev/null || { "$vhd" check --repair base.vhd.undo >/dev/null; [ $? -eq 3 ]; } ||
    fail "what kill -9 left is damaged"
stay undo=commit
end
[ ! -e base.vhd.undo ] || fail "after kill -9: the undo disk is still there"
[ "$(count_of base.vhd)" -ge 1 ] || fail "after kill -9: nothing was committed"

echo "== ctl decides"
before=$(count_of base.vhd)
stay undo=keep
ctl undo 0 discard || fail "ctl undo"
ctl undo 1 discard 2>err && fail "ctl undo of a disk that is not there"
ctl undo 0 maybe 2>err && fail "ctl undo maybe"
end
expect "ctl undo discard" "$before" -

echo "== a saved machine keeps it"
stay undo=discard
ctl save "$tmp/saved" || fail "save"
end
expect "saved" "$before" $((before + 1))
start --memory 32M --disk "file=base.vhd,bus=ide,undo=discard" --serial file:serial \
    --control "ipc://$tmp/control" --restore saved 2>err
wait_ctl
end
expect "restored, and ended" "$before" -

echo "== on a disk that stands on another"
rm -f base.vhd saved.vhd
"$vhd" convert --quiet off.img base.vhd
run chain=on && "$vhd" snapshot base.vhd saved.vhd && run chain=on
[ "$(count_of base.vhd)/$(count_of saved.vhd)" = 2/1 ] || fail "$(count_of base.vhd) on the child, $(count_of saved.vhd) on what was saved"
"$emu" --disk file=base.vhd 2>err && fail "a differencing disk without chain=on"
run undo=commit # an undo disk is a child itself
[ "$(count_of base.vhd)/$(count_of saved.vhd)" = 3/1 ] || fail "undo upon a child: $(count_of base.vhd)"

echo "== a bitmap notes what a guest writes"
rm -f base.vhd
"$vhd" convert --quiet off.img base.vhd
"$vhd" bitmap add base.vhd daily
run bus=ide
[ "$("$vhd" bitmap map base.vhd daily --json)" = '[{"offset": 0, "length": 65536}]' ] ||
    fail "the bitmap says: $("$vhd" bitmap list base.vhd) $("$vhd" bitmap map base.vhd daily)"
"$vhd" bitmap clear base.vhd daily
run undo=commit # by way of the merge, too
[ "$("$vhd" bitmap map base.vhd daily --json)" = '[{"offset": 0, "length": 65536}]' ] || fail "a commit is not noted"

echo "== what cannot be"
cp stay.img base.img
"$emu" --disk file=base.img,format=raw,undo=keep 2>err && fail "an undo disk upon a raw disk"
grep -q "convert it first" err || fail "an undo disk upon a raw disk: $(cat err)"
for bad in undo=perhaps undo=keep,readonly=on bps=fast iops=0 bps-burst=1M iops-burst=5,bps=1M; do
    "$emu" --disk "file=base.vhd,$bad" 2>err && fail "$bad was taken"
    [ "$(wc -l <err)" = 1 ] || fail "$bad: not one line"
done

echo "== a disk held to a rate works"
rm -f base.vhd
"$vhd" convert --quiet off.img base.vhd
run bps=1M,iops=200,bps-burst=64K,iops-burst=4
[ "$(count_of base.vhd)" = 1 ] || fail "a disk held to a rate lost a write"
end_test passed err

#!/bin/bash
# drover-vhd's commands by their exit status and output, against what qemu-img says of the same files.
set -eu
cd "$TEST_TMP"
vhd=$BUILD/drover-vhd

fail() { echo "FAILED: $*" >&2; exit 1; }

# Runs drover-vhd and expects that exit status; its output is in out and err.
expect() {
    local wanted=$1 got=0
    shift
    "$vhd" "$@" >out 2>err || got=$?
    [ "$got" = "$wanted" ] || { cat out err; fail "drover-vhd $* ended with $got, not $wanted"; }
}

truncate -s 40M disk.img
for at in 0 5 6 31; do
    head -c 70000 /dev/urandom | dd of=disk.img bs=1M seek=$at conv=notrunc status=none
done
qemu-img convert -f raw -O vpc -o force_size=on disk.img theirs.vhd
"$vhd" convert --quiet disk.img ours.vhd

echo "== map agrees with qemu-img"
for file in ours.vhd theirs.vhd; do
    expect 0 map $file --json
    jq -c '[.[] | [.offset, .length]]' out >ours.json
    # qemu-img splits at file offsets and knows the holes inside a block; ours are whole blocks
    qemu-img map -f vpc --output=json $file | jq '.[] | select(.data) | .start' |
        while read -r start; do
            jq -e --argjson s "$start" 'any(.[]; .[0] <= $s and $s < .[0] + .[1])' ours.json \
                >/dev/null || fail "$file: byte $start is missing from the map"
        done
    expect 0 map $file
    [ "$(($(wc -l <out) - 1))" = "$(jq length ours.json)" ] || fail "the two forms of map differ"
done
[ "$(cat ours.json)" = '[[0,2097152],[4194304,4194304],[31457280,2097152]]' ] ||
    fail "map of theirs.vhd is $(cat ours.json)"

echo "== compare agrees with qemu-img"
expect 0 compare disk.img ours.vhd
expect 0 compare ours.vhd theirs.vhd
cp theirs.vhd other.vhd
expect 0 compare theirs.vhd other.vhd
truncate -s 40M other.img
cp disk.img other.img
printf x | dd of=other.img bs=1 seek=33000000 conv=notrunc status=none
expect 1 compare other.img ours.vhd
grep -q "33000000" out || fail "compare names another offset: $(cat out)"
! qemu-img compare -q -f raw -F vpc other.img ours.vhd || fail "qemu-img sees no difference"
expect 2 compare disk.img missing.vhd
expect 2 compare disk.img

echo "== check"
expect 0 check ours.vhd
expect 0 check theirs.vhd
expect 0 check theirs.vhd --repair
expect 2 check disk.img
expect 2 check missing.vhd
expect 2 check ours.vhd --xml
cp ours.vhd hurt.vhd
truncate -s -512 hurt.vhd
expect 1 check hurt.vhd --json
[ "$(jq -r .verdict out)" = damaged ] || fail "no verdict in JSON"
cp hurt.vhd before.vhd
expect 1 check hurt.vhd
cmp hurt.vhd before.vhd || fail "check without --repair changed the file"
expect 3 check hurt.vhd --repair
expect 0 check hurt.vhd
qemu-img compare -q -f raw -F vpc disk.img hurt.vhd || fail "the repaired disk has another content"
printf '\x7f' | dd of=hurt.vhd bs=1 seek=1536 conv=notrunc status=none
expect 1 check hurt.vhd --repair
grep -q "left as it was" out || fail "no word that nothing was done"

echo "== compare in JSON"
expect 1 compare other.img ours.vhd --json
[ "$(jq -c . out)" = '{"equal":false,"offset":33000000,"sizes":[41943040,41943040]}' ] || fail "$(cat out)"
expect 0 compare disk.img ours.vhd --json
[ "$(jq .equal out)" = true ] || fail "$(cat out)"

echo "== exit statuses for scripts"
exec 9<>ours.vhd
python3 - <<'END' &
import fcntl, os, struct, time
fcntl.fcntl(9, 37, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))  # F_OFD_SETLK
open("locked", "w").close()
while not os.path.exists("unlock"):
    time.sleep(0.05)
END
holder=$!
until [ -e locked ]; do sleep 0.05; done
expect 4 info ours.vhd
expect 4 compare disk.img ours.vhd
touch unlock
wait $holder
exec 9<&-
expect 0 info ours.vhd
if mkdir full && mount -t tmpfs -o size=3m tmpfs full 2>/dev/null; then
    status=0
    head -c 8388608 /dev/urandom >big.img
    "$vhd" convert big.img full/copy.vhd --type fixed 2>err || status=$?
    umount full
    [ $status = 5 ] || { cat err; fail "a full file system is status $status, not 5"; }
else
    echo "(a full file system: not done, no tmpfs can be mounted here)"
fi

echo "== what makes no sense is refused, in one line"
rm -f absurd.*
expect 0 create parent.vhd --size 8M
expect 0 create child.vhd --parent parent.vhd
expect 0 create larger.vhd --size 9M
absurd() { # absurd STATUS WORDS ARGUMENT...
    expect "$1" "${@:3}"
    [ "$(wc -l <err)" = 1 ] || { cat err; fail "${*:3}: not one line"; }
    grep -q -e "$2" err || { cat err; fail "${*:3}: it does not say \"$2\""; }
    [ ! -e absurd.vhd ] || fail "${*:3}: left a file behind"
}
absurd 2 "no size" create absurd.vhd --size 0
absurd 2 "no size" create absurd.vhd --size -5
absurd 2 "no size" create absurd.vhd --size 99999999999999T
absurd 1 "multiple of 512" create absurd.vhd --size 1000
absurd 1 "2040 GiB" create absurd.vhd --size 3T
absurd 1 "64 TiB" create absurd.vhd --size 65T --type vhdx
absurd 1 "power of two" create absurd.vhd --size 1M --block-size 3K
absurd 1 "power of two" create absurd.vhd --size 1M --block-size 3T
absurd 1 "only a VHDX" create absurd.vhd --size 1M --sector-size 4096
absurd 1 "has no blocks" create absurd.vhd --size 1M --block-size 1M --type raw
absurd 1 "smaller than its parent" create absurd.vhd --parent parent.vhd --size 1M
absurd 2 "goes without --type" create absurd.vhd --parent parent.vhd --type vhdx
absurd 1 "File exists" create parent.vhd --size 1M
absurd 1 "File exists" convert parent.vhd parent.vhd
absurd 2 "standard output" convert parent.vhd - --type vhdx
absurd 2 "no size" resize parent.vhd 5X
absurd 1 "2040 GiB" resize parent.vhd 3T
absurd 2 "resize takes" resize parent.vhd
absurd 2 "resize takes" resize parent.vhd 9M --smallest
absurd 1 "smaller than its parent" resize child.vhd 4M
absurd 1 "no parent" merge parent.vhd
absurd 1 "would be a loop" rebase child.vhd child.vhd
absurd 1 "which is larger" rebase child.vhd larger.vhd
absurd 1 "File exists" snapshot parent.vhd parent.vhd
absurd 2 "not \"frob\"" undo frob parent.vhd
absurd 1 "No such file" undo commit parent.vhd
absurd 2 "no port" serve parent.vhd --port 99999
absurd 1 "not a regular file" info /dev/null
absurd 1 "not a regular file" info .
absurd 2 "Unknown option" info parent.vhd --bogus
absurd 2 "info takes FILE" info parent.vhd child.vhd

echo "== progress is shown where it is asked for"
expect 0 convert disk.img shown.vhd --progress
grep -q "shown.vhd .*100 %" err || fail "no progress: $(cat err)"
expect 0 convert disk.img hidden.vhd
[ ! -s err ] || fail "progress where it is no terminal: $(cat err)"

echo "== every command has help with an example"
expect 0 help
cp out help
commands=$(sed -n '1,/^$/d; /^$/q; s/^  \([a-z]*\) .*/\1/p' help)
[ "$(echo "$commands" | wc -w)" -ge 6 ] || fail "help lists too little: $commands"
for command in $commands; do
    expect 0 "$command" --help
    cp out long
    expect 0 help "$command"
    cmp -s out long || fail "help $command and $command --help differ"
    grep -q "^  drover-vhd $command " out || fail "help $command has no example"
    grep -q "Exit status:" out || fail "help $command does not say its exit status"
done
expect 2 help bogus
expect 2 bogus
echo passed

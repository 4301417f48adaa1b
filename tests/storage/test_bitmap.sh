#!/bin/bash
# Dirty bitmaps and incremental backups: who writes a disk, what a crash makes of it, and that the
# backup opens as the disk; and an export that is held to a rate.
set -eu
cd "$TEST_TMP"
vhd=$BUILD/drover-vhd
served=

fail() { echo "FAILED: $*" >&2; exit 1; }
trap '[ -z "$served" ] || kill -KILL $served 2>/dev/null' EXIT
# serve FILE OPTION...: until it says where it serves
serve() {
    rm -f serve.out
    "$vhd" serve "$1" --socket socket --once "${@:2}" >serve.out &
    served=$!
    until grep -qs serving serve.out; do kill -0 $served || fail "serve"; sleep 0.02; done
}
io() { qemu-io -f raw "$@" "nbd+unix:///?socket=$PWD/socket" >/dev/null; }
end() { wait $served; served=; }
dirty() { "$vhd" bitmap list "$1" --json | jq ".[] | select(.name == \"$2\") | .dirtyBytes"; }

for type in vhd vhd-fixed vhdx; do
    echo "== $type"
    rm -f -- *.disk *.bitmaps
    "$vhd" create d.disk --size 64M --type $type
    "$vhd" bitmap add d.disk daily
    "$vhd" bitmap add d.disk fine --grain 4K
    serve d.disk
    io -c "write -P 7 5M 1M" -c "write -P 1 63M 1M"
    end
    [ "$(dirty d.disk daily)" = 2097152 ] || fail "daily: $(dirty d.disk daily)"
    "$vhd" convert --quiet d.disk full.disk --type "${type/-fixed/}"
    "$vhd" bitmap clear d.disk daily
    [ "$(dirty d.disk daily)" = 0 ] || fail "it is not clear"
    serve d.disk
    io -c "write -P 9 9M 64k" -c "write -z 5M 128k" -c "discard 63M 64k"
    end
    [ "$("$vhd" bitmap map d.disk daily --json)" = '[{"offset": 5242880, "length": 131072},
 {"offset": 9437184, "length": 65536},
 {"offset": 66060288, "length": 65536}]' ] || { "$vhd" bitmap map d.disk daily; fail "another map"; }
    "$vhd" bitmap export d.disk daily one.disk --base full.disk --clear >/dev/null
    "$vhd" compare d.disk one.disk >/dev/null || fail "the first backup shows something else"
    serve d.disk
    io -c "write -P 3 20M 4k"
    end
    "$vhd" resize d.disk 66M >/dev/null # what it gained counts as written
    "$vhd" bitmap export d.disk daily two.disk --base one.disk --clear >/dev/null
    "$vhd" compare d.disk two.disk >/dev/null || fail "the second backup shows something else"
    if "$vhd" compare d.disk one.disk >/dev/null; then fail "the first backup changed"; fi
    [ "$(dirty d.disk daily)" = 0 ] || fail "it was not cleared"
    [ "$(dirty d.disk fine)" != 0 ] || fail "another bitmap was cleared"
    if "$vhd" bitmap export d.disk daily two.disk --base one.disk 2>err; then fail "over another file"; fi
    "$vhd" info two.disk >/dev/null || fail "a refused export harmed the file that was there"
    "$vhd" bitmap remove d.disk fine
    [ "$("$vhd" bitmap list d.disk --json | jq length)" = 1 ] || fail "it was not removed"
    "$vhd" bitmap remove d.disk daily
    [ ! -e d.disk.bitmaps ] || fail "an empty file of bitmaps stays"
done

echo "== a writer that is killed makes all dirty"
rm -f -- *.disk *.bitmaps
"$vhd" create d.disk --size 8M
"$vhd" bitmap add d.disk daily
serve d.disk
kill -KILL $served
wait $served 2>/dev/null || true
served=
[ "$("$vhd" bitmap list d.disk --json | jq '.[0].sound')" = false ] || fail "it counts as kept"
[ "$(dirty d.disk daily)" = 8388608 ] || fail "not all is dirty"

echo "== a disk held to a rate"
"$vhd" bitmap remove d.disk daily
serve d.disk --bps 8M --bps-burst 1M
before=$(date +%s%N)
io -c "write -P 5 0 4M"
end
[ $((($(date +%s%N) - before) / 1000000)) -ge 370 ] || fail "4 MiB went faster than 8 MiB a second and a burst of 1 MiB"
serve d.disk --iops 100 --iops-burst 10
before=$(date +%s%N)
reads=()
for ((i = 0; i < 50; i++)); do reads+=(-c "read $((i * 4096)) 4k"); done
io "${reads[@]}"
end
[ $((($(date +%s%N) - before) / 1000000)) -ge 390 ] || fail "50 reads went faster than 100 a second and a burst of 10"
for bad in "--bps fast" "--bps-burst 1M" "--iops -3" "--iops-burst 5 --bps 1M"; do
    # shellcheck disable=SC2086
    if "$vhd" serve d.disk --socket socket $bad >out 2>err; then fail "$bad was taken"; fi
    [ "$(wc -l <err)" = 1 ] || fail "$bad: not one line"
done
echo passed

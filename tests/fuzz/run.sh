#!/bin/bash
# Runs the fuzz harnesses, each for so many seconds.
#
#   tests/fuzz/run.sh SECONDS [NAME...]      (BUILD names the build)
#
# Corpora grow in $BUILD/fuzz/corpus/NAME; an input that breaks something is left in
# $BUILD/fuzz/found/ and makes this fail. Seeds are made anew when there are none.
set -u
seconds=$1
shift
here=$(realpath "$(dirname "$0")")
fuzz=$(realpath "$BUILD")/fuzz
[ $# -gt 0 ] || set -- vhd vhdx qcow2 fsmap nbd bitmap locator
[ -e "$fuzz/corpus/complete" ] || {
    "$here/seeds.sh" "$fuzz/corpus" && touch "$fuzz/corpus/complete" || { echo "fuzz: no seeds could be made" >&2; exit 1; }
}
mkdir -p "$fuzz/found"
status=0
for name in "$@"; do
    mkdir -p "$fuzz/corpus/$name"
    unset FUZZ_SEEDS ASAN_OPTIONS
    if [ "$name" = emu_saved ]; then # it makes its seeds, and what its CPU alone points to is no leak
        export FUZZ_SEEDS=$fuzz/corpus/$name
        export ASAN_OPTIONS=detect_leaks=0
    fi
    FUZZ_FOLDER=$(mktemp -d -p "$(if [ -w /dev/shm ]; then echo /dev/shm; else echo "$fuzz"; fi)")
    export FUZZ_FOLDER
    cp "$fuzz"/corpus/parents/* "$FUZZ_FOLDER"
    if timeout -s KILL $((seconds + 120)) "$fuzz/fuzz_$name" -max_total_time="$seconds" -seed=2006 -timeout=20 \
        -rss_limit_mb=1024 -max_len=65536 -dict="$here/storage.dict" -print_final_stats=1 \
        -artifact_prefix="$fuzz/found/$name-" "$fuzz/corpus/$name" >"$fuzz/$name.log" 2>&1; then
        printf '%-11s %s\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: */inputs: /p' "$fuzz/$name.log"), $(grep -o 'cov: [0-9]*' "$fuzz/$name.log" | tail -1)"
    else
        printf '%-11s FAILED, log %s\n' "$name" "$fuzz/$name.log"
        grep -v '^#[0-9]' "$fuzz/$name.log" | tail -n 40 | sed 's/^/    | /'
        status=1
    fi
    rm -rf "$FUZZ_FOLDER"
done
exit $status

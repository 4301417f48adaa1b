#!/bin/bash
# Runs every test and ends with a plain summary.
#
#   tests/run.sh [--long] [NAME...]    NAME: a part of a test's name; without one, all run
#
# A test is a built tests/unit/*/test_*, or an executable tests/{guest,cluster,browser}/test_*.sh.
# Exit status 0 is a pass, 77 a skip (its last line says why), anything else a failure. Each has
# BUILD, an empty TEST_TMP of its own, and a time limit that only ends hangs (TEST_LIMIT, in seconds). Tests
# named *_long.sh run with --long only, behind the others, and TEST_JOBS of them (2) at a time. Each is told
# with the seconds that passed and those of processors: the second figure depends on nothing else that runs.
set -u
cd "$(dirname "$0")/.."
BUILD=$(realpath "${BUILD:-build}")
export BUILD G_DEBUG=${G_DEBUG:-fatal-criticals}
long=no
[ "${1:-}" = --long ] && { long=yes; shift; }

logs=$BUILD/test-logs
results=$logs/results # a file of each test: passed, skipped or failed
rm -rf "$logs"
mkdir -p "$results"

tests=() long_tests=()
for t in "$BUILD"/tests/unit/*/test_* tests/{lint,guest,storage,cluster,browser}/test_*.sh tests/test_*.sh; do
    [ -x "$t" ] && [ -f "$t" ] || continue
    case $t in *.d | *.o) continue ;; *_long.sh) [ $long = yes ] || continue ;; esac
    if [ $# -gt 0 ]; then
        wanted=no
        for name in "$@"; do case $t in *"$name"*) wanted=yes ;; esac; done
        [ $wanted = yes ] || continue
    fi
    case $t in *_long.sh) long_tests+=("$t") ;; *) tests+=("$t") ;; esac
done

begin=$(date +%s)
TIMEFORMAT='%U %S'

# run_one TEST: tells how it went, in one piece, and notes that.
run_one() {
    local t=$1 name key log start status seconds cpu limit=${TEST_LIMIT:-900} result
    name=${t#"$BUILD"/tests/}
    name=${name#tests/}
    key=$(echo "$name" | tr / -)
    log=$logs/$key.log
    export TEST_TMP=$BUILD/test-tmp/$key
    rm -rf "$TEST_TMP"
    mkdir -p "$TEST_TMP"
    case $t in *_long.sh) limit=5400 ;; esac
    start=$(date +%s)
    { time timeout --kill-after=10 "$limit" "$t" </dev/null >"$log" 2>&1; } 2>"$results/time-$key"
    status=$?
    seconds=$(($(date +%s) - start))
    cpu=$(awk 'END {printf "%d", $1 + $2}' "$results/time-$key")
    rm -f "$results/time-$key"
    case $status in
    0)
        result=passed
        printf 'ok    %-48s %4d s %5d s\n' "$name" $seconds "$cpu"
        rm -rf "$TEST_TMP"
        ;;
    77)
        result=skipped
        printf 'skip  %-48s %s\n' "$name" "$(tail -n 1 "$log")"
        ;;
    *)
        result=failed
        printf 'FAIL  %-48s %4d s %5d s  status %d, log %s\n%s\n' "$name" $seconds "$cpu" $status "$log" \
            "$(tail -n 25 "$log" | sed 's/^/      | /')"
        ;;
    esac
    echo "$result $name" >"$results/$key"
}

for t in "${tests[@]}"; do run_one "$t"; done
for t in "${long_tests[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "${TEST_JOBS:-2}" ]; do wait -n; done
    run_one "$t" &
done
wait

count() { cat "$results"/* 2>/dev/null | grep -c "^$1 "; }
total=$((${#tests[@]} + ${#long_tests[@]}))
echo
echo "$(count passed) passed, $(count skipped) skipped, $(count failed) failed, in $(($(date +%s) - begin)) s"
if [ $total -eq 0 ]; then
    echo "no test matched" >&2
    exit 1
fi
cat "$results"/* | sed -n 's/^failed /failed: /p'
[ $(($(count passed) + $(count skipped))) -eq $total ] # whoever was ended before that was noted has failed, too

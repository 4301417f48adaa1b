#!/bin/bash
# Runs every test and ends with a plain summary.
#
#   tests/run.sh [--long] [NAME...]    NAME: a part of a test's name; without one, all run
#
# A test is a built tests/unit/*/test_*, or an executable tests/{guest,cluster,browser}/test_*.sh.
# Exit status 0 is a pass, 77 a skip (its last line says why), anything else a failure. Each has
# BUILD, an empty TEST_TMP of its own, and a time limit that only ends hangs (TEST_LIMIT, in seconds). Tests
# named *_long.sh run with --long only. Each is told with the seconds that passed and those of processors: the
# second figure depends on nothing else that runs.
set -u
cd "$(dirname "$0")/.."
BUILD=$(realpath "${BUILD:-build}")
export BUILD G_DEBUG=${G_DEBUG:-fatal-criticals}
long=no
[ "${1:-}" = --long ] && { long=yes; shift; }

logs=$BUILD/test-logs
rm -rf "$logs"
mkdir -p "$logs"

tests=()
for t in "$BUILD"/tests/unit/*/test_* tests/{lint,guest,storage,cluster,browser}/test_*.sh tests/test_*.sh; do
    [ -x "$t" ] && [ -f "$t" ] || continue
    case $t in *.d | *.o) continue ;; *_long.sh) [ $long = yes ] || continue ;; esac
    if [ $# -gt 0 ]; then
        wanted=no
        for name in "$@"; do case $t in *"$name"*) wanted=yes ;; esac; done
        [ $wanted = yes ] || continue
    fi
    tests+=("$t")
done

passed=0 failed=() skipped=()
begin=$(date +%s)
TIMEFORMAT='%U %S'
for t in "${tests[@]}"; do
    name=${t#"$BUILD"/tests/}
    name=${name#tests/}
    log=$logs/$(echo "$name" | tr / -).log
    export TEST_TMP=$BUILD/test-tmp/$(echo "$name" | tr / -)
    rm -rf "$TEST_TMP"
    mkdir -p "$TEST_TMP"
    start=$(date +%s)
    limit=${TEST_LIMIT:-900}
    case $t in *_long.sh) limit=5400 ;; esac
    { time timeout --kill-after=10 "$limit" "$t" </dev/null >"$log" 2>&1; } 2>"$logs/time"
    status=$?
    seconds=$(($(date +%s) - start))
    cpu=$(awk '{printf "%d", $1 + $2}' "$logs/time")
    case $status in
    0)
        printf 'ok    %-48s %4d s %5d s\n' "$name" $seconds "$cpu"
        passed=$((passed + 1))
        rm -rf "$TEST_TMP"
        ;;
    77)
        printf 'skip  %-48s %s\n' "$name" "$(tail -n 1 "$log")"
        skipped+=("$name")
        ;;
    *)
        printf 'FAIL  %-48s %4d s %5d s  status %d, log %s\n' "$name" $seconds "$cpu" $status "$log"
        tail -n 25 "$log" | sed 's/^/      | /'
        failed+=("$name")
        ;;
    esac
done

echo
echo "$passed passed, ${#skipped[@]} skipped, ${#failed[@]} failed, in $(($(date +%s) - begin)) s"
rm -f "$logs/time"
if [ ${#tests[@]} -eq 0 ]; then
    echo "no test matched" >&2
    exit 1
fi
if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi

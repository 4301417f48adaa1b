#!/bin/bash
# Random programs on the engines of drover-emu, from new seeds, for so many seconds.
#
#   tests/fuzz/engines.sh SECONDS      (BUILD names the build)
set -u
end=$(($(date +%s) + $1))
fuzz=$(realpath "$BUILD")/fuzz
mkdir -p "$fuzz"
status=0
for name in test_jit_fuzz test_jit_events; do
    programs=0
    : >"$fuzz/$name.log"
    half=$(((end - $(date +%s)) / 2))
    [ $name = test_jit_events ] && half=$((half * 2))
    until=$(($(date +%s) + half))
    while [ "$(date +%s)" -lt $until ]; do
        seed=0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
        if ! TEST_SEED=$seed TEST_CASES=5000 timeout -s KILL 900 "$BUILD/tests/unit/emu/$name" >>"$fuzz/$name.log" 2>&1; then
            status=1
            break
        fi
        programs=$((programs + 5000))
    done
    [ $status -eq 0 ] && printf '%-16s %d programs\n' $name $programs
    [ $status -eq 0 ] || { printf '%-16s FAILED, log %s\n' $name "$fuzz/$name.log"; grep -a '^seed' "$fuzz/$name.log" | sed 's/^/    | /'; break; }
done
exit $status

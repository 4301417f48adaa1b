#!/bin/bash
# Random programs on the engines of drover-emu, from new seeds, for so many seconds.
#
#   tests/fuzz/engines.sh SECONDS      (BUILD names the build)
set -u
end=$(($(date +%s) + $1))
fuzz=$(realpath "$BUILD")/fuzz
mkdir -p "$fuzz"
status=0
left=3
for turn in test_jit_fuzz:5000 test_jit_events:5000 test_jit_smp:100; do
    name=${turn%:*} cases=${turn#*:} programs=0
    : >"$fuzz/$name.log"
    until=$(($(date +%s) + (end - $(date +%s)) / left))
    left=$((left - 1))
    while [ $status -eq 0 ] && { [ $programs -eq 0 ] || [ "$(date +%s)" -lt $until ]; }; do
        seed=0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')
        TEST_SEED=$seed TEST_CASES=$cases timeout -s KILL 900 "$BUILD/tests/unit/emu/$name" >>"$fuzz/$name.log" 2>&1 || status=1
        programs=$((programs + cases))
    done
    [ $status -eq 0 ] && printf '%-16s %d programs\n' $name $programs
    [ $status -eq 0 ] || { printf '%-16s FAILED, log %s\n' $name "$fuzz/$name.log"; grep -a '^seed' "$fuzz/$name.log" | sed 's/^/    | /'; break; }
done
exit $status

#!/bin/bash
# Random programs full of events on three engines, and pairs of programs for two CPUs, other ones in
# each run; see tests/unit/emu/test_jit_events.c and test_jit_smp.c. TEST_SEED=SEED TEST_CASES=1 runs a
# program that is named again.
set -eu
pairs=$((${TEST_CASES:-60000} / 40))
TEST_CASES=${TEST_CASES:-60000}
TEST_SEED=${TEST_SEED:-0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')}
export TEST_CASES TEST_SEED
echo "from seed $TEST_SEED"
"$BUILD/tests/unit/emu/test_jit_events"
TEST_CASES=$((pairs > 0 ? pairs : 1)) exec "$BUILD/tests/unit/emu/test_jit_smp"

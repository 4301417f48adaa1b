#!/bin/bash
# Half a million random programs full of events on three engines, other ones in each run; see
# tests/unit/emu/test_jit_events.c. TEST_SEED=SEED TEST_CASES=1 runs a program that is named again.
set -eu
TEST_CASES=${TEST_CASES:-500000}
TEST_SEED=${TEST_SEED:-0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')}
export TEST_CASES TEST_SEED
echo "from seed $TEST_SEED"
exec "$BUILD/tests/unit/emu/test_jit_events"

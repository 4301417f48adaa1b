#!/bin/bash
# Some hundred thousand random programs on the translator and on the interpreter, other ones in each run. Where
# the two differ, the program's own seed is named: TEST_SEED=SEED TEST_CASES=1 runs it again.
set -eu
TEST_CASES=${TEST_CASES:-300000}
TEST_SEED=${TEST_SEED:-0x$(od -An -N8 -tx8 /dev/urandom | tr -d ' ')}
export TEST_CASES TEST_SEED
echo "from seed $TEST_SEED"
exec "$BUILD/tests/unit/emu/test_jit_fuzz"

#!/bin/bash
# Power loss again, with many more states and other seeds than in the short run.
set -eu
for seed in 1000 2000 3000; do
    echo "== seed $seed"
    POWER_SEED=$seed POWER_STATES=5000 "$BUILD/tests/unit/storage/test_power"
done
echo passed

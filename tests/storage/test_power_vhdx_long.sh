#!/bin/bash
# Power loss on VHDX, in thousands of states.
set -eu
for seed in 100 200 300; do
    POWER_STATES=1500 POWER_SEED=$seed "$BUILD/tests/unit/storage/test_power_vhdx"
done

#!/bin/bash
# Every fuzz harness for two minutes (make fuzz: ten).
FUZZ_SECONDS=${FUZZ_SECONDS:-120} exec tests/storage/test_fuzz.sh

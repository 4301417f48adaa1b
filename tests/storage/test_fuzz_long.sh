#!/bin/bash
# Every fuzz harness for five minutes.
FUZZ_SECONDS=${FUZZ_SECONDS:-300} exec tests/storage/test_fuzz.sh

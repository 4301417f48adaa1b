#!/bin/bash
# A short run of every fuzz harness (make fuzz runs them for as long as one likes).
set -eu
ls "$BUILD"/fuzz/fuzz_* >/dev/null || { echo "the harnesses are not built" >&2; exit 1; }
exec tests/fuzz/run.sh "${FUZZ_SECONDS:-5}"

#!/bin/bash
# All unit tests and the cluster tests that hurt most, built with the address and undefined-behaviour
# sanitizers: whatever they find ends the program, and so fails the test.
set -u
cd "$(dirname "$0")/.."
export BUILD=$PWD/build/sanitize-address-undefined
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
export TEST_LIMIT=3000 # programs are several times slower so

mkdir -p build
flock build/sanitize.lock make --no-print-directory -j2 SANITIZE=address,undefined test-build guest BUILD="$BUILD" || exit 1
exec tests/run.sh tests/unit/ cluster/test_recovery cluster/test_bad_input cluster/test_migration

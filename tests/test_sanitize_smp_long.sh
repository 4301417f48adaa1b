#!/bin/bash
# drover-emu itself, built with the thread sanitizer and then with the address and undefined-behaviour
# ones, boots Linux on two processors with translated code: nothing is found. A sanitizer sees the emulator's C code; what
# translated code does to guest memory is the guest's affair.
set -u
cd "$(dirname "$0")/.."
guest=${BUILD:-build}/guest
tmp=${TEST_TMP:-$(mktemp -d)}
[ -s "$guest/initrd.gz" ] || { echo "skipped: $guest/initrd.gz is not there (make guest)"; exit 77; }
failed=0
export TSAN_OPTIONS=suppressions=$PWD/tests/tsan.supp:halt_on_error=0
export ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1
for sanitize in thread address,undefined; do
    build=$PWD/build/sanitize-${sanitize//,/-}
    flock build/sanitize.lock make --no-print-directory -j2 SANITIZE=$sanitize BUILD="$build" "$build/drover-emu" || exit 1
    serial=$tmp/$sanitize.serial log=$tmp/$sanitize.log
    # The kernel's check of its timer is one of the host's speed here.
    "$build/drover-emu" --cpus 2 --memory 256M --kernel "$guest/vmlinuz" --initrd "$guest/initrd.gz" \
        --append "console=ttyS0 panic=-1 no_timer_check" --net user --serial "file:$serial" --no-reboot 2>"$log" &
    pid=$!
    for _ in $(seq 18000); do # only a hang takes half an hour
        grep -aq "hello from drover" "$serial" 2>/dev/null && break
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    kill -INT $pid 2>/dev/null
    wait $pid
    grep -aq "Brought up 1 node, 2 CPUs" "$serial" || { echo "FAIL: $sanitize: no second processor"; failed=1; }
    grep -aq "hello from drover" "$serial" || { echo "FAIL: $sanitize: it did not come up"; tail -n 20 "$serial"; failed=1; }
    if grep -qE "WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error" "$log"; then
        echo "FAIL: $sanitize:"
        head -n 60 "$log"
        failed=1
    fi
done
exit $failed

#!/bin/bash
# stress-ng --verify in a whole Debian 12: processors, vectors, memory, atomics, futexes, processes,
# mappings, timers and switches, for a bounded number of operations each, with one and four CPUs.
#
# SYSTEM_WAYS chooses: CPUS:ENGINE:MODEL. Each stressor ends after its operations or its time.
. "$(dirname "$0")/system_lib.sh"
ways=${SYSTEM_WAYS:-1:jit:x86-64-v2 4:jit:x86-64-v2 4:jit:x86-64-v3 1:interp:x86-64-v2}
system_debian >/dev/null || skip "mmdebstrap cannot install Debian 12"
stressors=${SYSTEM_STRESSORS:-cpu vecmath vecwide matrix vm memcpy atomic futex fork mmap timer switch}

# one CPUS ENGINE MODEL
one() {
    local cpus=$1 engine=$2 model=$3 stressor options
    say "stress-ng with $cpus CPUs, $engine, $model"
    cp --sparse=always --reflink=auto --no-preserve=mode "$systems/debian.vhd" "$tmp/disk.vhd"
    system_start "stress-$cpus-$engine-$model" --memory 512M --cpus "$cpus" --engine "$engine" --cpu-model "$model" \
        --disk "file=$tmp/disk.vhd,bus=virtio"
    system_login || { system_kill; return; }
    for stressor in $stressors; do
        options="--$stressor $cpus"
        case $stressor in
        cpu) options="$options --cpu-method all" ;;
        vm) options="$options --vm-bytes 64M --vm-method all" ;;
        mmap) options="$options --mmap-bytes 32M --mmap-mprotect" ;;
        matrix) options="$options --matrix-size 64" ;;
        memcpy) options="$options --memcpy-method all" ;;
        esac
        guest "stress-ng --verify --timeout ${SYSTEM_SECONDS:-10}s --metrics-brief --no-rand-seed $options 2>&1 | grep -v defaulting" &&
            grep -q "successful run completed" <<<"$output" || { fail "stress-ng --$stressor, $cpus CPUs, $engine, $model:"; echo "$output"; }
        grep -qiE "fail:|error:|corrupt" <<<"$output" && { fail "stress-ng --$stressor complains:"; echo "$output"; }
        echo "$output" | sed -n 's/.*\] '"$stressor"' \+\([0-9]\+ .*\)/  '"$stressor"': \1/p'
        kill -0 $pid 2>/dev/null || break
    done
    guest "dmesg | grep -E 'BUG:|Oops|WARNING:|rcu.*stall|soft lockup|unstable|segfault|general protection|trap'" && fail "the kernel complains: $output"
    ctl powerdown || fail "powerdown"
    system_stop
}
for way in $ways; do
    IFS=: read -r cpus engine model <<<"$way"
    one "$cpus" "$engine" "$model"
done
end_test "stress-ng found nothing wrong: $ways"

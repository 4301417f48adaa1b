# What the storage tests share; sourced. Each test runs in its own empty TEST_TMP.
set -eu
cd "$TEST_TMP"
vhd=$BUILD/drover-vhd

fail() { echo "FAILED: $*" >&2; exit 1; }

# Runs drover-vhd and expects that exit status; its output is in out and err.
expect() {
    local wanted=$1 got=0
    shift
    timeout -s KILL 120 "$vhd" "$@" >out 2>err || got=$?
    [ "$got" = "$wanted" ] || { cat out err; fail "drover-vhd $* ended with $got, not $wanted"; }
}

# A folder of files with known content, one of them of many small ones; their hashes in hashes.
make_files() {
    mkdir -p files/sub
    head -c 3000000 /dev/urandom >files/large
    head -c 700 /dev/urandom >files/small
    for i in $(seq 40); do head -c 9000 /dev/urandom >files/sub/f$i; done
    (cd files && find . -type f | sort | xargs sha256sum) >hashes
}

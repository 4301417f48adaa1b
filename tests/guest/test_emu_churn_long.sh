#!/bin/bash
# Thousands of short processes and many threads, translated, on two and four CPUs with little memory, once at a
# stretch and once saved and gone on in another process again and again: everything must come out as it does
# on a quiet machine. CHURN_WAYS: CPUS:SECONDS between saves, 0 for none:MODEL;
# CHURN_SECONDS: of the guest's time.
. "$(dirname "$0")/emu_lib.sh"
need_guest vmlinuz
ways=${CHURN_WAYS:-2:0:x86-64-v2 2:5:x86-64-v3 4:0:x86-64-v3 4:8:x86-64-v2}
seconds=${CHURN_SECONDS:-100}
PATIENCE=1200
gcc -static -O2 -pthread -o "$tmp/churn" tests/guest/churn.c || exit 1
{
    echo "CHURN_SECONDS=$seconds CHURN_WORKERS=3"
    echo "base64 -d >/bin/churn <<'END'"
    base64 "$tmp/churn"
    printf 'END\nchmod 755 /bin/churn\n'
    cat tests/guest/churn-guest.sh
} >"$tmp/script"
initrd "$tmp/script" virtio_pci virtio_blk ext4 crc32c_generic

# The machine goes on in another process.
restore_once() {
    ctl save "$tmp/saved" 2>"$tmp/err" || { gone || fail "save: $(cat "$tmp/err")"; return; }
    ctl quit
    wait_end
    start "${options[@]}" --restore "$tmp/saved" >>"$log"
    wait_ctl
}

# one CPUS BETWEEN MODEL
one() {
    local cpus=$1 between=$2 model=$3 restored=0
    log=$tmp/log-$cpus-$between-$model
    rm -f "$tmp"/{disk,swap}.img
    truncate -s 64M "$tmp/disk.img"
    truncate -s 128M "$tmp/swap.img"
    # The kernel's watchdogs go by time, of which a busy host gives little.
    options=(--engine jit --cpu-model "$model" --memory 96M --cpus "$cpus" --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz"
        --append "console=ttyS0 panic=-1 quiet nowatchdog rcupdate.rcu_cpu_stall_suppress=1" --no-reboot
        --serial stdio --control "ipc://$control" --allow "$tmp"
        --disk "file=$tmp/disk.img,bus=virtio,format=raw" --disk "file=$tmp/swap.img,bus=virtio,format=raw")
    start "${options[@]}" >"$log"
    while [ "$between" -ne 0 ] && ! gone; do
        sleep "$between"
        restore_once
        restored=$((restored + 1))
    done
    wait_end
    grep -a "churn wrong" "$log" && fail "$cpus CPUs, $model, saved every $between s"
    check kernel ""
    check end yes
    says "$log" "churn ok" || fail "$cpus CPUs, $model, saved every $between s: churn never came to its end"
    echo "$cpus CPUs, $model, $restored restores: $(value processes) processes, $(value rounds | tr '\n' ' ')rounds, $(value swapped) pages from swap"
}
for way in $ways; do
    IFS=: read -r cpus between model <<<"$way"
    if has_model "$model"; then
        one "$cpus" "$between" "$model"
    else
        echo "skipped: $way, for this host has not all of $model"
    fi
done
end_test "nothing was lost: $ways" "$tmp"/log-*

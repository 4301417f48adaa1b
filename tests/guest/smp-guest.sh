# Runs in the guest: work for all CPUs, each result the same, and the interrupts it took.
cpus=$(grep -c ^processor /proc/cpuinfo)
want=$(seq 20000 | md5sum)
for i in $(seq $cpus); do
    (for j in 1 2; do [ "$(seq 20000 | md5sum)" = "$want" ] || echo "worker $i: wrong"; done; echo "worker $i: done") &
done
wait
dmesg | grep -E "Brought up|x2apic enabled|deadline timer|calibrate_delay_direct|BUG:|Oops"
# Each CPU's local timer and its calls by others.
for kind in LOC RES CAL; do
    sed -n "s/^ *$kind: *//p" /proc/interrupts | tr ' ' '\n' | grep -cE '^[1-9][0-9]*$' | sed "s/^/cpus with $kind: /"
done
echo "smp guest ends"

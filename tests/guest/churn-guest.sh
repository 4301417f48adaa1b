# In the guest of test_emu_churn_long.sh: shells whose results are known, and churn.c, on all processors, with
# less memory than they want: programs and data come and go between a disk, the page cache and swap.
# CHURN_SECONDS and CHURN_WORKERS are set before.
bad() { echo "churn wrong: $*"; }
seconds() { cut -d. -f1 /proc/uptime; }
mke2fs /dev/vda >/dev/null 2>&1
mount -t ext4 /dev/vda /mnt
mkdir -p /mnt/bin /mnt/work
cp /bin/busybox /bin/churn /mnt/bin/
mkswap /dev/vdb >/dev/null 2>&1
swapon /dev/vdb || bad "no swap"
for name in $(busybox --list); do [ "$name" = busybox ] || ln -s busybox "/mnt/bin/$name"; done
export PATH=/mnt/bin:/bin

# one.sh WORKER ROUND
cat >/mnt/work/one.sh <<'ONE'
id=$1 n=$2
expect() { [ "$2" = "$3" ] || { echo "churn wrong: worker $id, round $n: $1 is \"$2\", not \"$3\""; exit 1; }; }
cd /mnt/work
m=$((n % 50 + 300))
expect "awk's sum" "$(seq $m | awk '{s += $1 * 3} END {print s}')" $((m * (m + 1) / 2 * 3))
expect "sort's end" "$(seq 500 | sort -rn | head -n 3 | tr '\n' ' ')" "500 499 498 "
expect "gzip's way and back" "$(seq 2000 | gzip | gunzip | md5sum)" "$SEQ2000"
expect "dd's length" "$(dd if=/dev/zero bs=4k count=$m 2>/dev/null | tr '\0' x | wc -c)" $((m * 4096))
sh -c "exit $((n % 100))"
expect "a status" $? $((n % 100))
seq $n $((n + 4000)) >file-$id
expect "a file" "$(md5sum <file-$id)" "$(seq $n $((n + 4000)) | md5sum)"
cp file-$id /tmp/file-$id
expect "a copy" "$(cmp file-$id /tmp/file-$id && echo same)" same
rm /tmp/file-$id
signals=0
trap 'signals=$((signals + 1))' USR1
kill -USR1 $$
kill -USR1 $$
expect "signals" $signals 2
expect "words" "$(echo a:b:c | { IFS=: read -r x y z; echo "$z$y$x"; })" cba
expect "xargs's lines" "$(printf '%s\n' one two three four | xargs -n 1 echo | grep -c o)" 3
list=
for i in 1 2 3 4 5 6 7 8 9 10; do list=$list$(echo $i | sed 's/$/,/'); done
expect "substitutions" "$list" 1,2,3,4,5,6,7,8,9,10,
sleep 1000 &
kill $!
wait $! 2>/dev/null
expect "a killed child's status" $? 143
expect "a program's head" "$(od -An -tx1 -N4 /mnt/bin/busybox | tr -d ' \n')" 7f454c46
exit 0
ONE
export SEQ2000="$(seq 2000 | md5sum)"
end=$(($(seconds) + CHURN_SECONDS))
for worker in $(seq $CHURN_WORKERS); do
    (
        n=0
        while [ $(seconds) -lt $end ]; do
            sh /mnt/work/one.sh $worker $n 2>&1
            status=$?
            [ $status = 0 ] || bad "worker $worker, round $n: status $status"
            n=$((n + 1))
        done
        echo "result rounds: $n"
    ) &
done
while [ $(seconds) -lt $end ]; do # code has to come from the disk anew
    echo 3 >/proc/sys/vm/drop_caches
    usleep 700000
done &
while [ $(seconds) -lt $end ]; do churn 6 || bad "churn's status is $?"; done &
while [ $(seconds) -lt $end ]; do
    dd if=/dev/urandom of=/tmp/big bs=1M count=12 2>/dev/null
    [ "$(md5sum </tmp/big)" = "$(cat /tmp/big | md5sum)" ] || bad "a large file"
    rm -f /tmp/big
done &
wait
result() { echo "result $1: $2"; }
result swapped "$(sed -n 's/^pswpin //p' /proc/vmstat)"
result processes "$(sed -n 's/^processes //p' /proc/stat)"
dmesg | grep -v "ommand line" | grep -E "BUG:|Oops|WARNING:|hung task|I/O error|general protection|segfault|traps:|Out of memory" && result kernel complains
umount /mnt || bad "the disk is still in use"
result end yes

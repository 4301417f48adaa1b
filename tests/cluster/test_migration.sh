#!/bin/bash
# Moves that work, moves that cannot, and moves that are cut off: one good copy and one owner, always.
. "$(dirname "$0")/lib.sh"

# beta has little room: a file system of its own, where one can be mounted
mkdir -p beta
small=no
mount -t tmpfs -o size=48m tmpfs beta 2>/dev/null && small=yes

# an image with 32 MiB that do not compress into nothing
head -c 33554432 /dev/urandom >big.img
drover-vhd convert --quiet big.img images/big.vhd
start_controller
start_agent alpha 1
start_agent beta 2
start_agent gamma 3

copies() { ls alpha/disks/*.vhd beta/disks/*.vhd gamma/disks/*.vhd 2>/dev/null | wc -l; }
migration_of() { drover get migrations -o json | jq -r "[.items[] | select(.spec.machine == \"$1\")] | sort_by(.metadata.creationTimestamp) | last | $2"; }
ended() { case $(migration_of "$1" .status.phase) in Succeeded | Failed) ;; *) false ;; esac; }

drover apply -f - <<'YAML' || fail apply
apiVersion: drover/v1
kind: Disk
metadata: {name: big}
spec: {source: {file: big.vhd}, host: alpha}
---
apiVersion: drover/v1
kind: VirtualMachine
metadata: {name: mover}
spec:
  memory: 32Mi
  stopGraceSeconds: 1
  disks: [{name: root, disk: big}]
YAML
await 30 "mover runs" vm_is mover Running
[ "$(field vm mover .status.host)" = alpha ] || fail "the machine does not follow its disk"
[ "$(copies)" = 1 ] || fail "there are $(copies) disks"

say "a move that works"
drover migrate mover --to gamma --wait --timeout 300 || { show_logs; fail "the move"; }
[ "$(field vm mover .status.host)" = gamma ] || fail "mover is not on gamma"
await 30 "mover runs on gamma" vm_is mover Running
only_gamma() { [ "$(copies)" = 1 ] && ls gamma/disks/*.vhd >/dev/null 2>&1; }
await 20 "the source has released its copy" only_gamma

# Full when the controller knows it, and filled up in the moment before, when only beta does.
if [ $small = yes ]; then for known in no yes; do
    say "a target without room, known to the controller: $known"
    dd if=/dev/zero of=beta/filler bs=1M count=30 status=none
    beta_is_full() { [ "$(field host beta .status.used.diskFreeBytes)" -lt 20000000 ]; }
    [ $known = no ] || await 30 "the controller knows that beta is full" beta_is_full
    drover migrate mover --to beta --wait --timeout 300 2>err && fail "it fitted"
    cat err
    grep -qi "needs* .* free\|space" err || fail "the error does not name the reason"
    rm -f beta/filler
    await 30 "mover runs on gamma again" vm_is mover Running
    [ "$(field vm mover .status.host)" = gamma ] || fail "mover has left gamma"
    clean() { [ -z "$(find beta/staging beta/disks -name '*.vhd' 2>/dev/null)" ]; }
    await 20 "nothing is left on the target" clean
done; else
    echo "(not done: no tmpfs can be mounted here for a small disk)"
fi

say "a dead target"
kill -KILL "${agent_pid[alpha]}"
drover migrate mover --to alpha --wait --timeout 300 2>err && fail "it moved to a dead host"
cat err
await 60 "mover runs on gamma again" vm_is mover Running
[ "$(field vm mover .status.host)" = gamma ] || fail "mover has left gamma"
start_agent alpha 1

say "a target that does not exist"
drover migrate mover --to nowhere --wait --timeout 300 2>err && fail "it moved nowhere"
cat err

say "moves with everything killed meanwhile"
target=alpha source=gamma
for round in 1 2 3 4; do
    await 60 "mover runs" vm_is mover Running
    drover migrate mover --to $target >/dev/null || fail "migrate"
    sleep "1.$((round * 2))"
    case $round in
    1) kill -KILL $controller_pid; start_controller ;;
    2) kill -KILL "${agent_pid[$source]}"; sleep 0.5; start_agent $source "$([ $source = alpha ] && echo 1 || echo 3)" ;;
    3) kill -KILL "${agent_pid[$target]}"; sleep 0.5; start_agent $target "$([ $target = alpha ] && echo 1 || echo 3)" ;;
    4) for p in $controller_pid "${agent_pid[alpha]}" "${agent_pid[gamma]}"; do kill -KILL "$p"; done
       start_controller; start_agent alpha 1; start_agent gamma 3 ;;
    esac
    await 120 "the move has ended" ended mover
    echo "round $round: $(migration_of mover .status.phase) $(migration_of mover '.status.message // ""')"
    await 60 "mover runs" vm_is mover Running
    [ "$(wc -w <<<"$(emulators_of mover)")" = 1 ] || fail "mover runs as: $(emulators_of mover)"
    one_copy() { [ "$(copies)" = 1 ]; }
    await 30 "there is one copy" one_copy
    source=$(field vm mover .status.host)
    [ -n "$(ls "$source"/disks/*.vhd)" ] || fail "the copy is not where the machine is"
    [ "$source" = alpha ] && target=gamma || target=alpha
done

say "the disk is still what it was"
drover delete vm/mover --wait || fail delete
qemu-img convert -f vpc -O raw "$source"/disks/*.vhd after.img
cmp -n 33554432 big.img after.img || fail "the disk has changed"
echo passed

#!/bin/bash
# Whatever is killed: a machine is never lost and never doubled.
. "$(dirname "$0")/lib.sh"

start_controller
start_agent alpha 1
start_agent beta 2
machine one
machine two "  cpu: {model: x86-64-v1}"
await 30 "one runs" vm_is one Running
await 30 "two runs" vm_is two Running
first=$(emulators_of one)
[ "$(wc -w <<<"$first")" = 1 ] || fail "one has processes: $first"

say "the controller is killed again and again; the machines run on"
for round in 1 2 3 4 5; do
    kill -KILL $controller_pid
    wait $controller_pid 2>/dev/null
    [ "$(emulators_of one)" = "$first" ] || fail "the machine did not run on"
    start_controller
    machine "extra-$round" >/dev/null & # and is killed while it works
    sleep "0.$round"
done
wait $! 2>/dev/null
vm_is one Running || await 20 "one still runs" vm_is one Running
[ "$(emulators_of one)" = "$first" ] || fail "one was restarted"

say "an agent is killed; the next one finds its machines"
host=$(field vm one .status.host)
kill -KILL "${agent_pid[$host]}"
sleep 1
[ "$(emulators_of one)" = "$first" ] || fail "the machine ended with its agent"
[ "$host" = alpha ] && number=1 || number=2
start_agent "$host" $number
await 20 "one runs" vm_is one Running
[ "$(emulators_of one)" = "$first" ] || fail "the machine was started again beside itself"

say "an emulator is killed; runStrategy Always starts it again, once"
kill -KILL "$first"
restarted() { local now; now=$(emulators_of one); [ -n "$now" ] && [ "$now" != "$first" ]; }
await 30 "one is started again" restarted
await 30 "one runs" vm_is one Running
[ "$(wc -w <<<"$(emulators_of one)")" = 1 ] || fail "it runs twice"
[ "$(field vm one .status.restarts)" = 1 ] || fail "restarts is $(field vm one .status.restarts)"

say "everything at once"
for pid in $controller_pid "${agent_pid[@]}"; do kill -KILL "$pid"; done
before=$(emulators_of two)
start_controller
start_agent alpha 1
start_agent beta 2
await 30 "two runs" vm_is two Running
[ "$(emulators_of two)" = "$before" ] || fail "two was restarted"

say "deleting takes the machines, their processes and their disks"
drover delete vm/one vm/two --wait || fail "delete"
[ -z "$(emulators_of one)$(emulators_of two)" ] || fail "processes are left"
for round in 1 2 3 4 5; do
    ! vm_is "extra-$round" Running || drover delete "vm/extra-$round" --wait >/dev/null || fail "delete extra-$round"
done
gone() { [ -z "$(ls alpha/disks/*.vhd beta/disks/*.vhd 2>/dev/null)" ]; }
await 20 "the disks are gone" gone
echo passed

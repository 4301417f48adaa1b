#!/bin/bash
# Wrong manifests, wrong images, wrong tokens, garbage on every port: a clear error, nothing lost,
# nobody crashes.
. "$(dirname "$0")/lib.sh"

start_controller
start_agent alpha 1
machine survivor
await 30 "survivor runs" vm_is survivor Running

# refuse STATUS PATTERN COMMAND...: it fails so, with one clear message
refuse() {
    local status=$1 pattern=$2 got
    shift 2
    "$@" >out 2>err </dev/null
    got=$?
    [ $got = "$status" ] || { cat out err; fail "$*: status $got, not $status"; }
    grep -qE -- "$pattern" err || { cat err; fail "$*: the error does not say \"$pattern\""; }
}
manifest() { printf '%b' "$1" >m.yaml; }

say "manifests"
manifest 'apiVersion: drover/v1\nkind: VirtualMachine\nmetadata: {name: x}\nspec:\n  memroy: 1Gi\n'
refuse 1 'm.yaml:5:3: spec.memroy: .*did you mean "memory"' drover apply -f m.yaml
manifest 'apiVersion: drover/v1\nkind: VirtualMachine\nmetadata: {name: x}\nspec: {memory: 1Gib}\n'
refuse 1 'm.yaml:4:8: spec.memory: .*1Gi' drover apply -f m.yaml
manifest 'apiVersion: drover/v1\nkind: Machine\nmetadata: {name: x}\n'
refuse 1 'm.yaml:2:1: kind: ' drover apply -f m.yaml
manifest 'a: [1, 2\nb: }'
refuse 1 'm.yaml:[0-9]+:[0-9]+: not YAML' drover apply -f m.yaml
manifest 'a: 1\na: 2\n'
refuse 1 'm.yaml:2:1: "a" is here twice' drover apply -f m.yaml
manifest '- 1\n- 2\n'
refuse 1 'm.yaml:1:1: ' drover apply -f m.yaml
manifest 'a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n'
refuse 1 'too large' drover apply -f m.yaml
printf 'a: \0\n' >m.yaml
refuse 1 'm.yaml:1' drover apply -f m.yaml
head -c 5000 /dev/urandom >m.yaml
refuse 1 'm.yaml:' drover apply -f m.yaml
: >m.yaml
refuse 1 'no document' drover apply -f m.yaml
refuse 1 'cannot open' drover apply -f missing.yaml
# two documents, one of them wrong: nothing is applied
manifest 'apiVersion: drover/v1\nkind: VirtualMachine\nmetadata: {name: half}\nspec: {memory: 32Mi, runStrategy: Halted}\n---\napiVersion: drover/v1\nkind: Disk\nmetadata: {name: Wrong_Name}\nspec: {size: 1Gi}\n'
refuse 1 'm.yaml:[89]' drover apply -f m.yaml
refuse 1 'no VirtualMachine half' drover get vm half

say "command lines"
refuse 2 'did you mean drover get' drover gett
refuse 2 'no kind' drover get machinery
refuse 2 '-o "xml"' drover get vm -o xml
refuse 2 'drover migrate takes' drover migrate
refuse 2 'server' drover apply --dry-run=client -f m.yaml
refuse 1 'no VirtualMachine nope' drover console nope
DROVER_CONFIG=/nonexistent refuse 1 'there is no /nonexistent' drover get vm
sed 's/^token: .*/token: 0000/' "$DROVER_CONFIG" >wrong.yaml
DROVER_CONFIG=$PWD/wrong.yaml refuse 1 'token' drover get vm
sed "s/:$port/:1/" "$DROVER_CONFIG" >wrong.yaml
DROVER_CONFIG=$PWD/wrong.yaml refuse 1 'cannot reach the controller' drover get vm

say "tokens"
token=$(drover-controller --data "$TEST_TMP/controller" token create | grep -o 'drover-join:[^ ]*' | head -n 1)
join() { timeout 300 drover-agent --name intruder --data "$TEST_TMP/intruder" --controller "https://127.0.0.1:$port" --join-token "$1"; }
refuse 1 'no join token' join nonsense
refuse 1 'not the one' join "${token%?????}00000"
refuse 1 'join' join "$(sed 's/\.[0-9a-f]*:/.00000000000000000000000000000000:/' <<<"$token")"
refuse 2 'no host name' drover-agent --name 'Not A Name' --data "$TEST_TMP/intruder"
refuse 1 'another drover-agent' drover-agent --name alpha --data "$TEST_TMP/alpha"

say "disks"
drover-vhd create images/good.vhd --size 64M
head -c 1000 images/good.vhd >images/truncated.vhd
cp images/good.vhd images/liar.vhd
printf '\377' | dd of=images/liar.vhd bs=1 seek=$((512 + 28)) conv=notrunc status=none
disk() { # disk NAME FILE: and what becomes of it
    drover apply -f - <<YAML
apiVersion: drover/v1
kind: Disk
metadata: {name: $1}
spec: {source: {file: "$2"}, host: alpha}
YAML
}
disk_is() { [ "$(field disk "$1" .status.phase)" = "$2" ]; }
for case in "truncated.vhd:truncated\|outside\|damaged" "liar.vhd:checksum\|damaged" "missing.vhd:No such file" \
    "../alpha/identity/key.pem:inside\|stay in it"; do
    file=${case%%:*} words=${case#*:}
    name=bad-$(tr -cd 'a-z' <<<"${file%.vhd}")
    if ! disk "$name" "$file" >out 2>&1; then
        grep -q "$words" out || { cat out; fail "$file: refused without a clear word"; }
        continue
    fi
    await 20 "disk of $file has failed" disk_is "$name" Failed
    field disk "$name" .status.message | grep "$words" || { field disk "$name" .status; fail "$file: the message is not clear"; }
done
[ -z "$(ls alpha/staging)" ] || fail "something is left in staging: $(ls alpha/staging)"

say "a machine that cannot start can be stopped, started and deleted"
drover apply -f - <<YAML || fail "apply of stuck"
apiVersion: drover/v1
kind: VirtualMachine
metadata: {name: stuck}
spec:
  runStrategy: Manual
  memory: 32Mi
  disks: [{name: root, disk: bad-missing}]
YAML
for round in 1 2; do
    drover start stuck || fail "start of stuck"
    tells_why() { field vm stuck .status.message | grep -q "No such file"; }
    await 20 "stuck tells why it does not start" tells_why
    drover stop stuck --wait --timeout 300 || { show_logs; fail "stop of stuck"; }
done
drover delete vm/stuck --wait --timeout 300 || fail "delete of stuck"

say "garbage on every port"
garbage() { # garbage PORT
    for n in 1 2 3; do
        head -c $((n * 3000)) /dev/urandom | timeout 3 bash -c "cat >/dev/tcp/127.0.0.1/$1" 2>/dev/null
        printf 'GET / HTTP/1.1\r\n\r\n' | timeout 3 bash -c "cat >/dev/tcp/127.0.0.1/$1" 2>/dev/null
        head -c 20000 /dev/zero | timeout 3 bash -c "cat >/dev/tcp/127.0.0.1/$1" 2>/dev/null
    done
    return 0
}
for p in "$port" $((port + 1)) $((port + 2)) $((port + 3)); do garbage "$p"; done
ca=$TEST_TMP/ca.pem
sed -n '/BEGIN CERT/,/END CERT/s/^ *//p' "$DROVER_CONFIG" >"$ca"
api() { curl -s --cacert "$ca" --resolve "drover-controller:$port:127.0.0.1" -H "Authorization: Bearer $(sed -n 's/^token: *//p' "$DROVER_CONFIG" | tr -d '"')" "https://drover-controller:$port$@"; }
head -c 2000000 /dev/zero | tr '\0' 'a' >large
api "/api/v1/apply" -X POST --data-binary @large -o out -w '%{http_code}' | grep -q 413 || fail "a large body was not refused with 413"
api "/api/v1/apply" -X POST --data '{"kind": 5' | grep -q '"error"' || fail "broken JSON was not refused"
api "/api/v1/namespaces/..%2f..%2f/virtualmachines/x" | grep -q '"error"' || fail "a strange path was not refused"
control=$(find /tmp/drover-* "$TEST_TMP/alpha/run" -name '*.ctl' -newer "$ca" 2>/dev/null | head -n 1)
[ -z "$control" ] || head -c 3000 /dev/urandom | timeout 3 python3 -c "
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect('$control'); s.sendall(sys.stdin.buffer.read())" 2>/dev/null

say "all are alive and well"
kill -0 $controller_pid || fail "the controller has ended"
kill -0 "${agent_pid[alpha]}" || fail "the agent has ended"
vm_is survivor Running || fail "survivor does not run"
drover delete vm/survivor --wait || fail "delete"
echo passed

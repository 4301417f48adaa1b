# What the cluster tests share: a real controller and real agents on loopback, under TEST_TMP.
# Sourced. Each test gets ports of its own; everything it started is ended when it ends.
set -u
export PATH=$BUILD:$PATH
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$TEST_TMP"
export DROVER_CONFIG=$TEST_TMP/controller/drover.yaml
mkdir -p images
pids=()

fail() { echo "FAILED: $*" >&2; exit 1; }
say() { echo "== $*"; }

# A run of 16 free ports, looked for from a place that depends on the test's name; below 32768,
# where the ports of outgoing connections begin.
pick_ports() {
    local try=$((20000 + $(cksum <<<"$TEST_TMP" | cut -d' ' -f1) % 700 * 16)) used
    used=$(ss -Hltn | awk '{sub(/.*:/, "", $4); print $4}')
    while :; do
        port=$try
        local n clash=no
        for n in $(seq 0 15); do grep -qx $((try + n)) <<<"$used" && clash=yes; done
        [ $clash = yes ] || return 0
        try=$((try + 16))
    done
}
pick_ports

await() { # await SECONDS WHAT COMMAND...: as long as a quiet machine needs; a busy one gets five times as many looks
    local limit=$1 what=$2 tries=0
    shift 2
    until "$@"; do
        tries=$((tries + 1))
        [ $tries -lt $((limit * 25)) ] || { show_logs; fail "$what: not after $limit s, five times over"; }
        sleep 0.2
    done
}
show_logs() { tail -n 8 ./*.log 2>/dev/null; drover get vm -o wide 2>/dev/null; drover get migrations -o wide 2>/dev/null; }

# Whoever was killed before is waited for: until it is quite gone, it holds its locks and ports.
start_controller() {
    [ -z "${controller_pid:-}" ] || wait "$controller_pid" 2>/dev/null
    drover-controller --data "$TEST_TMP/controller" --listen "127.0.0.1:$port" \
        --agent-listen "tls+tcp://127.0.0.1:$((port + 1))" >>controller.log 2>&1 &
    controller_pid=$!
    pids+=($controller_pid)
    await 20 "the controller answers" drover_answers
}
drover_answers() { drover cluster-info >/dev/null 2>&1; }

declare -A agent_pid
# start_agent NAME NUMBER [OPTION...]: data in NAME/, transfer and metrics ports by NUMBER (1, 2, …)
start_agent() {
    local name=$1 number=$2 token
    shift 2
    [ -z "${agent_pid[$name]:-}" ] || wait "${agent_pid[$name]}" 2>/dev/null
    token=$(drover-controller --data "$TEST_TMP/controller" token create 2>>"$name.log" |
        grep -o 'drover-join:[^ ]*' | head -n 1)
    drover-agent --name "$name" --controller "https://127.0.0.1:$port" --join-token "$token" \
        --data "$TEST_TMP/$name" --images "$TEST_TMP/images" --memory 1G \
        --transfer-listen "127.0.0.1:$((port + 2 * number))" \
        --metrics-listen "127.0.0.1:$((port + 2 * number + 1))" "$@" >>"$name.log" 2>&1 &
    agent_pid[$name]=$!
    pids+=($!)
    await 20 "$name is ready" host_is "$name" Ready
}
host_is() { [ "$(drover get host "$1" -o json 2>/dev/null | jq -r .status.phase)" = "$2" ]; }
field() { drover get "$1" "$2" -o json 2>/dev/null | jq -r "$3"; }
vm_is() { [ "$(field vm "$1" .status.phase)" = "$2" ]; }

# The process ids of the emulators that run for a machine, on all hosts.
emulators_of() { pgrep -f -- "--name=default/$1 .*--disk=file=$TEST_TMP/" || true; }

end_all() {
    local pid pidfile
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null; done
    for pidfile in "$TEST_TMP"/*/machines/*/pid; do
        [ -s "$pidfile" ] || continue
        pid=$(cat "$pidfile")
        tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q -- "--pidfile=$pidfile" && kill -KILL "$pid"
    done
    for folder in "$TEST_TMP"/*/; do
        ! mountpoint -q "$folder" || umount -l "$folder"
    done
}
trap end_all EXIT

# machine NAME [EXTRA YAML LINES]: applies a small machine with an empty disk. It finds nothing to boot,
# which makes it quick; it ignores the power button, so its grace is short.
machine() {
    drover apply -f - <<YAML || fail "apply of $1"
apiVersion: drover/v1
kind: VirtualMachine
metadata: {name: $1}
spec:
  memory: 32Mi
  stopGraceSeconds: 1
  disks: [{name: root, size: 64Mi}]
${2:-}
YAML
}

#!/bin/bash
# A whole cluster on this computer: one controller, two hosts, two machines, one move.
#
#   deploy/demo.sh up      start it and show it (make demo)
#   deploy/demo.sh down    end it, leaving no process (make demo-down)
#
# BUILD     the build folder (build)
# DEMO_DIR  where everything lives (BUILD/demo)
# DEMO_PORT first of eight ports on 127.0.0.1 (17443)
set -u
cd "$(dirname "$0")/.."
BUILD=$(realpath "${BUILD:-build}")
demo=${DEMO_DIR:-$BUILD/demo}
port=${DEMO_PORT:-17443}
example=$PWD/deploy/examples/hello.yaml
export DROVER_CONFIG=$demo/controller/drover.yaml
export PATH=$BUILD:$PATH

begin=$(date +%s)
current="starting"
log=  # where the current step's trouble would be written
peek= # a command that tells how far it is

say() { printf '%4d s  %s\n' $(($(date +%s) - begin)) "$*"; }
step() { current=$1 log=${2:-}; say "$1"; }
fail() {
    printf '\ndemo: failed at: %s\n' "$current" >&2
    printf '      because: %s\n' "$*" >&2
    [ -z "$log" ] || printf '      log: %s\n' "$log" >&2
    exit 1
}
# await SECONDS WHAT COMMAND...: until it succeeds, with a sign of life every 15 seconds
await() {
    local limit=$1 what=$2 start shown
    shift 2
    start=$(date +%s) shown=$start
    until "$@"; do
        [ $(($(date +%s) - start)) -lt "$limit" ] || fail "$what: not after $limit s"
        if [ $(($(date +%s) - shown)) -ge 15 ]; then
            shown=$(date +%s)
            say "  … $what${peek:+: $($peek)}"
        fi
        sleep 0.3
    done
}

# ---- processes ---------------------------------------------------------------------------------

launch() { # launch NAME COMMAND...
    local name=$1
    shift
    setsid "$@" </dev/null >>"$demo/$name.log" 2>&1 &
    echo $! >"$demo/run/$name.pid"
}
# A process that has ended but that nobody has waited for counts as ended.
runs() { grep -q '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status" 2>/dev/null; }
alive() { [ -s "$demo/run/$1.pid" ] && runs "$(cat "$demo/run/$1.pid")"; }
end_pid() { # end_pid PID SIGNAL: sends it, waits up to 5 s, then SIGKILL
    local pid=$1 tries=0
    kill -"$2" "$pid" 2>/dev/null || return 0
    while runs "$pid"; do
        tries=$((tries + 1))
        [ $tries -lt 50 ] || { kill -KILL "$pid" 2>/dev/null; return 0; }
        sleep 0.1
    done
}

down() {
    [ -d "$demo" ] || return 0
    local name pidfile control pid
    # the agents first, or they would start again what is ended here
    for name in alpha beta controller; do
        alive $name && end_pid "$(cat "$demo/run/$name.pid")" TERM
        rm -f "$demo/run/$name.pid"
    done
    for pidfile in "$demo"/alpha/machines/*/pid "$demo"/beta/machines/*/pid; do
        [ -s "$pidfile" ] || continue
        pid=$(cat "$pidfile")
        # only a drover-emu that was started for this folder
        tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qx -- "--pidfile=$pidfile" || continue
        control=$(tr '\0' '\n' <"/proc/$pid/cmdline" | sed -n 's|^--control=ipc://||p')
        drover-emu ctl "$control" quit >/dev/null 2>&1 # flushes the disks
        end_pid "$pid" CONT
    done
}

# ---- steps -------------------------------------------------------------------------------------

start_controller() {
    step "starting the controller" "$demo/controller.log"
    launch controller drover-controller --data "$demo/controller" --listen "127.0.0.1:$port" \
        --agent-listen "tls+tcp://127.0.0.1:$((port + 1))"
    await 20 "waiting for the controller to answer" controller_answers
}
controller_answers() {
    alive controller || fail "the controller ended: $(tail -n 1 "$demo/controller.log")"
    drover cluster-info >/dev/null 2>&1
}

start_agent() { # start_agent NAME OFFSET RACK
    step "starting host $1" "$demo/$1.log"
    local token
    token=$(drover-controller --data "$demo/controller" token create 2>>"$demo/$1.log" | grep -o 'drover-join:[^ ]*' | head -n 1)
    [ -n "$token" ] || fail "the controller made no join token"
    launch "$1" drover-agent --name "$1" --controller "https://127.0.0.1:$port" \
        --join-token "$token" --data "$demo/$1" --images "$BUILD/guest" --label "rack=$3" \
        --memory 2G --transfer-listen "127.0.0.1:$((port + $2))" \
        --metrics-listen "127.0.0.1:$((port + $2 + 1))"
}
host_ready() {
    alive "$1" || fail "the agent $1 ended: $(tail -n 1 "$demo/$1.log")"
    [ "$(drover get host "$1" -o json 2>/dev/null | jq -r .status.phase)" = Ready ]
}

vm_field() { drover get vm "$1" -o json | jq -r "$2"; }
vm_runs() { [ "$(vm_field "$1" .status.phase)" = Running ]; }
last_line() { drover logs "$machine" --tail 300 2>/dev/null | tr -d '\r' | grep . | tail -n 1 | cut -c1-70; }
said_hello() { drover logs "$1" 2>/dev/null | grep -q "hello from drover: boot $2"; }

# What a command in the guest prints, by way of the console.
in_guest() { # in_guest NAME COMMAND
    (printf '\n%s; echo end-of-$((40 + 2))\n' "$2"; sleep 4) | drover console "$1" 2>/dev/null |
        tr -d '\r' | sed -n '/end-of-\$/,/end-of-42/p' | sed '1d;$d'
}

show_metrics() {
    step "scraping /metrics of controller and agents"
    curl -sf --cacert "$demo/ca.pem" --resolve "drover-controller:$port:127.0.0.1" \
        "https://drover-controller:$port/metrics" >"$demo/metrics-controller.txt" ||
        fail "the controller's /metrics does not answer"
    curl -sf "http://127.0.0.1:$((port + 3))/metrics" >"$demo/metrics-alpha.txt" ||
        fail "alpha's /metrics does not answer"
    curl -sf "http://127.0.0.1:$((port + 5))/metrics" >"$demo/metrics-beta.txt" ||
        fail "beta's /metrics does not answer"
    grep -hE '^drover_(vm_info|vm_cpu_seconds_total|vm_interpreted_instructions_total|transfer_bytes_total)' \
        "$demo"/metrics-*.txt | sed 's/^/          /'
    grep -q '^drover_vm_info{' "$demo/metrics-controller.txt" || fail "no drover_vm_info"
    grep -q '^drover_vm_cpu_seconds_total{' "$demo/metrics-beta.txt" || fail "no CPU seconds"
}

up() {
    down
    rm -rf "$demo"
    mkdir -p "$demo/run"
    start_controller
    sed -n '/BEGIN CERT/,/END CERT/s/^ *//p' "$DROVER_CONFIG" >"$demo/ca.pem"
    start_agent alpha 2 a
    start_agent beta 4 b
    await 30 "waiting for alpha" host_ready alpha
    await 30 "waiting for beta" host_ready beta

    step "applying deploy/examples/hello.yaml" "$demo/controller.log"
    drover apply -f "$example" || fail "apply failed"
    local machine booted
    booted=$(date +%s)
    for machine in hello-1 hello-2; do
        step "waiting until $machine runs" "$demo/controller.log"
        await 60 "waiting for $machine to run" vm_runs $machine
        say "  $machine runs on $(vm_field $machine .status.host)"
    done
    for machine in hello-1 hello-2; do
        step "waiting for $machine to boot Linux and say hello" \
            "$demo/$(vm_field $machine .status.host)/machines/$(vm_field $machine .metadata.uid)/serial.log"
        peek=last_line
        await 300 "$machine is booting" said_hello $machine 1
        peek=
        say "  $machine: hello from drover: boot 1 ($(($(date +%s) - booted)) s after apply)"
    done

    machine=$(drover get vm -o json | jq -r '[.items[] | select(.status.host == "alpha")][0].metadata.name')
    [ "$machine" != null ] || fail "no machine is on alpha"
    step "moving $machine from alpha to beta with its disk" "$demo/controller.log"
    drover migrate "vm/$machine" --to beta --wait --timeout 120 || fail "the move failed"
    step "waiting for $machine to say hello on beta" "$demo/beta.log"
    await 60 "waiting for $machine to run" vm_runs "$machine"
    [ "$(vm_field "$machine" .status.host)" = beta ] || fail "$machine is not on beta"
    peek=last_line
    await 300 "$machine is booting on beta" said_hello "$machine" 2
    peek=
    say "  $machine: hello from drover: boot 2"
    step "reading $machine's disk: what it wrote before the move"
    in_guest "$machine" 'cat /var/log/boots' >"$demo/boots.txt"
    sed 's/^/          /' "$demo/boots.txt"
    [ "$(grep -c '^boot [12] at ' "$demo/boots.txt")" = 2 ] || fail "the first boot's line is not on the disk"

    show_metrics
    say "the machines"
    drover get vm -o wide
    cat <<END

It works, and goes on running until make demo-down. Where to look next:

  export PATH=$BUILD:\$PATH DROVER_CONFIG=$DROVER_CONFIG
  drover get vm,  drover describe vm/hello-1,  drover get migration,  drover events
  drover console hello-1        a shell on its serial port (Ctrl-] ends it)
  drover logs hello-2 --follow
  drover migrate hello-2 --to alpha --wait
  drover explain vm.spec

  REST        https://127.0.0.1:$port/api/v1/   (CA and token: $DROVER_CONFIG)
  metrics     https://127.0.0.1:$port/metrics  http://127.0.0.1:$((port + 3))/metrics  http://127.0.0.1:$((port + 5))/metrics
  logs        $demo/{controller,alpha,beta}.log
END
    printf '\ndemo: everything above really happened, in %d s\n' $(($(date +%s) - begin))
}

case ${1:-} in
up) up ;;
down) down ;;
*) echo "usage: deploy/demo.sh up|down" >&2; exit 2 ;;
esac

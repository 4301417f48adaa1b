#!/bin/bash
# The demo's whole path, with what a stranger would check: twice hello, a real Prometheus that scrapes
# it, clean metrics, and no process left.
set -u
. "$(dirname "$0")/lib.sh"
demo=$TEST_TMP/demo
run_demo() { DEMO_DIR=$demo DEMO_PORT=$port "$root/deploy/demo.sh" "$1"; }
trap 'run_demo down; end_all' EXIT

say "make demo"
run_demo up || fail "the demo failed"
export DROVER_CONFIG=$demo/controller/drover.yaml

say "promtool"
for page in controller alpha beta; do
    promtool check metrics <"$demo/metrics-$page.txt" || fail "metrics of $page are not clean"
done

say "a real Prometheus"
cat >prometheus.yml <<YAML
global: {scrape_interval: 1s}
scrape_configs:
  - job_name: controller
    scheme: https
    tls_config: {ca_file: $demo/ca.pem, server_name: drover-controller}
    static_configs: [{targets: ["127.0.0.1:$port"]}]
  - job_name: agents
    static_configs: [{targets: ["127.0.0.1:$((port + 3))", "127.0.0.1:$((port + 5))"]}]
YAML
prometheus --config.file=prometheus.yml --storage.tsdb.path="$TEST_TMP/tsdb" \
    --web.listen-address="127.0.0.1:$((port + 8))" >prometheus.log 2>&1 &
pids+=($!)
query() { curl -sf --get "http://127.0.0.1:$((port + 8))/api/v1/query" --data-urlencode "query=$1" | jq -r '.data.result[0].value[1]'; }
all_up() { [ "$(query 'sum(up)')" = 3 ]; }
await 60 "Prometheus has scraped all three" all_up
[ "$(query 'count(drover_vm_info{phase="Running"})')" = 2 ] || fail "Prometheus does not see two machines"
[ "$(query 'sum(drover_vm_running)')" = 2 ] || fail "Prometheus does not see two emulators"

say "powering off from inside ends Manual machines for good"
drover get vm hello-2 -o json | jq '.spec.runStrategy = "Manual" | del(.status)' |
    drover apply -f - || fail "apply of JSON"
(printf '\npoweroff\n'; sleep 3) | drover console hello-2 >/dev/null 2>&1
await 60 "hello-2 is stopped" vm_is hello-2 Stopped
drover start hello-2 --wait || fail "start"
drover stop hello-2 --wait --timeout 300 || fail "stop"

say "make demo-down"
run_demo down
! pgrep -f -- "$demo" || fail "processes are left"
grep -qx poweroff "$demo"/*/machines/*/exit || fail "the machines were not ended in order"
echo passed

# For a guest's shell: try_card NAME MAC takes a lease with that card, pings the gateway and fetches
# a file over HTTP; it prints lines of "result NAME WHAT: VALUE".
result() { echo "result $1: $2"; }

try_card() {
    local name=$1 mac=$2 card= address
    for path in /sys/class/net/*; do
        [ "$(cat "$path/address")" = "$mac" ] && card=$(basename "$path")
    done
    [ -n "$card" ] || { result "$name" "no card $mac"; return; }
    result "$name driver" "$(basename "$(readlink "/sys/class/net/$card/device/driver")")"
    ip link set "$card" up
    udhcpc -i "$card" -n -q -t 10 >/dev/null 2>&1
    address=$(ip -4 addr show dev "$card" | sed -n 's/.*inet \([0-9.]*\).*/\1/p')
    result "$name lease" "$address"
    ping -c 2 -W 60 -I "$card" 10.0.2.2 >/dev/null 2>&1 && result "$name ping" yes
    result "$name http" "$(wget -qO - http://10.0.2.2:8123/payload | md5sum | cut -c 1-32)"
    ip addr flush dev "$card"
    ip link set "$card" down
}

# What the guest of test_emu_flow.sh does: a TCP connection each way through a tap and one through
# the user network, both open while the machine is saved and goes on elsewhere.
result() { echo "result $1: $2"; }
for path in /sys/class/net/eth*; do
    case $(cat "$path/address") in
    *:0a) tap=$(basename "$path") ;;
    *:0b) user=$(basename "$path") ;;
    esac
done
ip link set lo up
ip addr add 10.77.0.2/24 dev "$tap"
ip link set "$tap" up
ip addr add 10.0.2.15/24 dev "$user"
ip link set "$user" up
dd if=/dev/urandom of=/tmp/up bs=64k count=96 2>/dev/null
mkfifo /tmp/words
(nc 10.0.2.2 7078 </tmp/words >/tmp/answer; touch /tmp/ended) &
exec 3>/tmp/words
echo before >&3
while [ ! -s /tmp/answer ]; do sleep 0.1; done
result user "$(cat /tmp/answer)"
nc 10.77.0.1 7077 </tmp/up >/tmp/down
result up "$(sha256sum </tmp/up | cut -c 1-64)"
result down "$(sha256sum </tmp/down | cut -c 1-64)"
# The user network's other end is gone with the process; the guest must be told, by a reset.
while [ ! -e /tmp/ended ]; do
    echo after >&3
    sleep 0.1
done 2>/dev/null
result reset yes
ping -c 2 -W 60 10.0.2.2 >/dev/null 2>&1 && result ping yes
dmesg | grep -E "BUG:|Oops|rcu.*stall|soft lockup" && result kernel complains
result end yes

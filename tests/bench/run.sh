#!/bin/bash
# Benchmarks, each beside a peer that does the same work in the same call: one table of ratios.
#
#   tests/bench/run.sh [--bochs] [emulator|storage]...
#
# Processor seconds (user and system, all threads), the median of five, the two sides in turn.
# --bochs: once, since it takes minutes, how long Bochs takes for what the emulator does.
set -u
cd "$(dirname "$0")/../.."
BUILD=$(realpath "${BUILD:-build}")
rounds=${BENCH_ROUNDS:-5}
bochs=no parts=()
for word; do
    case $word in --bochs) bochs=yes ;; *) parts+=("$word") ;; esac
done
[ ${#parts[@]} -gt 0 ] || parts=(emulator storage)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/drover-bench.XXXXXX")
end() {
    [ ! -s "$scratch/running" ] || kill -KILL "$(cat "$scratch/running")" 2>/dev/null
    rm -rf "$scratch"
}
trap end EXIT

skip() { echo "not measured: $*" >&2; }
have() { command -v "$1" >/dev/null || { skip "$2 ($1 is not installed)"; return 1; }; }

# ---- measuring: each prints processor seconds ----------------------------------------------------

# of a process, all its threads
cpu_of() { awk -v hz="$(getconf CLK_TCK)" '{sub(/.*\) /, ""); printf "%.2f\n", ($12 + $13) / hz}' "/proc/$1/stat"; }

# until_text TEXT COMMAND...: until the guest's console, $console, has the text
console=$scratch/console
until_text() {
    local text=$1 seconds pid
    shift
    : >"$console"
    "$@" </dev/null >"$scratch/out" 2>&1 &
    pid=$!
    echo $pid >"$scratch/running"
    until grep -aq "$text" "$console"; do
        kill -0 $pid 2>/dev/null || { echo "$1 ended early:" >&2; tail -n 5 "$scratch/out" >&2; return 1; }
        sleep 0.05
    done
    seconds=$(cpu_of $pid)
    kill -KILL $pid
    wait $pid 2>/dev/null
    : >"$scratch/running"
    echo "$seconds"
}

# of a whole command
whole() {
    local TIMEFORMAT='%3U %3S'
    { time "$@" >"$scratch/out" 2>&1; } 2>"$scratch/time" || { cat "$scratch/out" >&2; return 1; }
    awk '{printf "%.2f\n", $1 + $2}' "$scratch/time"
}

median() { sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}'; }
row() { awk -v w="$1" -v a="$2" -v b="$3" 'BEGIN {printf "%-54s %8.2f %8.2f %7.2f\n", w, a, b, a / b}'; }

# compare WHAT OURS PEER: two functions that print a figure, in turn
compare() {
    local what=$1 ours=$2 peer=$3
    for ((i = 0; i < rounds; i++)); do
        $ours >>"$scratch/$ours" && $peer >>"$scratch/$peer" || { skip "$what: it failed"; return; }
    done
    row "$what" "$(median <"$scratch/$ours")" "$(median <"$scratch/$peer")"
}

# ---- the emulator: Debian's kernel until its first process ---------------------------------------

guest=$BUILD/guest
boot_drover() {
    until_text "Run /init" "$BUILD/drover-emu" --kernel "$guest/vmlinuz" --initrd "$guest/initrd.gz" \
        --append "console=ttyS0" --memory 512M --serial "file:$console" --no-reboot
}
boot_qemu() {
    until_text "Run /init" qemu-system-x86_64 -accel tcg -cpu qemu64 -m 512 -nodefaults -display none \
        -no-reboot -kernel "$guest/vmlinuz" -initrd "$guest/initrd.gz" -append "console=ttyS0" \
        -serial "file:$console"
}

# The demo's disk, by way of SeaBIOS and a boot loader: Bochs loads no kernel by itself.
disk_drover() {
    cp "$guest/hello.vhd" "$scratch/hello.vhd"
    until_text "Run /init" "$BUILD/drover-emu" --memory 512M --disk "file=$scratch/hello.vhd,bus=ide" \
        --serial "file:$console" --no-reboot
}
disk_bochs() {
    qemu-img convert -f vpc -O raw "$guest/hello.vhd" "$scratch/hello.img" || return 1
    cat >"$scratch/bochsrc" <<RC
display_library: $bochs_display
romimage: file=$bochs_bios
vgaromimage: file=$bochs_vga
memory: guest=512, host=512
clock: sync=none
ata0-master: type=disk, path="$scratch/hello.img", mode=flat
boot: disk
com1: enabled=1, mode=file, dev=$console
log: $scratch/bochs.log
panic: action=fatal
RC
    TERM=xterm until_text "Run /init" bochs -q -f "$scratch/bochsrc"
}

first() { for f; do [ ! -e "$f" ] || { echo "$f"; return; }; done; }

bench_emulator() {
    have qemu-system-x86_64 "the emulator beside QEMU" &&
        compare "Linux to its init, beside QEMU (TCG)" boot_drover boot_qemu
    [ $bochs = yes ] || return
    have bochs "the emulator beside Bochs" || return
    bochs_display=$(ls /usr/lib/*/bochs/plugins/libbx_{nogui,term}*.so 2>/dev/null | sed -n '1s/.*libbx_\([a-z]*\).*/\1/p')
    [ -n "$bochs_display" ] || { skip "the emulator beside Bochs (bochs-term is not installed)"; return; }
    bochs_bios=$(first /usr/share/bochs/BIOS-bochs-latest /usr/share/seabios/bios.bin)
    bochs_vga=$(first /usr/share/bochs/VGABIOS-lgpl-latest /usr/share/seabios/vgabios-stdvga.bin)
    local ours theirs
    ours=$(disk_drover) && theirs=$(disk_bochs) || { skip "Bochs: it failed"; return; }
    row "disk to its init, beside Bochs (once)" "$ours" "$theirs"
}

# ---- storage: a 1 GiB image, half of it full, between raw and dynamic VHD ------------------------

to_vhd_drover() {
    rm -f "$scratch/ours.vhd"
    whole "$BUILD/drover-vhd" convert --quiet "$scratch/raw.img" "$scratch/ours.vhd"
}
to_vhd_qemu() {
    whole qemu-img convert -f raw -O vpc -o subformat=dynamic,force_size=on "$scratch/raw.img" "$scratch/peer.vhd"
}
to_raw_drover() {
    rm -f "$scratch/ours.img"
    whole "$BUILD/drover-vhd" convert --quiet --type raw "$scratch/ours.vhd" "$scratch/ours.img"
}
to_raw_qemu() { whole qemu-img convert -f vpc -O raw "$scratch/peer.vhd" "$scratch/peer.img"; }

bench_storage() {
    have qemu-img "storage beside qemu-img" || return
    truncate -s 1G "$scratch/raw.img"
    for ((at = 0; at < 1024; at += 128)); do
        dd if=/dev/urandom of="$scratch/raw.img" bs=1M count=64 seek=$at conv=notrunc status=none
    done
    compare "1 GiB, half full, raw to dynamic VHD, beside qemu-img" to_vhd_drover to_vhd_qemu
    compare "and back" to_raw_drover to_raw_qemu
    cmp "$scratch/raw.img" "$scratch/ours.img" || exit 1
}

printf '%-54s %8s %8s %7s\n' "processor seconds" ours peer ratio
for part in "${parts[@]}"; do
    case $part in
    emulator) bench_emulator ;;
    storage) bench_storage ;;
    *) echo "no benchmark $part; they are emulator and storage" >&2; exit 2 ;;
    esac
done

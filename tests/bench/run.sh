#!/bin/bash
# Benchmarks, each beside a peer that does the same work in the same call: one table of ratios.
#
#   tests/bench/run.sh [--bochs] [emulator|storage]...
#
# The median of five, the two sides in turn: processor seconds (user and system, all threads) of the
# emulator, seconds that pass of storage.
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
    case ${disks:-} in "" | "$scratch") ;; *) rm -rf "$disks" ;; esac
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
    echo continue >"$scratch/bochs.commands" # Debian's Bochs begins in its debugger
    TERM=xterm until_text "Run /init" bochs -q -f "$scratch/bochsrc" -rc "$scratch/bochs.commands"
}

first() { for f; do [ ! -e "$f" ] || { echo "$f"; return; }; done; }

bench_emulator() {
    have qemu-system-x86_64 "the emulator beside QEMU" &&
        compare "Linux to its init, beside QEMU (TCG)" boot_drover boot_qemu
    [ $bochs = yes ] || return
    have bochs "the emulator beside Bochs" || return
    bochs_display=$(ls /usr/lib/*/bochs/plugins/libbx_{nogui,term}*.so 2>/dev/null | sed -n '1s/.*libbx_\([a-z]*\).*/\1/p')
    [ -n "$bochs_display" ] || { skip "the emulator beside Bochs (it needs the packages bochs-term and bochsbios)"; return; }
    bochs_bios=$(first /usr/share/bochs/BIOS-bochs-latest /usr/share/seabios/bios.bin)
    bochs_vga=$(first /usr/share/bochs/VGABIOS-lgpl-latest /usr/share/seabios/vgabios-stdvga.bin)
    local ours theirs
    ours=$(disk_drover) && theirs=$(disk_bochs) || { skip "Bochs: it failed"; return; }
    row "disk to its init, beside Bochs (once)" "$ours" "$theirs"
}

# ---- storage, beside qemu-img: seconds that pass, of files in memory where there is room -----------

elapsed() {
    local TIMEFORMAT='%3R'
    { time "$@" >"$scratch/out" 2>&1; } 2>"$scratch/time" || { cat "$scratch/out" >&2; return 1; }
    cat "$scratch/time"
}

disks=$scratch
# ours TO WORD... and theirs: a conversion into a file that is not there yet
ours() {
    local to=$disks/$1
    shift
    rm -f "$to"
    elapsed "$BUILD/drover-vhd" convert --quiet "$@" "$to"
}
theirs() {
    local to=$disks/$1
    shift
    rm -f "$to"
    elapsed qemu-img convert "$@" "$to"
}
to_vhd_drover() { ours ours.vhd "$disks/raw.img"; }
to_vhd_qemu() { theirs peer.vhd -f raw -O vpc -o subformat=dynamic,force_size=on "$disks/raw.img"; }
to_raw_drover() { ours ours.img --type raw "$disks/ours.vhd"; }
to_raw_qemu() { theirs peer.img -f vpc -O raw "$disks/peer.vhd"; }
to_vhdx_drover() { ours ours.vhdx --type vhdx "$disks/raw.img"; }
to_vhdx_qemu() { theirs peer.vhdx -f raw -O vhdx "$disks/raw.img"; }
from_vhdx_drover() { ours ours.img --type raw "$disks/ours.vhdx"; }
from_vhdx_qemu() { theirs peer.img -f vhdx -O raw "$disks/peer.vhdx"; }
plain_copy() {
    rm -f "$disks/peer.img"
    elapsed cp "$disks/raw.img" "$disks/peer.img"
}
full= full_format= # the disk of the next two, and what qemu-img calls its format
random_drover() { "$BUILD/tests/bench/queue_bench" "$full" "$1" 200000 32; }
random_qemu() {
    qemu-img bench -f $full_format -c 200000 -d 32 -s 4096 -S 1056768 "$@" "$full" |
        sed -n 's/^Run completed in \([0-9.]*\) seconds.*/\1/p'
}
read_drover() { random_drover read; }
read_qemu() { random_qemu; }
write_drover() { random_drover write; }
write_qemu() { random_qemu -w; }
map_drover() { elapsed "$BUILD/drover-vhd" map --json "$disks/big.vhd"; }
map_qemu() { elapsed qemu-img map --output json -f vpc "$disks/big.vhd"; }
open_drover() { elapsed "$BUILD/drover-vhd" info "$disks/big.vhd"; }
open_qemu() { elapsed qemu-img info -f vpc "$disks/big.vhd"; }
compact_drover() {
    cp --sparse=always "$disks/holes.vhd" "$disks/compact.vhd"
    elapsed "$BUILD/drover-vhd" compact --quiet "$disks/compact.vhd"
}
compact_qemu() { theirs peer.vhd -f vpc -O vpc -o force_size=on "$disks/holes.vhd"; }

# bench_random FORMAT NAME: leaves $disks/full.NAME
bench_random() {
    full_format=$1 full=$disks/full.$2
    case $1 in vpc) qemu-img create -q -f vpc -o force_size=on "$full" 1G ;; *) qemu-img create -q -f "$1" "$full" 1G ;; esac
    qemu-io -f "$1" -c "write -P 5 0 1G" "$full" >/dev/null
    rm -f "$scratch"/{read,write}_{drover,qemu}
    compare "200,000 random 4 KiB reads of $2, 32 in flight" read_drover read_qemu
    compare "200,000 random 4 KiB writes of $2, 32 in flight" write_drover write_qemu
}

bench_compact() {
    mv "$disks/full.vhd" "$disks/holes.vhd"
    for ((at = 0; at < 1024; at += 128)); do
        qemu-io -f vpc -c "write -P 0 ${at}M 64M" "$disks/holes.vhd" >/dev/null
    done
    compare "compact in place, beside converting anew" compact_drover compact_qemu
    local before after # space that is needed while it runs, beyond the file itself
    cp --sparse=always "$disks/holes.vhd" "$disks/compact.vhd"
    before=$(($(stat -c %s "$disks/compact.vhd") >> 20))
    after=$(du -B1M "$disks/peer.vhd" | cut -f1)
    echo "compacting a file of $before MiB in place needs no second one; converting anew needs $after MiB beside it"
    rm -f "$disks"/*.vhd
}

bench_giant() {
    "$BUILD/drover-vhd" create "$disks/big.vhd" --size 2040G
    compare "open a dynamic VHD of 2040 GiB" open_drover open_qemu
    echo "opening it takes $(/usr/bin/env time -f %M "$BUILD/drover-vhd" info "$disks/big.vhd" 2>&1 >/dev/null | tail -n 1) KiB of memory"
    for ((at = 0; at < 2040; at += 20)); do qemu-io -f vpc -c "write -P 1 ${at}G 64k" "$disks/big.vhd" >/dev/null; done
    compare "map it, with 102 blocks allocated" map_drover map_qemu
}

bench_storage() {
    local memory=${XDG_RUNTIME_DIR:-/dev/shm}
    have qemu-img "storage beside qemu-img" || return
    [ "$(df --output=avail -B1M "$memory" 2>/dev/null | tail -n 1)" -lt 9000 ] 2>/dev/null ||
        disks=$(mktemp -d "$memory/drover-bench.XXXXXX")
    echo "(seconds that pass from here on; files in ${disks%/*})"
    truncate -s 2G "$disks/raw.img"
    for ((at = 0; at < 2048; at += 128)); do
        dd if=/dev/urandom of="$disks/raw.img" bs=1M count=64 seek=$at conv=notrunc status=none
    done
    compare "2 GiB, half full, raw to dynamic VHD" to_vhd_drover to_vhd_qemu
    compare "and back" to_raw_drover to_raw_qemu
    cmp "$disks/raw.img" "$disks/ours.img" || exit 1
    rm -f "$scratch/to_vhd_drover" # measured anew, in turn with its next peer
    compare "raw to dynamic VHD, beside cp" to_vhd_drover plain_copy
    rm -f "$disks"/ours.* "$disks"/peer.*
    compare "raw to dynamic VHDX" to_vhdx_drover to_vhdx_qemu
    compare "and back" from_vhdx_drover from_vhdx_qemu
    cmp "$disks/raw.img" "$disks/ours.img" || exit 1
    rm -f "$disks"/*.img "$disks"/*.vhdx "$disks"/*.vhd
    bench_random vhdx vhdx
    bench_random vpc vhd
    bench_compact
    bench_giant
    [ "$disks" = "$scratch" ] || rm -rf "$disks"
}

printf '%-54s %8s %8s %7s\n' "processor seconds" ours peer ratio
for part in "${parts[@]}"; do
    case $part in
    emulator) bench_emulator ;;
    storage) bench_storage ;;
    *) echo "no benchmark $part; they are emulator and storage" >&2; exit 2 ;;
    esac
done

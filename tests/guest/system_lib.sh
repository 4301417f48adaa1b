# What the tests of whole systems share beside emu_lib.sh; they source it. It fetches Debian packages, makes
# disks, starts machines, and drives them: over the serial line, the keyboard and the control socket.
. "$(dirname "${BASH_SOURCE[0]}")/emu_lib.sh"
systems=$guest/systems # what was fetched and made once
commands=0

say() { echo "$(date +%T) $*"; }

# ---- packages ------------------------------------------------------------------------------

# one_at_a_time COMMAND...: what all these tests share, one makes, and others that run meanwhile wait for it.
one_at_a_time() {
    local made
    mkdir -p "$systems"
    exec 9>"$systems/lock"
    flock 9
    "$@"
    made=$?
    exec 9>&-
    return $made
}

# apt with lists of its own for i386: the system's dpkg need not know that architecture. An index
# that cannot be had (that of security updates, say) costs no more than its packages.
apt_i386() {
    local what=$1
    shift
    "apt-$what" -o "Dir::State::Lists=$systems/apt-i386/lists" -o "Dir::Cache=$systems/apt-i386/cache" \
        -o Dir::State::status=/dev/null -o APT::Architecture=i386 -o APT::Architectures=i386 \
        -o "APT::Sandbox::User=$(id -un)" "$@"
}
apt_amd64() {
    local what=$1
    shift
    "apt-$what" -o "APT::Sandbox::User=$(id -un)" "$@"
}

# system_package NAME [ARCHITECTURE]: prints the folder in which the package is unpacked.
system_package() { one_at_a_time fetch_package "$@"; }
fetch_package() {
    local name=$1 arch=${2:-amd64} tree=$systems/$1-${2:-amd64}
    if [ ! -e "$tree/complete" ]; then
        if [ "$arch" = i386 ] && [ ! -d "$systems/apt-i386/lists" ]; then
            mkdir -p "$systems/apt-i386/lists/partial" "$systems/apt-i386/cache/archives/partial"
            apt_i386 get update >"$systems/apt-i386/log" 2>&1
        fi
        rm -rf "$tree"
        mkdir -p "$tree/download"
        (cd "$tree/download" && "apt_$arch" get download "$name" >apt.log 2>&1) || {
            tail -n 1 "$tree/download/apt.log" >&2
            rm -rf "$tree"
            return 1
        }
        dpkg-deb -x "$tree/download"/*.deb "$tree" && touch "$tree/complete" || return 1
        rm -rf "$tree/download"
    fi
    echo "$tree"
}

# system_kernel FLAVOUR ARCHITECTURE: prints the folder of the newest kernel that can be had, with
# boot/vmlinuz-VERSION and lib/modules/VERSION.
system_kernel() { one_at_a_time fetch_kernel "$@"; }
fetch_kernel() {
    local flavour=$1 arch=$2 link=$systems/kernel-$1 name tree version
    if [ "$flavour" = amd64 ] && [ -e "$guest/kernel/complete" ] && [ ! -e "$link" ]; then
        mkdir -p "$systems" && ln -s ../kernel "$link" # the build has it already
    fi
    if [ ! -e "$link" ]; then
        [ "$arch" = amd64 ] || fetch_package busybox-static "$arch" >/dev/null || return 1
        tree=
        for name in $("apt_$arch" cache pkgnames linux-image- | grep -E "^linux-image-[0-9.]+-[0-9]+-$flavour\$" | sort -rV); do
            tree=$(fetch_package "$name" "$arch") && break
        done
        [ -n "$tree" ] || return 1
        version=$(basename "$tree"/lib/modules/*)
        [ -s "$tree/lib/modules/$version/modules.dep" ] || busybox depmod -b "$tree" "$version" || return 1
        ln -s "$(basename "$tree")" "$link"
    fi
    echo "$link"
}

# ---- disks ---------------------------------------------------------------------------------

# system_disk OUT KERNEL INITRD TREE APPEND: a partitioned disk that the BIOS boots with syslinux
# from its first partition (FAT); the second one (ext4) holds TREE.
system_disk() {
    local out=$1 kernel=$2 initrd=$3 tree=$4 append=$5
    local fat=$tmp/fat.img root=$tmp/root.img fat_start=2048 fat_sectors=81920 root_sectors=131072
    printf 'SERIAL 0 115200\nDEFAULT l\nPROMPT 0\nLABEL l\n KERNEL vmlinuz\n INITRD initrd.gz\n APPEND %s\n' \
        "$append" >"$tmp/syslinux.cfg"
    rm -f "$out" "$fat" "$root"
    truncate -s $(((fat_start + fat_sectors + root_sectors) * 512)) "$out"
    sfdisk -q "$out" <<TABLE
label: dos
start=$fat_start, size=$fat_sectors, type=c, bootable
start=$((fat_start + fat_sectors)), size=$root_sectors, type=83
TABLE
    dd if=/usr/lib/syslinux/mbr/mbr.bin of="$out" bs=440 count=1 conv=notrunc status=none
    truncate -s $((fat_sectors * 512)) "$fat"
    truncate -s $((root_sectors * 512)) "$root"
    mkfs.vfat -h $fat_start "$fat" >/dev/null &&
        MTOOLS_SKIP_CHECK=1 mcopy -i "$fat" "$kernel" ::vmlinuz &&
        MTOOLS_SKIP_CHECK=1 mcopy -i "$fat" "$initrd" ::initrd.gz &&
        MTOOLS_SKIP_CHECK=1 mcopy -i "$fat" "$tmp/syslinux.cfg" ::syslinux.cfg &&
        syslinux --install "$fat" && mke2fs -qF -t ext4 -E root_owner=0:0 -d "$tree" "$root" || return 1
    dd if="$fat" of="$out" bs=512 seek=$fat_start conv=notrunc,sparse status=none
    dd if="$root" of="$out" bs=512 seek=$((fat_start + fat_sectors)) conv=notrunc,sparse status=none
    rm -f "$fat" "$root"
}

# system_debian: prints the disk with a whole Debian 12, which no test may write: copy it.
system_debian() { one_at_a_time make_debian; }
make_debian() {
    if [ ! -e "$systems/debian.vhd" ]; then
        mkdir -p "$systems"
        tests/guest/debian_image.sh "$systems/debian.vhd" || return 1
        chmod 444 "$systems/debian.vhd"
    fi
    echo "$systems/debian.vhd"
}

# ---- machines ------------------------------------------------------------------------------

# system_start NAME OPTION...: a machine whose serial line is ours: guest() types there, and what it
# says is appended to $log.
system_start() {
    log=$tmp/$1.log
    shift
    : >"$log"
    seen=1
    options=("$@")
    rm -f "$tmp/input"
    mkfifo "$tmp/input"
    exec 8<>"$tmp/input"
    system_run
}

system_run() {
    start "${options[@]}" --serial stdio --control "ipc://$control" --allow "$tmp" "$@" <&8 >>"$log" 2>>"$tmp/stderr"
}

# wait_for PATTERN: on the serial line, after what the last wait_for found. Only a hang takes so long.
wait_for() {
    local at over=
    local hangs=$((SECONDS + 1800))
    while [ $SECONDS -lt $hangs ]; do
        at=$(tail -c "+$seen" "$log" | grep -aob -m 1 -E -- "$1" | head -n 1)
        if [ -n "$at" ]; then
            seen=$((seen + ${at%%:*} + 1))
            return 0
        fi
        [ -z "$over" ] || break
        gone && over=yes && continue # it may have come last of all
        tail -c 2000 "$log" | grep -aqE "Kernel panic|^\(initramfs\)|No init found" && break
        sleep 0.3
    done
    fail "$(basename "$log") never says \"$1\""
    tail -n 25 "$log"
    tail -n 5 "$tmp/stderr"
    return 1
}

# guest COMMAND [OUTPUT]: types it at the guest's shell and waits for its end; what it printed is in
# $output, its status is ours.
guest() {
    local from
    commands=$((commands + 1))
    from=$seen
    printf 'echo "begin-""%d"; %s; echo "end-""%d:$?."\n' $commands "$1" $commands >&8
    wait_for "end-$commands:[0-9]+\." || return 255
    output=$(tail -c "+$from" "$log" | tr -d '\r' | sed "1,/^begin-$commands\$/d; /^end-$commands:/,\$d")
    return "$(tail -c "+$seen" "$log" | sed -n "1s/^nd-[0-9]*:\([0-9]*\)\..*/\1/p")"
}

# system_login: at Debian's prompt, as root, who has no password; to a shell that guest() likes.
system_login() {
    wait_for "login: " || return
    echo root >&8
    wait_for "root@[^#]*# " || return
    guest "bind 'set enable-bracketed-paste off'; stty cols 4000"
}

# system_save_restore: the machine goes on in another process.
system_save_restore() {
    ctl save "$tmp/saved" || { fail "save"; return 1; }
    ctl quit || fail "quit"
    wait $pid || fail "the saved machine's process ends with $?"
    system_run --restore "$tmp/saved"
    wait_until answers || { fail "the restored machine does not run"; tail -n 5 "$tmp/stderr"; return 1; }
    rm -f "$tmp/saved"
}

# system_stop: the guest powers off by itself, or is powered off already.
system_stop() {
    wait_until gone || { fail "the guest does not end"; tail -n 20 "$log"; }
    system_kill
    [ $status -eq 0 ] || fail "the machine's status is $status"
}

system_kill() {
    end_machine
    exec 8>&-
}

# complaints [LOG]: what no kernel says that is well.
complaints() {
    ! grep -aE "BUG:|Oops|WARNING:|rcu.*stall|soft lockup|hung task|unstable|NETDEV WATCHDOG|I/O error|(ACPI|Firmware) (BIOS )?(Error|Bug)|general protection" "$log" |
        grep -av "${1:-^$}" | head -n 5 | grep .
}

screen_has() { ctl text >"$tmp/screen" 2>/dev/null && grep -qE -- "$1" "$tmp/screen"; }
# on_screen PATTERN: waits for it on the text screen.
on_screen() {
    wait_until screen_has "$1" && return
    fail "the screen never shows \"$1\""
    cat "$tmp/screen"
    return 1
}

# What the tests share that run a ROM of ours on QEMU and on drover-emu and compare what it prints to port
# 0xe9; they source it.
. "$(dirname "${BASH_SOURCE[0]}")/emu_lib.sh"
for command in qemu-system-x86_64 nasm; do
    command -v $command >/dev/null || skip "$command is not installed"
done

# rom NAME OPTION...: tests/guest/NAME.asm, assembled with these options, is what runs next.
rom() {
    nasm -w-all -I tests/guest/ "${@:2}" -f bin -o "$tmp/rom.bin" "tests/guest/$1.asm" || exit 1
    running=$1
}
# ends STATUS OUTPUT COMMAND...: with the status that what is written to port 0xf4 gives.
ends() {
    local want=$1 out=$2 got
    shift 2
    rm -f "$out"
    timeout -s KILL 600 "$@"
    got=$?
    [ $got -eq "$want" ] || { fail "$running: ${1##*/} ended with status $got"; tail -n 3 "$out"; }
}
# rom_on_qemu STATUS OUTPUT OPTION... A ROM that runs wild does not fill the disk.
rom_on_qemu() {
    ends "$1" "$2" sh -c 'ulimit -f 2000; exec qemu-system-x86_64 "$@"' sh -accel tcg -cpu max -display none -nodefaults \
        -no-reboot -bios "$tmp/rom.bin" -debugcon "file:$2" -device isa-debug-exit,iobase=0xf4 "${@:3}"
}
# rom_on_emu STATUS OUTPUT OPTION...
rom_on_emu() {
    ends "$1" "$2" "$emu" --firmware "$tmp/rom.bin" --debugcon "file:$2" --debug-exit --no-reboot "${@:3}"
}
# same WHAT EXPECTED PRINTED: but for what stands behind a name that ends in ~, which QEMU's translator does
# not do.
same() {
    diff <(grep -v '~: ' "$2") <(grep -v '~: ' "$3") || fail "$running: $1 prints something else"
}

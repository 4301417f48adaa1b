#!/bin/bash
# Kernels after the firmware: Linux by its 16-bit protocol, and Multiboot kernels, ELF and with
# addresses, with modules; the same files on QEMU say the same.
. "$(dirname "$0")/emu_lib.sh"
nasm -I tests/guest/ -f bin -o "$tmp/flat" tests/guest/multiboot.asm || exit 1
nasm -I tests/guest/ -f elf32 -DELF -o "$tmp/multiboot.o" tests/guest/multiboot.asm || exit 1
ld -m elf_i386 -Ttext 0x300000 -o "$tmp/elf" "$tmp/multiboot.o" || exit 1
printf 'one, and what follows' >"$tmp/first"
head -c 300000 /dev/zero | tr '\0' 'x' >"$tmp/second"
for kernel in flat elf; do
    for modules in "" "$tmp/first with arguments,$tmp/second and more"; do
        initrd=()
        [ -n "$modules" ] && initrd=(--initrd "$modules")
        timeout 300 "$emu" --memory 64M --kernel "$tmp/$kernel" --append "a command line" "${initrd[@]}" \
            --debugcon "file:$tmp/ours" --debug-exit
        status=$?
        [ $status -eq 33 ] || fail "$kernel ends with $status"
        sed -n '/^magic/,$p' "$tmp/ours" >"$tmp/ours.text"
        timeout 300 qemu-system-x86_64 -accel tcg -m 64 -nodefaults -display none -kernel "$tmp/$kernel" \
            -append "a command line" ${modules:+-initrd "$modules"} -debugcon "file:$tmp/qemu.text" \
            -device isa-debug-exit,iobase=0xf4 2>"$tmp/qemu.err"
        grep -q "^magic 2badb002" "$tmp/ours.text" || fail "$kernel is not started"
        diff "$tmp/qemu.text" "$tmp/ours.text" >"$tmp/diff" || { cat "$tmp/diff"; fail "$kernel, modules \"$modules\""; }
    done
done
# What is no such kernel.
head -c 5000 /dev/urandom >"$tmp/random"
{ printf '\002\260\255\033\000\000\000\000\376\117\122\344'; head -c 3000 /dev/zero; } >"$tmp/neither"
for kernel in random neither nothing; do
    "$emu" --kernel "$tmp/$kernel" --memory 64M 2>"$tmp/err"
    [ $? -eq 1 ] || fail "$kernel is taken for a kernel"
done
if [ -s "$guest/vmlinuz" ]; then
    printf 'echo "result: $(cat /proc/cmdline)"\n' >"$tmp/script"
    initrd "$tmp/script"
    timeout 600 "$emu" --memory 128M --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" --append "console=ttyS0 panic=-1" \
        --kernel-after-firmware --no-reboot --serial "file:$tmp/log" || fail "Linux after the firmware"
    grep -aq "result: console=ttyS0 panic=-1" "$tmp/log" || { tail -n 30 "$tmp/log"; fail "Linux does not say its command line"; }
else
    echo "skipped: Linux, for $guest/vmlinuz is not there (make guest)"
fi
end_test "Multiboot kernels as in QEMU, and Linux after the firmware"

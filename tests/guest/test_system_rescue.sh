#!/bin/bash
# Debian's GRUB rescue CD and rescue floppy come to their prompts and do what is typed there, also
# after the machine was saved and restored.
. "$(dirname "$0")/system_lib.sh"
images=$(system_package grub-rescue-pc) || skip "the package grub-rescue-pc cannot be had"
images=$images/usr/lib/grub-rescue

# type_at_prompt TEXT: in pieces, each seen before the next: the BIOS keeps fifteen keys for a slow GRUB.
type_at_prompt() {
    local from
    for ((from = 0; from < ${#1}; from += 8)); do
        ctl type "${1:from:8}" || fail "typing"
        on_screen "^grub> $(sed 's/[$()]/\\&/g' <<<"${1:0:from+8}" | sed 's/ *$//')" || return
    done
    ctl key enter || fail "typing"
}

# one NAME OPTION... : NAME is the device from which GRUB was started.
one() {
    local name=$1
    shift
    say "GRUB from $name"
    system_start "$name" --memory 64M "$@"
    on_screen "for a command-line" && ctl key c && on_screen "^grub>" &&
        type_at_prompt 'echo it is $grub_platform' && on_screen "^it is pc" || { system_kill; return; }
    system_save_restore || { system_kill; return; }
    on_screen "^it is pc" # the screen is as it was
    type_at_prompt ls && on_screen "^(\(.*)?\($name\)"
    type_at_prompt halt
    system_stop
}
one cd --cdrom "$images/grub-rescue-cdrom.iso" --boot-order d
cp "$images/grub-rescue-floppy.img" "$tmp/floppy.img"
truncate -s 1440K "$tmp/floppy.img" # as written onto a disk
one fd0 --floppy "$tmp/floppy.img" --boot-order a
end_test "GRUB from a CD and a floppy, saved and restored at its prompt"

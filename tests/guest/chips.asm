; Interrupt controllers and timers, and two processors: INIT, SIPI and messages between them, level
; interrupts that come again, messages of a PCI device, timers; then the same with a machine that is
; saved in the middle, while interrupts wait and timers run, and goes on somewhere else. A 64 KiB ROM
; that prints to port 0xe9 and ends through port 0xf4; run by every engine and by QEMU, with two
; CPUs, virtio-rng and the PC test device.
;
; At 0x10 written to port 0xf4 the machine is saved; NO_SAVE leaves that out, and the TSC deadline,
; which QEMU's translator does not have.

STACK    equ 0x90000
STACK2   equ 0x98000
STUB     equ 0x8000     ; where the second processor starts
RING     equ 0x100000   ; of the virtio device
USED     equ RING + 0x1000
BUFFER   equ RING + 0x2000
PORTS    equ 0xc000     ; where it is put
TABLE    equ 0xfeb00000
MODERN   equ 0xfeb10000
HPET     equ 0xfed00000
LINE11   equ 0x200b     ; a port of the test device

%include "start32.inc"

%macro SEND 1                   ; to the second processor
        mov dword [LAPIC + 0x310], 1 << 24
        mov dword [LAPIC + 0x300], %1
%endmacro
%macro RAISE 0
        mov byte [is_up], 1
        mov dx, LINE11
        mov al, 1
        out dx, al
%endmacro
%macro UNTIL 2                  ; a word that another processor or a device counts up
%%more: pause
        cmp dword [%1], %2
        jb %%more
%endmacro
%macro CONFIG 2                 ; EAX from a register of the device, by `edi`; register, bits to clear
        mov eax, edi
        lea eax, [eax + %1]
        and al, 0xfc
        mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        in eax, dx
        and eax, ~(%2)
%endmacro
%macro PUT 2                    ; a device's register, value
        mov eax, edi
        or eax, %1
        mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        mov eax, %2
        out dx, eax
%endmacro
%macro PORTW 2
        mov dx, PORTS + %1
        mov ax, %2
        out dx, ax
%endmacro
start32:
        START32
        GATE 0x20, on_pic
        GATE 0x40, on_lapic
        GATE 0x41, on_deadline
        GATE 0x50, on_message
        GATE 0x51, on_arm
        GATE 0x52, on_other
        GATE 0x60, on_ipi
        GATE 0x61, on_level
        GATE 0x70, on_msi
        GATE 0x71, on_other_msi
        GATE 0xff, on_spurious
        mov dword [LAPIC + 0xf0], 0x1ff
        mov dword [LAPIC + 0x350], 0x700         ; LINT0: external
        START_PICS
        OUTB 0x21, 0xff
        OUTB 0xa1, 0xff

        ; ---- the second processor, and a message that finds it halted
        SAY "smp: "
        mov esi, stub
        mov edi, STUB
        mov ecx, stub_end - stub
        rep movsb
        SEND 0x4500
        SEND 0x4600 | STUB >> 12
        UNTIL starts, 1
        SHOW [starts]
        SEND 0x4050
        UNTIL messages, 1
        SHOW [messages]
        OUTB 0xe9, 10

        ; ---- a level interrupt that comes again while its line is up
        SAY "level: "
        mov dword [IOAPIC], 0x10 + 2 * 11 + 1
        mov dword [IOAPIC + 0x10], 0
        mov dword [IOAPIC], 0x10 + 2 * 11
        mov dword [IOAPIC + 0x10], 0x8061
        RAISE
        WAIT_FOR levels, 2
        SHOW [levels]
        mov dword [levels], 0
        OUTB 0xe9, 10

        ; ---- registers reached by instructions that not every KVM knows: the reference interpreter does
        ; them, and the other processor is halted meanwhile
        SAY "vector: "
        VECTORS_ON
        mov dword [LAPIC + 0x80], 0x20
        movd xmm0, [LAPIC + 0x80]
        movd eax, xmm0
        call hex32
        mov dword [LAPIC + 0x310], 1 << 24
        mov eax, 0x4052
        movd xmm1, eax
        movd [LAPIC + 0x300], xmm1
        UNTIL others, 1
        SHOW [others]
        movd xmm2, [IOAPIC + 0x10]
        movd eax, xmm2
        call hex32
        pxor xmm3, xmm3
        movd [LAPIC + 0x80], xmm3
        SHOW [LAPIC + 0x80]
        OUTB 0xe9, 10

        ; ---- messages of a device, told of its work by port and in memory
        SAY "msi: "
        call find_device
        call request
        PORTW 16, 0
        WAIT_FOR msis, 1
        movzx eax, word [USED + 2]
        call hex32
        mov ebx, 2
.many:  call request
        mov esi, [notify]
        mov word [esi], 0
        WAIT_FOR msis, ebx
        inc ebx
        cmp ebx, 8
        jbe .many
        SHOW [msis]
        OUTB 0xe9, 10

        ; ---- timers, which go on
        SAY "timers: "
        OUTB 0x43, 0x34
        OUTB 0x40, 0xa9                          ; a millisecond
        OUTB 0x40, 0x04
        OUTB 0x21, 0xfe
        WAIT_FOR pic_ticks, 3
        mov dword [LAPIC + 0x3e0], 0x0b
        mov dword [LAPIC + 0x320], 0x20040       ; periodic
        mov dword [LAPIC + 0x380], 1000000
        WAIT_FOR lapic_ticks, 3
        SAY `tick\n`

        ; ---- the HPET in place of the PIT, which keeps still meanwhile
        SAY "legacy: "
        mov dword [HPET + 0x10], 2
        mov dword [HPET + 0xf0], 0
        mov dword [HPET + 0xf4], 0
.drain: mov dword [pic_ticks], 0                 ; some may have been held back
        mov eax, [lapic_ticks]
        add eax, 5
        WAIT_FOR lapic_ticks, eax
        cmp dword [pic_ticks], 0
        jne .drain
        SAY "still, "
        mov dword [HPET + 0x100], 0x14c          ; periodic, 32 bits
        mov dword [HPET + 0x108], 100000
        mov dword [HPET + 0x10], 3
        WAIT_FOR pic_ticks, 3
        SAY "hpet, "
        mov dword [HPET + 0x100], 0
        mov dword [HPET + 0x10], 0
        mov dword [pic_ticks], 0
        WAIT_FOR pic_ticks, 3
        SAY `pit\n`

        ; ---- what waits while the machine is saved
        SAY "saved: "
%ifndef NO_SAVE
        SEND 0x4051                              ; a deadline, perhaps before, perhaps after
        UNTIL armed, 1
%else
        mov dword [deadlines], 1
%endif
        mov dword [LAPIC + 0x310], 0
        mov dword [LAPIC + 0x300], 0x40060       ; self
        RAISE
        call request
        PORTW 16, 0
.done:  pause
        cmp word [USED + 2], 9
        jb .done
        PORTW 22, 1                              ; the other message
        call request
        PORTW 16, 0                              ; whether or not the device gets to it
        mov dword [pic_ticks], 0
        mov dword [lapic_ticks], 0
%ifndef NO_SAVE
        mov al, 0x10
        out 0xf4, al
%endif
        SHOW [ipis]
        SHOW [levels]
        SHOW [msis]
        WAIT_FOR ipis, 1
        WAIT_FOR levels, 2
        WAIT_FOR msis, 9
        WAIT_FOR other_msis, 1
        WAIT_FOR pic_ticks, 3
        WAIT_FOR lapic_ticks, 3
        UNTIL deadlines, 1
        SEND 0x4050
        UNTIL messages, 2
        SHOW [ipis]
        SHOW [levels]
        SHOW [msis]
        SHOW [other_msis]
        movzx eax, word [USED + 2]
        call hex32
        SHOW [deadlines]
        SHOW [messages]
        OUTB 0xe9, 10

        ; ---- and the second processor starts anew
        SAY "again: "
        SEND 0x4500
        SEND 0x4600 | STUB >> 12
        UNTIL starts, 2
        SEND 0x4050
        UNTIL messages, 3
        SHOW [starts]
        SHOW [messages]
        OUTB 0xe9, 10
        OUTB 0xf4, 0
        hlt

; ---- the device: registers, a ring of eight, MSI-X (virtio 0.9.5 and 1.0) ----
find_device:
        mov edi, 0x80000000
.next:  CONFIG 0, 0
        cmp eax, 0x10051af4
        je .found
        add edi, 0x800
        cmp edi, 0x80010000
        jb .next
        SAY `no device\n`
        OUTB 0xf4, 2
        hlt
.found: PUT 0x10, PORTS
        PUT 0x14, TABLE
        PUT 0x20, MODERN
        PUT 0x24, 0
        PUT 0x04, 7
        CONFIG 0x34, 0
        movzx ebx, al
.more:  CONFIG ebx, 0
        cmp al, 0x11
        je .msix
        cmp al, 0x09
        jne .skip
        shr eax, 24
        cmp al, 2                                ; notifications
        jne .skip
        CONFIG ebx + 8, 0
        add eax, MODERN
        mov [notify], eax
        jmp .skip
.msix:  mov esi, ebx
.skip:  CONFIG ebx, 0
        movzx ebx, ah
        test ebx, ebx
        jnz .more
        CONFIG esi, 0
        or eax, 0x80000000                       ; enabled
        mov dx, 0xcfc
        out dx, eax
        mov dword [TABLE], 0xfee00000
        mov dword [TABLE + 4], 0
        mov dword [TABLE + 8], 0x70
        mov dword [TABLE + 12], 0
        mov dword [TABLE + 16], 0xfee00000
        mov dword [TABLE + 20], 0
        mov dword [TABLE + 24], 0x71
        mov dword [TABLE + 28], 0
        mov edi, RING
        mov ecx, 0x3000 / 4
        xor eax, eax
        rep stosd
        mov dword [RING], BUFFER
        mov dword [RING + 8], 16
        mov dword [RING + 12], 2                 ; to be written
        mov dx, PORTS + 18
        mov al, 3
        out dx, al
        PORTW 14, 0
        mov dx, PORTS + 8
        mov eax, RING >> 12
        out dx, eax
        PORTW 22, 0
        mov dx, PORTS + 18
        mov al, 7
        out dx, al
        ret

; One more request.
request:
        mov ecx, [requests]
        and ecx, 7
        mov word [RING + 132 + 2 * ecx], 0
        inc dword [requests]
        mov ax, [requests]
        mov [RING + 130], ax
        ret

; ---- the second processor ----
%include "second.inc"
        inc dword [starts]
.rest:  sti
        hlt
        jmp .rest

on_message:
        inc dword [messages]
        jmp apic_end
on_other:
        inc dword [others]
        jmp apic_end
on_arm: pushad
        mov dword [LAPIC + 0x320], 0x40041       ; by the time-stamp counter
        rdtsc
        add eax, 20000000
        adc edx, 0
        mov ecx, 0x6e0
        wrmsr
        inc dword [armed]
        popad
        jmp apic_end
on_deadline:
        inc dword [deadlines]
        jmp apic_end

; ---- the first ----
on_pic: inc dword [pic_ticks]
        push eax
        OUTB 0x20, 0x20
        pop eax
        iret
; One more once the line is down is none of the line's: there are KVMs that end an interrupt when they
; deliver it.
on_level:
        pushad
        cmp byte [is_up], 0
        je .keep
        inc dword [levels]
        cmp dword [levels], 2
        jne .keep
        mov byte [is_up], 0
        mov dx, LINE11
        xor eax, eax
        out dx, al
.keep:  popad
        jmp apic_end
on_lapic:
        inc dword [lapic_ticks]
        jmp apic_end
on_msi: inc dword [msis]
        jmp apic_end
on_other_msi:
        inc dword [other_msis]
        jmp apic_end
on_ipi: inc dword [ipis]
apic_end:
        mov dword [LAPIC + 0xb0], 0
on_spurious:
        iret

        align 4
starts: dd 0
messages: dd 0
others: dd 0
armed:  dd 0
deadlines: dd 0
levels: dd 0
msis:   dd 0
requests: dd 0
other_msis: dd 0
ipis:   dd 0
pic_ticks: dd 0
lapic_ticks: dd 0
notify: dd 0
is_up:  db 0
        END

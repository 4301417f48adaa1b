; What a processor and its board owe each other: ports and strings of them, memory that changes its
; meaning (PAM registers, A20), interrupts through the 8259s, the local APIC and the IOAPIC, the task
; priority, NMI, and registers that outlive being saved. A 64 KiB ROM that prints to port 0xe9 and ends
; through port 0xf4; run on a whole PC, by every engine and by QEMU.
;
; 32-bit code without paging and without level 3, which every KVM runs. At 0x10 written to port 0xf4
; the machine is saved, and goes on behind it somewhere else; NO_SAVE leaves that out.

STACK   equ 0x90000

%include "start32.inc"

%macro PCI 2 ; register of the host bridge, byte
        mov dx, 0xcf8
        mov eax, 0x80000000 | (%1 & 0xfc)
        out dx, eax
        mov dx, 0xcfc + (%1 & 3)
        mov al, %2
        out dx, al
%endmacro

start32:
        START32
        GATE 2, on_nmi
        GATE 0x20, on_pic
        GATE 0x40, on_lapic
        GATE 0x50, on_ioapic
        GATE 0x60, on_ipi
        GATE 0xff, on_spurious

        ; ---- ports: a byte, a double word, strings
        SAY "ports: "
        OUTB 0x70, 0x3f
        OUTB 0x71, 0xa5
        OUTB 0x70, 0x3f
        xor eax, eax
        in al, 0x71
        call hex32
        mov dx, 0xcf8
        mov eax, 0x80000000
        out dx, eax
        mov dx, 0xcfc
        in eax, dx
        call hex32
        mov esi, text
        mov ecx, text_end - text
        mov dx, 0xe9
        rep outsb
        mov dx, 0x510
        xor eax, eax
        out dx, ax                               ; the configuration device's signature
        mov dx, 0x511
        mov edi, room
        mov ecx, 4
        rep insb
        mov esi, room
        call puts
        OUTB 0xe9, 10

        ; ---- a port that answers in several registers
        SAY "backdoor: "
        mov eax, 0x564d5868
        mov ecx, 10
        mov edx, 0xabcd5658
        xor ebx, ebx
        in eax, dx
        push edx
        push ecx
        call hex32
        SHOW ebx
        pop ebx
        SHOW ebx
        pop ebx
        SHOW ebx
        OUTB 0xe9, 10

        ; ---- a device in memory
        SAY "mmio: "
        mov dword [IOAPIC], 1
        SHOW [IOAPIC + 0x10]
        mov dword [IOAPIC], 0x13
        mov dword [IOAPIC + 0x10], 0x05000000
        SHOW [IOAPIC + 0x10]
        mov dword [IOAPIC + 0x10], 0
        OUTB 0xe9, 10

        ; ---- memory behind the ROM
        SAY "pam: "
        PCI 0x59, 0x20                           ; reads ROM (not in QEMU), writes RAM
        mov dword [0xffff0], 0x12345678
        PCI 0x59, 0x30                           ; RAM
        SHOW [0xffff0]
        inc dword [0xffff0]
        PCI 0x59, 0x10                           ; RAM, read-only
        inc dword [0xffff0]
        SHOW [0xffff0]
        PCI 0x59, 0x00                           ; ROM again
        SHOW [0xffff0]
        OUTB 0xe9, 10

        ; ---- A20
        SAY "a20: "
        mov dword [0x500], 1
        mov dword [0x100500], 2
        in al, 0x92
        and al, 0xfc
        out 0x92, al
        SHOW [0x100500]
        mov dword [0x100500], 3
        SHOW [0x500]
        in al, 0x92
        and al, 0xfe
        or al, 2
        out 0x92, al
        SHOW [0x100500]
        SHOW [0x500]
        OUTB 0xe9, 10

        ; ---- a vector instruction at level 0, which not every KVM knows
        SAY "vector: "
        VECTORS_ON
        movdqa xmm0, [numbers]
        paddd xmm0, [numbers + 16]
        pshufd xmm1, xmm0, 0x1b
        movdqa [room], xmm1
        SHOW [room]
        SHOW [room + 4]
        SHOW [room + 8]
        SHOW [room + 12]
        OUTB 0xe9, 10

        ; ---- 8259s and the timer
        SAY "pic: "
        START_PICS
        OUTB 0xa1, 0xff
        mov dword [LAPIC + 0xf0], 0x1ff
        mov dword [LAPIC + 0x350], 0x700         ; LINT0: external
        OUTB 0x43, 0x34
        OUTB 0x40, 0xa9                          ; a millisecond
        OUTB 0x40, 0x04
        OUTB 0x21, 0xfe
        WAIT_FOR pic_ticks, 5
        OUTB 0x21, 0xff
        SAY `ticks\n`

        ; ---- the local APIC's timer
        SAY "lapic timer: "
        mov dword [LAPIC + 0x3e0], 0x0b
        mov dword [LAPIC + 0x320], 0x40          ; once
        mov dword [LAPIC + 0x380], 100000
        WAIT_FOR lapic_ticks, 1
        mov dword [LAPIC + 0x320], 0x20040       ; periodic
        mov dword [LAPIC + 0x380], 100000
        WAIT_FOR lapic_ticks, 4
        mov dword [LAPIC + 0x320], 0x10000
        SAY `ticks\n`

        ; ---- the IOAPIC
        SAY "ioapic: "
        mov dword [IOAPIC], 0x15
        mov dword [IOAPIC + 0x10], 0
        mov dword [IOAPIC], 0x14                 ; the timer's input
        mov dword [IOAPIC + 0x10], 0x50
        WAIT_FOR ioapic_ticks, 5
        mov dword [IOAPIC], 0x14
        mov dword [IOAPIC + 0x10], 0x10000
        SAY `ticks\n`

        ; ---- messages to itself, held back by the task priority
        SAY "ipi: "
        mov dword [LAPIC + 0x80], 0x60
        mov dword [LAPIC + 0x310], 0
        mov dword [LAPIC + 0x300], 0x40060       ; self
        sti
        nop
        nop
        SHOW [ipis]
        mov dword [LAPIC + 0x80], 0
        WAIT_FOR ipis, 1
        SHOW [ipis]
        OUTB 0xe9, 10
        SAY "nmi: "
        mov dword [LAPIC + 0x300], 0x400
.nmi:   cmp dword [nmis], 1                      ; none can wait for it with HLT
        jb .nmi
        SHOW [nmis]
        OUTB 0xe9, 10

%ifndef NO_SAVE
        ; ---- saved and gone on with
        SAY "saved: "
        fninit
        fldpi
        fld1
        movdqa xmm7, [numbers]
        mov eax, 0x12345678
        mov dr0, eax
        mov ebx, 0x600df00d
        mov ecx, 0x174
        mov eax, 0xcafe
        xor edx, edx
        wrmsr
        OUTB 0x21, 0xfe                          ; the timer ticks on
        mov dword [pic_ticks], 0
        sti
        mov al, 0x10
        out 0xf4, al
        WAIT_FOR pic_ticks, 20
        SHOW ebx
        SHOW dr0
        mov ecx, 0x174
        rdmsr
        call hex32
        movdqa [room], xmm7
        SHOW [room + 4]
        fstp qword [room]
        SHOW [room + 4]
        fstp qword [room]
        SHOW [room]
        SHOW [room + 4]
        OUTB 0xe9, 10
%endif
        OUTB 0xf4, 0
        hlt

on_pic: inc dword [pic_ticks]
        push eax
        OUTB 0x20, 0x20
        pop eax
        iret
on_lapic:
        inc dword [lapic_ticks]
        jmp apic_end
on_ioapic:
        inc dword [ioapic_ticks]
        jmp apic_end
on_ipi: inc dword [ipis]
apic_end:
        mov dword [LAPIC + 0xb0], 0
        iret
on_nmi: inc dword [nmis]
on_spurious:
        iret

text:   db "strings "
text_end:
        align 16
numbers: dd 1, 2, 3, 4, 10, 20, 30, 40
room:   times 32 db 0
pic_ticks: dd 0
lapic_ticks: dd 0
ioapic_ticks: dd 0
ipis:   dd 0
nmis:   dd 0
        END

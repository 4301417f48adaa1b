; The local APIC in x2APIC mode: its timer, its deadline and a message to itself, and the same with a
; machine that is saved in between and goes on somewhere else. A 64 KiB ROM that prints to port 0xe9
; and ends through port 0xf4, to which it writes 0x10 where it is to be saved; run by every engine.

STACK   equ 0x90000
%include "start32.inc"

%macro PUT 2
        mov ecx, 0x800 + %1
        mov eax, %2
        xor edx, edx
        wrmsr
%endmacro
%macro GET 1
        mov ecx, 0x800 + %1
        rdmsr
%endmacro

start32:
        START32
        GATE 0x40, on_timer
        GATE 0x60, on_ipi
        GATE 0xff, on_spurious
        mov ecx, 0x1b
        rdmsr
        or eax, 0xc00
        wrmsr
        SAY "x2apic: "
        mov ecx, 0x1b
        rdmsr
        call hex32
        GET 0x02
        call hex32
        PUT 0x0f, 0x1ff
        PUT 0x3e, 0x0b
        PUT 0x32, 0x20040
        PUT 0x38, 1000000
        WAIT_FOR ticks, 3
        SAY `ticks\n`
        SAY "saved: "
        PUT 0x08, 0x10
        PUT 0x3f, 0x60                           ; to itself, while it lets none in
        mov dword [ticks], 0
        mov al, 0x10
        out 0xf4, al
        SHOW [ipis]
        WAIT_FOR ipis, 1
        WAIT_FOR ticks, 3
        mov ecx, 0x1b
        rdmsr
        call hex32
        GET 0x02
        call hex32
        GET 0x08
        call hex32
        GET 0x0d
        call hex32
        GET 0x32
        call hex32
        PUT 0x32, 0x40040                        ; by the time-stamp counter
        mov dword [ticks], 0
        rdtsc
        add eax, 1000000
        adc edx, 0
        mov ecx, 0x6e0
        wrmsr
        WAIT_FOR ticks, 1
        SAY `deadline\n`
        OUTB 0xf4, 0
        hlt

on_timer:
        inc dword [ticks]
        jmp end_of_interrupt
on_ipi: inc dword [ipis]
end_of_interrupt:
        pushad
        PUT 0x0b, 0
        popad
on_spurious:
        iret

        align 4
ticks:  dd 0
ipis:   dd 0
        END

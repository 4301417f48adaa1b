; Two processors that answer each other's messages while the machine is saved and goes on somewhere
; else, again and again: with a message on its way, or with INIT and SIPI. None may be lost and none may
; come twice. A 64 KiB ROM that prints to port 0xe9 and ends through port 0xf4, to which it writes 0x10
; at every hop; run by every engine, with two CPUs.

STACK    equ 0x90000
STACK2   equ 0x98000
STUB     equ 0x8000     ; where the second processor starts
HOPS     equ 16
ROUNDS   equ 20         ; from hop to hop

%include "start32.inc"

%macro SEND 2                   ; to a processor
        mov dword [LAPIC + 0x310], %1 << 24
        mov dword [LAPIC + 0x300], %2
%endmacro
%macro UNTIL 2
%%more: pause
        cmp dword [%1], %2
        jb %%more
%endmacro
%macro TIMER 0                  ; of the processor that runs this
        mov dword [LAPIC + 0x3e0], 0x0b
        mov dword [LAPIC + 0x320], 0x20040
        mov dword [LAPIC + 0x380], 1000000
%endmacro

start32:
        START32
        GATE 0x40, on_timer
        GATE 0x41, on_second_timer
        GATE 0x50, on_call
        GATE 0x60, on_answer
        GATE 0xff, on_spurious
        mov dword [LAPIC + 0xf0], 0x1ff
        TIMER
        mov esi, stub
        mov edi, STUB
        mov ecx, stub_end - stub
        rep movsb
        SEND 1, 0x4500
        SEND 1, 0x4600 | STUB >> 12
        UNTIL starts, 1

        mov ebp, 1                               ; hops
        mov ebx, 1                               ; messages
.round: SEND 1, 0x4050
        inc dword [turn]
        cmp dword [turn], ROUNDS
        jb .wait
        mov dword [turn], 0
        test ebp, 1
        jz .with_start
        mov al, 0x10                             ; the message may be on its way, or the answer
        out 0xf4, al
        WAIT_FOR answers, ebx
        jmp .hopped
.with_start:
        WAIT_FOR answers, ebx
        SEND 1, 0x4500
        SEND 1, 0x4600 | STUB >> 12
        mov al, 0x10
        out 0xf4, al
        inc dword [wanted]
        mov eax, [wanted]
        UNTIL starts, eax
.hopped:
        inc ebp
        cmp ebp, HOPS
        ja .end
.wait:  WAIT_FOR answers, ebx
        inc ebx
        jmp .round

.end:   mov dword [ticks], 0
        mov dword [second_ticks], 0
        WAIT_FOR ticks, 2
        UNTIL second_ticks, 2
        SHOW ebx
        SHOW [calls]
        SHOW [answers]
        SHOW [starts]
        OUTB 0xe9, 10
        OUTB 0xf4, 0
        hlt

%include "second.inc"
        TIMER
        mov dword [LAPIC + 0x320], 0x20041
        inc dword [starts]
.rest:  sti
        hlt
        jmp .rest

on_call:
        inc dword [calls]
        mov dword [LAPIC + 0xb0], 0
        SEND 0, 0x4060
        iret
on_second_timer:
        inc dword [second_ticks]
        jmp apic_end
on_answer:
        inc dword [answers]
        jmp apic_end
on_timer:
        inc dword [ticks]
apic_end:
        mov dword [LAPIC + 0xb0], 0
on_spurious:
        iret

        align 4
starts: dd 0
wanted: dd 1
turn:   dd 0
calls:  dd 0
answers: dd 0
ticks:  dd 0
second_ticks: dd 0
        END

; The speaker's gate with the 8254's counter 2, and the devices that kernel testers use (QEMU's
; pc-testdev). A 64 KiB ROM that prints to port 0xe9 and ends through port 0xf4; QEMU prints the same.

STACK   equ 0x90000

%include "start32.inc"

%macro COUNTER_2 2 ; mode, count: the counter is loaded with its gate open
        OUTB 0x61, 1
        OUTB 0x43, 0xb0 | %1 << 1
        OUTB 0x42, (%2) & 0xff
        OUTB 0x42, (%2) >> 8
%endmacro
; Waits until bits of port 0x61 are as told; prints a sign.
%macro AWAIT 3 ; bits, their value, sign
%%more: in al, 0x61
        and al, %1
        cmp al, %2
        jne %%more
        OUTB 0xe9, %3
%endmacro
%macro PORT32 1
        mov dx, %1
        in eax, dx
        call hex32
%endmacro
%macro PORT16 1
        mov dx, %1
        xor eax, eax
        in ax, dx
        call hex32
%endmacro
%macro PORT8 1
        mov dx, %1
        xor eax, eax
        in al, dx
        call hex32
%endmacro

start32:
        START32
        SAY "speaker: "
        xor ebx, ebx
.bits:  mov al, bl                              ; the low bits are what was written
        out 0x61, al
        xor eax, eax
        in al, 0x61
        and al, 3
        call hex32
        inc ebx
        cmp ebx, 4
        jb .bits
        AWAIT 0x10, 0x10, "r"                   ; memory's refresh: a square wave
        AWAIT 0x10, 0, "r"
        AWAIT 0x10, 0x10, "r"
        COUNTER_2 0, 0xffff                     ; the output rises at the end of the count
        AWAIT 0x21, 0x01, "l"
        AWAIT 0x21, 0x21, "h"
        COUNTER_2 3, 0x4000                     ; a square wave, as a speaker gets it
        AWAIT 0x20, 0x20, "h"
        AWAIT 0x20, 0, "l"
        AWAIT 0x20, 0x20, "h"
        AWAIT 0x20, 0, "l"
        OUTB 0x61, 3                            ; the speaker's own bit is no part of the counter
        AWAIT 0x23, 0x23, "h"
        AWAIT 0x23, 0x03, "l"
        OUTB 0x43, 0xe8                         ; read back: the status of counter 2
        xor eax, eax
        in al, 0x42
        and al, 0x3f
        call hex32
        OUTB 0xe9, 10

        SAY "ports: "
        mov dx, 0xe0
        mov eax, 0x12345678
        out dx, eax
        PORT32 0xe0
        PORT16 0xe0
        PORT16 0xe2
        PORT8 0xe0
        PORT8 0xe1
        PORT8 0xe2
        PORT8 0xe3
        mov dx, 0xe1
        mov al, 0xab
        out dx, al
        mov dx, 0xe2
        mov ax, 0xcdef
        out dx, ax
        PORT32 0xe0
        OUTB 0xe9, 10
        SAY "bytes: "                           ; the same four, but for 0xe9, where this goes
        PORT8 0xe8
        PORT8 0xea
        PORT8 0xeb
        PORT16 0xea
        mov dx, 0xea
        mov ax, 0x9988
        out dx, ax
        PORT16 0xea
        PORT32 0xe0
        OUTB 0xe9, 10

        SAY "memory: "
        mov ebx, 0xff000000
        mov dword [ebx], 0xdeadbeef
        mov byte [ebx + 1], 0x11
        mov word [ebx + 6], 0x2233
        mov dword [ebx + 0xfffc], 0x44556677
        SHOW [ebx]
        SHOW [ebx + 4]
        SHOW [ebx + 0xfffc]
        movzx eax, word [ebx + 1 + 1]
        call hex32
        movzx eax, byte [ebx + 7]
        call hex32
        mov dx, 0xe4                            ; takes the memory out and puts it in again
        xor eax, eax
        out dx, eax
        SHOW [ebx]
        OUTB 0xe9, 10

        SAY "interrupts: "
        OUTB 0x20, 0x11                         ; both 8259s, all masked
        OUTB 0x21, 0x20
        OUTB 0x21, 4
        OUTB 0x21, 1
        OUTB 0xa0, 0x11
        OUTB 0xa1, 0x28
        OUTB 0xa1, 2
        OUTB 0xa1, 1
        OUTB 0x21, 0xff
        OUTB 0xa1, 0xff
        mov ebx, 3
.line:  lea edx, [ebx + 0x2000]
        mov al, 1
        out dx, al
        call pending
        lea edx, [ebx + 0x2000]
        xor al, al
        out dx, al
        add ebx, 2
        cmp ebx, 16
        jb .line
        OUTB 0xe9, 10
        OUTB 0xf4, 0
        hlt

; The requests of lines 3 to 15 as they are, but for those of devices that the board has itself.
pending:
        OUTB 0x20, 0x0a
        OUTB 0xa0, 0x0a
        in al, 0xa0
        mov ah, al
        in al, 0x20
        and eax, 0xaaa8
        jmp hex32

        END

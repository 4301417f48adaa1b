; What two processors owe each other: code that one writes is what the other runs as soon as it has
; been told so, and locked instructions lose nothing. A 64 KiB ROM; port 0xf5 starts the second
; processor at the page written there, 0xe9 prints, 0xf4 ends.
;
; Each round, both write the other's function, tell the other, and call the function written for
; them. The functions' pages hold data as well, so that each has the other's page open for writing
; when it is marked as code.

ROUNDS  equ 1000
ADDS    equ 5000

STUB    equ 0x8000      ; where the second processor starts
; in segment 0
CODE_A  equ 0x9000      ; run by the first, written by the second
CODE_B  equ 0xa000      ; run by the second, written by the first
TURN    equ 0xb000      ; the round, by the first
ANSWER  equ 0xb040      ; the round, by the second
BAD_A   equ 0xb080      ; calls that returned another round's number
BAD_B   equ 0xb0c0
SUM     equ 0xb100
READY   equ 0xb140
XCHANGE equ 0xb180

        org 0
        bits 16
start:
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x7000
        cld
        ; mov ax, imm16 / retf in both places; a far jump for the second processor
        mov byte [CODE_A], 0xb8
        mov byte [CODE_A + 3], 0xcb
        mov byte [CODE_B], 0xb8
        mov byte [CODE_B + 3], 0xcb
        mov byte [STUB], 0xea
        mov word [STUB + 1], second
        mov word [STUB + 3], 0xf000
        mov al, STUB >> 12
        out 0xf5, al

        mov bx, 1
.round: mov [CODE_B + 1], bx
        inc word [CODE_B + 64]
        mov [TURN], bx
.wait:  pause
        cmp [ANSWER], bx
        jne .wait
        xor eax, eax
        push bx
        cpuid
        pop bx
        call 0:CODE_A
        cmp ax, bx
        je .good
        inc dword [BAD_A]
.good:  inc bx
        cmp bx, ROUNDS
        jbe .round

        call adds
.ready: pause
        cmp byte [READY], 1
        jne .ready
        mov al, 'a'
        mov edx, [BAD_A]
        call report
        mov al, 'b'
        mov edx, [BAD_B]
        call report
        mov al, 's'
        mov edx, [SUM]
        call report
        mov al, 0x10
        out 0xf4, al
        hlt

second:
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 0x6000
        mov bx, 1
.wait:  pause
        cmp [TURN], bx
        jne .wait
        xor eax, eax
        push bx
        cpuid
        pop bx
        call 0:CODE_B
        cmp ax, bx
        je .good
        inc dword [BAD_B]
.good:  mov [CODE_A + 1], bx
        inc word [CODE_A + 64]
        mov [ANSWER], bx
        inc bx
        cmp bx, ROUNDS
        jbe .wait
        call adds
        mov byte [READY], 1
.halt:  hlt
        jmp .halt

; Adds 5 to SUM, ADDS times: by five kinds of locked instruction.
adds:
        mov cx, ADDS
.next:  lock inc dword [SUM]
        mov eax, 1
        lock xadd [SUM], eax
        lock add dword [SUM], 1
        mov eax, [SUM]
.again: lea edx, [eax + 1]
        lock cmpxchg [SUM], edx
        jne .again
        ; a spin lock by exchange
.lock:  mov al, 1
        xchg [XCHANGE], al
        test al, al
        jz .locked
        pause
        jmp .lock
.locked:
        lock inc dword [SUM]
        mov byte [XCHANGE], 0
        loop .next
        ret

; Prints AL, a blank, EDX in hexadecimal, and ends the line.
report:
        out 0xe9, al
        mov al, ' '
        out 0xe9, al
        mov cx, 8
.digit: rol edx, 4
        mov al, dl
        and al, 15
        cmp al, 10
        sbb al, 0x69
        das
        out 0xe9, al
        loop .digit
        mov al, 10
        out 0xe9, al
        ret

        times 0xfff0 - ($ - $$) db 0
        jmp 0xf000:start
        times 0x10000 - ($ - $$) db 0

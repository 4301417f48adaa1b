; KVM's clock, held against the HPET, which counts guest time, too: at once, and when the machine was
; saved in between and has gone on somewhere else. A 64 KiB ROM that prints to port 0xe9 and ends
; through port 0xf4; run by every engine.
;
; The two are read one after the other, the HPET before and after. Their difference, taken at two
; moments, may only be what the reading itself took and what two clocks come apart in so short a time.

STACK   equ 0x90000
TIME    equ 0x100000    ; struct pvclock_vcpu_time_info: version 0, tsc 8, time 16, scale 24, shift 28, flags 29
WALL    equ 0x100040
HPET    equ 0xfed00000
SLACK   equ 10000000    ; ns

%include "start32.inc"

; The HPET's 10 ns at EDX:EAX as ns.
%macro TICKS 0
%%again:
        mov edx, [HPET + 0xf4]
        mov eax, [HPET + 0xf0]
        cmp edx, [HPET + 0xf4]
        jne %%again
        mov ebx, edx
        mov ecx, 10
        mul ecx
        imul ebx, ecx
        add edx, ebx
%endmacro

start32:
        START32
        mov eax, 0x40000001
        cpuid
        test eax, 8
        jnz .has
        SAY `no clock\n`
        OUTB 0xf4, 2
        hlt
.has:   mov dword [HPET + 0x10], 1
        mov ecx, 0x4b564d00
        mov eax, WALL
        xor edx, edx
        wrmsr
        mov ecx, 0x4b564d01
        mov eax, TIME + 1
        xor edx, edx
        wrmsr
        SAY "wall clock: "
        cmp dword [WALL + 4], 1700000000         ; in 2023
        jb .wrong
        test dword [WALL], 1
        jnz .wrong
        SAY `ok\n`
        SAY "clock: "
        call compare
        mov [low], eax
        mov [low + 4], edx
        mov [high], esi
        mov [high + 4], edi
        call busy
        call compare
        call check
        SAY "saved: "
        mov al, 0x10
        out 0xf4, al
        mov ecx, 0x4b564d01
        rdmsr
        call hex32
        movzx eax, byte [TIME + 29]              ; 2: told of the pause
        and eax, 2
        call hex32
        and byte [TIME + 29], ~2
        call compare
        call check
        call busy
        call compare
        call check
        OUTB 0xf4, 0
        hlt
.wrong: SAY `wrong\n`
        OUTB 0xf4, 2
        hlt

; Something to do, that takes some time.
busy:   mov ecx, 200000
.more:  dec ecx
        jnz .more
        ret

; KVM's clock in EDX:EAX.
now:    mov ebx, [TIME]
        test ebx, 1
        jnz now
        push ebx
        rdtsc
        sub eax, [TIME + 8]
        sbb edx, [TIME + 12]
        movsx ecx, byte [TIME + 28]
        test ecx, ecx
        js .right
        shld edx, eax, cl
        shl eax, cl
        jmp .scale
.right: neg ecx
        shrd eax, edx, cl
        shr edx, cl
.scale: mov ebx, edx
        mul dword [TIME + 24]
        mov esi, edx                             ; low * scale >> 32
        mov eax, ebx
        mul dword [TIME + 24]
        add eax, esi
        adc edx, 0
        add eax, [TIME + 16]
        adc edx, [TIME + 20]
        pop ebx
        cmp ebx, [TIME]
        jne now
        ret

; How far KVM's clock is ahead of the HPET: at least EDX:EAX, at most EDI:ESI.
compare:
        TICKS
        push edx
        push eax
        call now
        mov esi, eax
        mov edi, edx
        push edx
        push eax
        TICKS
        mov ecx, eax
        mov ebx, edx
        pop eax
        pop edx
        sub eax, ecx
        sbb edx, ebx
        pop ecx
        pop ebx
        sub esi, ecx
        sbb edi, ebx
        ret

; Is that possible, with what was found at first?
check:  mov ecx, [high]
        mov ebx, [high + 4]
        add ecx, SLACK
        adc ebx, 0
        sub ecx, eax                             ; at least so much now, at most that then
        sbb ebx, edx
        jl .apart
        mov ecx, [low]
        mov ebx, [low + 4]
        sub ecx, SLACK
        sbb ebx, 0
        sub esi, ecx
        sbb edi, ebx
        jl .apart
        SAY `together\n`
        ret
.apart: SAY `apart\n`
        ret

        align 8
low:    dq 0
high:   dq 0
        END

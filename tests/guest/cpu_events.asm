; What comes between instructions: interrupts and their shadows, priorities, NMIs and what holds them
; off, HLT. Interrupts are the local APIC's, sent to itself. Run as a firmware image.
%include "start64.inc"

LAPIC   equ 0xfee00000
PD3     equ PAGES + 0x4000

%macro SEND 1                   ; an ICR value: to oneself
        mov edi, LAPIC + 0x300
        mov dword [rdi], %1
        jmp %%next                               ; QEMU's translator looks between blocks of code
%%next:
%endmacro
main:
        mov qword [PAGES + 0x1018], PD3 + 3
        mov eax, 0xfee0009b                      ; 2 MiB, uncached
        mov [PD3 + 0x1f7 * 8], rax
        mov edi, LAPIC + 0xf0
        mov dword [rdi], 0x1ff
        mov edi, LAPIC + 0x310
        mov dword [rdi], 0
%macro GATE 2
        mov eax, %2
        mov [idt + %1 * 16], ax
        shr eax, 16
        mov [idt + %1 * 16 + 6], ax
%endmacro
        GATE 0x31, irq31
        GATE 0x35, irq35
        GATE 2, nmi

        TEST "shadow of sti"
        xor ebx, ebx
        SEND 0x40031
        sti
        inc ebx
        inc ebx
        cli
        DONE
        TEST "sti, cli"
        xor ebx, ebx
        SEND 0x40031
        sti
        cli
        inc ebx
        inc ebx
        sti
        nop
        inc ebx
        cli
        DONE
        TEST "sti where it is set"
        xor ebx, ebx
        sti
        SEND 0x40031
        inc ebx
        sti
        inc ebx
        cli
        DONE
        TEST "popf"
        xor ebx, ebx
        SEND 0x40031
        push 0x202
        popfq
        inc ebx
        cli
        DONE
        TEST "iret"
        xor ebx, ebx
        SEND 0x40031
        mov rax, rsp
        push 0x10
        push rax
        push 0x202
        push 0x18
        push .there
        iretq
.there: inc ebx
        cli
        DONE
        TEST "hlt"
        xor ebx, ebx
        SEND 0x40031
        sti
        hlt
        inc ebx
        cli
        DONE
        TEST "two, the higher first"
        xor ebx, ebx
        SEND 0x40031
        SEND 0x40035
        sti
        nop
        inc ebx
        cli
        DONE
        TEST "task priority"
        xor ebx, ebx
        mov eax, 3
        mov cr8, rax
        sti
        SEND 0x40031
        inc ebx
        inc ebx
        xor eax, eax
        mov cr8, rax
        inc ebx
        cli
        DONE
        TEST "nmi with interrupts off"
        xor ebx, ebx
        mov dword [nested], -1
        SEND 0x400                               ; by id 0: no shorthand sends NMIs to oneself
        nop
        inc ebx
        mov eax, [nmis]
        call hex64
        DONE
        TEST "nmi in an nmi"
        mov dword [nmis], 0
        mov dword [nested], 0
        SEND 0x400
        nop
        mov eax, [nested]
        call hex64
        mov eax, [nmis]
        call hex64
        DONE
        TEST "nmi in the shadow of mov ss"
        mov dword [nmis], 0
        mov dword [nested], -1
        mov ax, ss
        SEND 0x400
        mov ss, ax
        mov eax, [nmis]
        call hex64
        DONE
        TEST "trap flag over an interrupt"
        xor ebx, ebx
        SEND 0x40031
        push 0x302
        popfq
        inc ebx
        inc ebx
        DONE
        cli
        push 2
        popfq
        TEST "virtual interrupts of level 3 ~"
        CR4_ON 2
        mov esi, user_pvi
        mov edi, UCODE
        mov ecx, user_pvi_end - user_pvi
        mov qword [origin], UCODE
        xor r12d, r12d
        xor r13d, r13d
        mov qword [resume], .back
        call enter_user
.back:  mov rax, r12
        shr rax, 16
        call hex64
        mov rax, r13
        shr rax, 16
        call hex64
        DONE
        CR4_OFF 2
        POWER_OFF

user_pvi:
        sti
        pushfq
        pop r12
        cli
        pushfq
        pop r13
        int 0x30
user_pvi_end:

; Vector, EBX, and where it came.
irq31:  push rax
        mov eax, 0x31
        jmp irq
irq35:  push rax
        mov eax, 0x35
irq:    push rdi
        call hex64
        mov eax, ebx
        call hex64
        mov rax, [rsp + 16]
        sub rax, [origin]
        call hex64
        mov edi, LAPIC + 0xb0
        mov dword [rdi], 0
        pop rdi
        pop rax
        iretq
; Counts; the first of a nest sends another and sees that it waits for IRET.
nmi:    push rax
        push rdi
        inc dword [nmis]
        mov al, 'N'
        out 0xe9, al
        cmp dword [nested], 0
        jne .end
        SEND 0x400
        nop
        nop
        mov eax, [nmis]
        mov [nested], eax
.end:   pop rdi
        pop rax
        iretq
        align 8
nmis:   dd 0
nested: dd 0
        END_OF_ROM

; The handlers of events of tests/unit/emu/legacy_programs.h, for real mode and for 32-bit protected
; mode; the latter's serve 16- and 32-bit programs of levels 0 and 3 and virtual-8086 mode. They do
; what those of event_programs.h do for 64-bit programs: add up what they see, mend a page table entry
; where that was all, and else go on where the program has said.
;
; From 0 on the entries of real mode, 16 bytes for each vector; from 0x1000 on those of protected mode.
HANDLERS    equ 0x1b000
VARS        equ 0x1d000
TABLE       equ 0x13000
KERNEL_DATA equ 0x10
EVENTS_MOST equ 300
DATA_64K    equ 4               ; number of the 64 KiB that programs' data is in
VECTORS     equ 0x88

; In VARS.
resume      equ 0               ; EIP, and the selector after it
resume_cs   equ 4
sum         equ 8
count       equ 16
entry_shift equ 20              ; page table entries have 1 << this bytes
by_vector   equ 0x100           ; eight bytes each

; Before a 32-bit frame come, from [EBP] on, ES, DS, PUSHAD's, vector and error code.
struc frame
    .es:     resd 1
    .ds:     resd 1
    .pushad: resd 8
    .vector: resd 1
    .error:  resd 1
    .eip:    resd 1
    .cs:     resd 1
    .flags:  resd 1
endstruc
; And a 16-bit one.
struc frame16
    .ds:     resw 1
    .pushad: resd 8
    .vector: resw 1
    .ip:     resw 1
    .cs:     resw 1
    .flags:  resw 1
endstruc

; entries SERVICES' PREFIX, common handler: one for each vector.
%macro entries 2
%assign vector 0
%rep VECTORS
    align 16, db 0xf4
%if vector = 0x81
    jmp near %1_load_cr3
%elif vector = 0x82
    jmp near %1_invlpg
%elif vector = 0x83
    jmp near %1_end
%elif vector = 0x84
    jmp near %1_set_resume
%elif vector = 0x86
    jmp near %1_poke
%else
%if __BITS__ = 32
%if vector <> 8 && (vector < 10 || vector > 14) && vector <> 17
    push byte 0
%endif
    push dword vector
%else
    push word vector
%endif
    jmp near %2
%endif
%assign vector vector + 1
%endrep
%endmacro

    bits 16
    org HANDLERS
entries real, real_event

real_event:
    pushad
    push ds
    push word VARS >> 4
    pop ds
    mov bp, sp
    movzx ebx, word [bp + frame16.vector]
    inc dword [by_vector + ebx * 8]
    movzx eax, word [bp + frame16.ip]
    rol dword [sum], 1
    add [sum], eax
    movzx eax, word [bp + frame16.cs]
    add [sum], eax
    inc dword [count]
    cmp dword [count], EVENTS_MOST
    jae real_end
    cmp bx, 1
    je .debug
    cmp bx, 3
    je .done
    cmp bx, 0x20
    jae .done
    mov ax, [resume]
    mov [bp + frame16.ip], ax
    mov ax, [resume_cs]
    mov [bp + frame16.cs], ax
    and word [bp + frame16.flags], ~0x400
    jmp .done
.debug:
    mov eax, dr6
    and eax, 0x400f
    add [sum], eax
    mov eax, 0xffff0ff0
    mov dr6, eax
    test byte [count], 7            ; every eighth ends them
    jnz .done
    and word [bp + frame16.flags], ~0x100
    mov eax, 0x400
    mov dr7, eax
.done:
    pop ds
    popad
    add sp, 2
    iret

real_load_cr3:
real_invlpg:
    iret
real_end:
    cli
    hlt
    jmp real_end
real_set_resume:                    ; EAX: where to go on after a fault
    push ds
    push word VARS >> 4
    pop ds
    mov [resume], eax
    pop ds
    iret
real_poke:                          ; EDX to the linear address EAX
    push ds
    push ebx
    mov ebx, eax
    shr ebx, 4
    mov ds, bx
    mov bx, ax
    and bx, 15
    mov [bx], edx
    pop ebx
    pop ds
    iret

    times 0x1000 - ($ - $$) db 0xf4
    bits 32
entries protected, protected_event

protected_event:
    pushad
    push ds
    push es
    mov ax, KERNEL_DATA
    mov ds, ax
    mov ebp, esp
    mov eax, ss
    lar eax, eax
    test eax, 0x400000              ; the stack of a program of level 0 may be a 16-bit one
    jnz .wide
    movzx ebp, bp
.wide:
    mov ecx, [ebp + frame.vector]
    mov edx, VARS
    inc dword [edx + by_vector + ecx * 8]
    rol dword [edx + sum], 1
    mov eax, [ebp + frame.error]
    add [edx + sum], eax
    mov eax, [ebp + frame.eip]
    add [edx + sum], eax
    movzx eax, word [ebp + frame.cs]
    add [edx + sum], eax
    inc dword [edx + count]
    cmp dword [edx + count], EVENTS_MOST
    jae protected_end
    cmp ecx, 14
    je .page_fault
    cmp ecx, 1
    je .debug
    cmp ecx, 3
    je .done
    cmp ecx, 0x20
    jae .done
.resume:
    mov eax, [edx + resume]
    mov [ebp + frame.eip], eax
    mov eax, [edx + resume_cs]
    mov [ebp + frame.cs], eax
    and dword [ebp + frame.flags], ~0x400
    jmp .done
.page_fault:
    mov eax, cr2
    add [edx + sum], eax
    mov ebx, eax
    shr ebx, 16
    cmp ebx, DATA_64K
    jne .resume
    mov ebx, eax
    shr ebx, 12
    mov ecx, [edx + entry_shift]
    shl ebx, cl
    or dword [ebx + TABLE], 7       ; all rights
    invlpg [eax]
    jmp .done
.debug:
    mov eax, dr6
    and eax, 0x400f
    add [edx + sum], eax
    mov eax, 0xffff0ff0
    mov dr6, eax
    or dword [ebp + frame.flags], 0x10000
    test byte [edx + count], 7
    jnz .done
    and dword [ebp + frame.flags], ~0x100
    mov eax, 0x400
    mov dr7, eax
.done:
    pop es
    pop ds
    popad
    add esp, 8
    iret

protected_load_cr3:
    push eax
    mov eax, cr3
    mov cr3, eax
    pop eax
    iret
protected_invlpg:
    cs invlpg [eax]
    iret
protected_end:
    cli
    hlt
    jmp protected_end
protected_set_resume:
    push ds
    push ebx
    mov bx, KERNEL_DATA
    mov ds, bx
    mov [VARS + resume], eax
    pop ebx
    pop ds
    iret
protected_poke:
    push ds
    push ebx
    mov bx, KERNEL_DATA
    mov ds, bx
    mov [eax], edx
    pop ebx
    pop ds
    iret

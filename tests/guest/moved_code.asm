; What tests/unit/emu/test_jit_relocate.c runs at many addresses: two pages of code and one of data,
; which are mapped wherever it likes; and, in a page of its own that stays, what calls them, and the
; handlers of their faults. RSI adds up all addresses that the code comes to see.
CODE     equ 0x20000            ; where all this is in RAM, and the last page for the CPU, too
SCHEDULE equ 0x24000            ; addresses to call, and 0

bits 64
default rel

entry:
    lea rdx, [entry]
    add rsi, rdx
    add rsi, [value]
    inc qword [value]
patched:
    mov ecx, 1                  ; changes from time to time
    add rsi, rcx
    call near_function
    call far_function
    call crossing
    lea rax, [onward]
    jmp rax
middle:                         ; from the other page
    rol rsi, 3
    ret
onward:
    lea rax, [far_function]
    call rax
    fld1
    fstp qword [number]
    fnstenv [environment]
    mov edx, [environment + 12] ; where the x87 unit was last used
    add rsi, rdx
    lea rbx, [value]
    mov ecx, 5
.sum:
    add rsi, [rbx + rcx * 8]
    mov [numbers], rsi
    dec ecx
    jnz .sum
    ud2
    mov rax, [absent]
    lea rdi, [numbers + 8]
    mov ecx, 16
    rep stosb
    call [pointer]
    ret

near_function:
    add rsi, [rsp]
    ret

    times 0x1000 - 3 - ($ - $$) int3
crossing:
    add rsi, 0x1234567          ; the end of which is in the second page
    ret
far_function:
    add rsi, [rsp]
    test byte [value], 3
    jnz middle
    ret

    times 0x2000 - ($ - $$) int3
value:       dq 1
numbers:     times 6 dq 0
number:      dq 0
environment: times 32 db 0
pointer:     dq CODE + 0x3000 + fixed_function - fixed
    times 0x3000 - ($ - $$) db 0
absent       equ $

; ---- what stays ------------------------------------------------------------------------------

fixed:
    mov ebx, SCHEDULE
.next:
    mov rax, [rbx]
    test rax, rax
    jz .done
    add ebx, 8
    push rbx
    call rax
    pop rbx
    test ebx, 0x38
    jnz .next
    mov rax, cr3                ; another process, as it were
    mov cr3, rax
    inc byte [abs CODE + patched + 1]
    jmp .next
.done:
    hlt
fixed_function:
    add rsi, [rsp]
    ret

    times 0x3200 - ($ - $$) int3
invalid_opcode:
    add rsi, [rsp]
    add qword [rsp], 2
    iretq

    times 0x3240 - ($ - $$) int3
page_fault:
    add rsi, [rsp + 8]
    mov rdx, cr2
    add rsi, rdx
    add qword [rsp + 8], 7
    add rsp, 8
    iretq

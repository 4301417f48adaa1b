; What 32-bit systems of old use of a processor: hardware task switches, 16-bit gates, virtual-8086
; mode, legacy and PAE paging with large pages, single step, debug registers. Made and run like
; cpu_system.asm. Faults print as "#vector error offset cs flags".

%include "rom.inc"

PAGES   equ 0x100000
STACK   equ 0x90000
        org BASE
        bits 16
start16:
        RUN_IN_RAM
        TO_PROTECTED_MODE
        bits 32

puts:   lodsb
        test al, al
        jz .end
        out 0xe9, al
        jmp puts
.end:   ret
hex32:  push ecx
        mov ecx, 8
.next:  rol eax, 4
        push eax
        and al, 15
        cmp al, 10
        sbb al, 0x69
        das
        out 0xe9, al
        pop eax
        loop .next
        mov al, ' '
        out 0xe9, al
        pop ecx
        ret
%macro TEST 1
  %push test
        push esi
        mov esi, %%text
        call puts
        pop esi
        jmp %%over
%%text: db %1, ": ", 0
%%over: mov dword [resume], %$behind
        mov dword [origin], %$body
        mov [saved_esp], esp
%$body:
%endmacro
%macro DONE 0
        mov al, 'k'
        out 0xe9, al
%$behind:
        mov al, 10
        out 0xe9, al
  %pop
%endmacro
%macro SHOW 1
        mov eax, %1
        call hex32
%endmacro

        align 16
stubs:
%assign i 0
%rep 64
        align 16
%if i == 8 || (i >= 10 && i <= 14) || i == 17
        nop
        nop
%else
        push byte 0
%endif
        push byte i
        jmp fault
%assign i i + 1
%endrep

fault:  mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        cmp dword [esp], 1
        jne .print
        cmp dword [stepping], 0
        je .print
        ; count, and go on: for single steps and, with RF, for breakpoints
        inc dword [steps]
        or dword [esp + 16], 0x10000
        mov eax, [stepping]
        cmp eax, 2
        jne .back
        and dword [esp + 16], ~0x100
.back:  mov eax, [kept]
        add esp, 8
        iret
.print: mov al, '#'
        out 0xe9, al
        SHOW [esp]
        SHOW [esp + 4]
        mov eax, [esp + 8]
        test dword [esp + 16], 0x20000
        jnz .raw
        sub eax, [origin]
.raw:   call hex32
        SHOW [esp + 12]
        mov eax, [esp + 16]
        and eax, 0x2f700                          ; RF, which QEMU does not push
        call hex32
        mov esp, [saved_esp]
        push dword 2
        popf
        jmp [resume]

start32:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov esp, STACK
        STUB_GATES
        mov byte [idt + 0x30 * 8 + 5], 0xee
        mov dword [idt + 0x20 * 8], 0x00300000   ; task gate to 30
        mov dword [idt + 0x20 * 8 + 4], 0x8500
        mov dword [idt + 0x21 * 8], 0x00480000 + (int16 - BASE)
        mov dword [idt + 0x21 * 8 + 4], 0x8600
        mov ax, nothing - BASE
        mov [idt + 0x22 * 8], ax
        lidt [idt_pointer]
        mov ax, 0x28
        ltr ax
        mov dword [tss_a + 4], STACK - 0x1000
        mov dword [tss_a + 8], 0x10
        mov word [tss_a + 102], 104

        ; ---- tasks
        TEST "call task"
        mov eax, 0x1111
        mov ebx, 0x2222
        call 0x30:0
        pushf
        pop eax
        and eax, 0x4000
        call hex32
        SHOW ebx
        movzx eax, byte [gdt + 0x2d]
        call hex32
        movzx eax, byte [gdt + 0x35]
        call hex32
        mov eax, cr0
        and eax, 9
        call hex32
        clts
        str ax
        movzx eax, ax
        call hex32
        DONE
        TEST "interrupt task"
        int 0x20
        SHOW [tss_b + 32]
        DONE
        TEST "jump task"
        mov dword [mode_b], 1
        jmp 0x30:0
        movzx eax, byte [gdt + 0x2d]
        call hex32
        movzx eax, byte [gdt + 0x35]
        call hex32
        SHOW [tss_b]
        clts
        DONE
        TEST "busy task"
        call 0x28:0
        DONE
        TEST "absent task"
        call 0x38:0
        DONE
        TEST "short task"
        call 0x40:0
        DONE
        TEST "16-bit task"
        mov ebx, 0x12345678
        call 0x58:0
        SHOW [seen_c]
        SHOW [seen_c + 4]
        SHOW [tss_c + 12]                        ; and IP
        SHOW [tss_c + 16]
        SHOW [tss_c]
        SHOW ebx
        movzx eax, byte [gdt + 0x5d]
        call hex32
        clts
        DONE
        TEST "trap bit ~"
        mov dword [mode_b], 0
        and byte [gdt + 0x35], ~2
        mov word [tss_b + 100], 1
        mov dword [tss_b + 32], task_b
        call 0x30:0
        DONE
        mov word [tss_b + 100], 0
        mov eax, dr6
        and eax, 0x8000
        mov [dummy + 8], eax
        xor eax, eax
        mov dr6, eax
        clts
        str ax
        cmp ax, 0x30
        jne .not_b
        and byte [gdt + 0x2d], ~2                ; the handler ran in task b: back to a
        mov ax, 0x28
        ltr ax
.not_b: TEST "trap bit in dr6 ~"
        SHOW [dummy + 8]
        DONE
        TEST "iret without a task"
        mov word [tss_a], 0x10
        pushf
        or dword [esp], 0x4000
        popf
        iret
        DONE

        ; ---- 16-bit gates
        TEST "16-bit interrupt gate"
        int 0x21
        DONE
int16_back:
        SHOW esi
        SHOW edi
        SHOW ebx
        mov al, 10
        out 0xe9, al
        TEST "16-bit call gate"
        call 0x50:0
        DONE
call16_back:
        SHOW esi
        SHOW ebx
        mov al, 10
        out 0xe9, al

%ifndef NO_LEGACY
        ; ---- virtual-8086 mode
        mov dword [v86_flags], 0x23002
        TEST "v86 iopl 3"
        mov eax, v86_free
        jmp to_v86
        DONE
        TEST "v86 iopl 3 privileged interrupt"
        mov eax, v86_int31
        jmp to_v86
        DONE
        TEST "v86 hlt"
        mov eax, v86_hlt
        jmp to_v86
        DONE
        TEST "v86 lgdt"
        mov eax, v86_lldt
        jmp to_v86
        DONE
        mov dword [v86_flags], 0x20202
        TEST "v86 iopl 0 cli"
        mov eax, v86_cli
        jmp to_v86
        DONE
        TEST "v86 iopl 0 int"
        mov eax, v86_int30
        jmp to_v86
        DONE
        TEST "v86 iopl 0 pushf"
        mov eax, v86_pushf
        jmp to_v86
        DONE
        TEST "v86 iopl 0 iret"
        mov eax, v86_iret
        jmp to_v86
        DONE
        TEST "v86 iopl 0 int3"
        mov eax, v86_int3
        jmp to_v86
        DONE

        ; ---- virtual interrupts
        mov eax, cr4
        or al, 1
        mov cr4, eax
        mov word [tss_a + 102], 136              ; the redirection bitmap at 104
        mov byte [tss_a + 104 + 0x31 / 8], 1 << (0x31 & 7)
        mov word [0x21 * 4], v86_handler - BASE
        mov word [0x21 * 4 + 2], BASE >> 4
        TEST "vme cli, sti, pushf ~"
        mov eax, v86_vme
        jmp to_v86
        DONE
        SHOW [vme_seen]
        SHOW [vme_seen + 4]
        SHOW [vme_seen + 8]
        TEST "vme redirected interrupt ~"
        mov eax, v86_vme_int
        jmp to_v86
        DONE
        SHOW [vme_seen]
        SHOW [vme_seen + 4]
        TEST "vme interrupt not redirected ~"
        mov eax, v86_int31
        jmp to_v86
        DONE
        TEST "vme popf of tf ~"
        mov eax, v86_vme_popf
        jmp to_v86
        DONE
        TEST "vme pushfd ~"
        mov eax, v86_pushfd
        jmp to_v86
        DONE
        mov dword [v86_flags], 0x120202          ; VIP
        TEST "vme sti with vip ~"
        mov eax, v86_sti
        jmp to_v86
        DONE
        mov dword [v86_flags], 0x20202
        mov eax, cr4
        and al, ~1
        mov cr4, eax
        mov word [tss_a + 102], 104

        ; ---- large pages of the legacy format
        mov dword [PAGES], 0x83
        mov dword [PAGES + 4], 0x83              ; 4 MiB: the first again
        mov dword [PAGES + 8], 0x81              ; 8 MiB: read-only
        mov eax, cr4
        or al, 0x10
        mov cr4, eax
        mov eax, PAGES
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80010000
        mov cr0, eax
        TEST "pse"
        mov dword [dummy], 0x1234
        SHOW [PAGES + 4]
        SHOW [dummy + 0x400000]
        SHOW [PAGES + 4]
        mov dword [dummy + 0x400000], 0x4321
        SHOW [PAGES + 4]
        SHOW [dummy]
        mov eax, [dummy + 0x800000]
        SHOW [PAGES + 8]
        mov [dummy + 0x800000], eax
        DONE
        SHOW [PAGES + 8]
        mov eax, cr2
        sub eax, dummy
        call hex32
        TEST "not present directory"
        mov [0xc00000], eax
        DONE
        ; ---- PAE
        mov eax, cr0
        and eax, 0x7fffffff
        mov cr0, eax
        mov dword [PAGES + 0x1000], PAGES + 0x2001
        mov dword [PAGES + 0x2000], 0x83
        mov dword [PAGES + 0x2008], 0x83         ; 2 MiB: the first again
        mov dword [PAGES + 0x2010], PAGES + 0x3003
        mov dword [PAGES + 0x3000], 0x80001      ; 4 MiB: a page, read-only
        mov dword [PAGES + 0x3008], 0x80003
        mov eax, cr4
        or al, 0x20
        mov cr4, eax
        mov eax, PAGES + 0x1000
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        TEST "pae"
        SHOW [dummy + 0x200000]
        SHOW [PAGES + 0x2008]
        mov [dummy + 0x200000], eax
        SHOW [PAGES + 0x2008]
        mov eax, [0x400000]
        SHOW [PAGES + 0x2010]
        SHOW [PAGES + 0x3000]
        mov [0x401ff0], eax
        SHOW [PAGES + 0x3008]
        mov [0x400ff0], eax
        DONE
        TEST "pae pointer not present"
        mov eax, [0x40000000]
        DONE
        TEST "pae reserved pointer bits ~"
        mov dword [PAGES + 0x1008], PAGES + 0x2003
        mov eax, cr3
        mov cr3, eax
        DONE
        mov dword [PAGES + 0x1008], 0
        mov eax, cr0
        and eax, 0x7fffffff
        mov cr0, eax

%endif
        ; ---- single step
        TEST "steps"
        mov dword [stepping], 1
        mov dword [steps], 0
        pushf
        or dword [esp], 0x100
        popf
        nop                                      ; 1
        nop                                      ; 2
        int 0x22                                 ; not, in or after
        nop                                      ; 3
        mov esi, dummy
        mov edi, dummy
        mov ecx, 3
        rep movsb                                ; each
        pushf
        and dword [esp], ~0x100
        popf
        SHOW [steps]
        mov eax, dr6
        call hex32
        mov dword [stepping], 0
        DONE
        TEST "step over mov ss"
        mov ax, ss
        pushf
        or dword [esp], 0x100
        popf
        mov ss, ax
        nop
        nop
        DONE

        ; ---- debug registers
        xor eax, eax
        mov dr6, eax
        TEST "execution breakpoint"
        mov eax, .here
        mov dr0, eax
        mov eax, 0x402
        mov dr7, eax
        nop
.here:  nop
        nop
        DONE
        call show_dr
        TEST "resume flag"
        mov eax, .again
        mov dr1, eax
        mov dword [stepping], 1
        mov dword [steps], 0
        mov ebx, 0x408
        mov dr7, ebx
        mov ebx, 3
.again: nop
        dec ebx
        jnz .again
        mov dword [stepping], 0
        mov dr7, ebx
        SHOW [steps]
        DONE
        call show_dr
        TEST "write breakpoint"
        mov eax, dummy
        mov dr2, eax
        mov eax, 0x0d000420
        mov dr7, eax
        mov eax, [dummy]
        mov [dummy + 4], eax
        mov [dummy + 3], al
        nop
        nop
        DONE
        call show_dr
        TEST "access breakpoint"
        mov eax, dummy + 2
        mov dr3, eax
        mov eax, 0x70000480
        mov dr7, eax
        mov al, [dummy + 1]
        mov eax, [dummy]
        nop
        DONE
        call show_dr
        TEST "read-modify-write and push"
        mov eax, dummy
        mov dr0, eax
        mov eax, 0x000d0402
        mov dr7, eax
        inc dword [dummy + 4]
        lock inc dword [dummy]
        DONE
        call show_dr
        TEST "i/o breakpoint"
        mov eax, cr4
        or al, 8
        mov cr4, eax
        mov eax, 0x80
        mov dr1, eax
        mov eax, 0x00600408                      ; two bytes
        mov dr7, eax
        mov eax, [0x80]
        out 0x82, al
        out 0x81, al
        nop
        DONE
        call show_dr
        mov eax, cr4
        and al, ~8
        mov cr4, eax
        TEST "general detect ~"
        mov eax, 0x2400
        mov dr7, eax
        mov eax, dr0
        DONE
        call show_lax

        mov al, 0x10
        out 0xf4, al
        hlt

dr_text: db 'dr6 dr7: ', 0
dr_text_lax: db 'dr6 dr7 ~: ', 0
show_lax:
        mov esi, dr_text_lax
        jmp show_dr.say
show_dr:
        mov esi, dr_text
.say:   call puts
        mov eax, dr6
        call hex32
        mov eax, dr7
        call hex32
        xor eax, eax
        mov dr7, eax
        mov dr6, eax
        mov al, 10
        out 0xe9, al
        ret

to_v86: push dword 0                             ; gs, fs, ds, es
        push dword 0x1234
        push dword BASE >> 4
        push dword 0
        push dword 0x9000                        ; ss
        push dword 0xff0
        push dword [v86_flags]
        push dword BASE >> 4
        sub eax, BASE
        push eax
        iret

nothing: iret
task_b: call hex32
        movzx eax, word [tss_b]
        call hex32
        pushf
        pop eax
        and eax, 0x4000
        call hex32
        mov eax, 0x3333
        mov ebx, 0x4444
        cmp dword [mode_b], 0
        jne .jump
        iret
        jmp task_b
.jump:  jmp 0x28:0

        bits 16
int16:  movzx esi, word [esp]                    ; a half of EIP, which could not be returned to
        sub si, int16_back - BASE
        movzx edi, word [esp + 2]
        mov ebx, esp
        add esp, 6
        jmp dword 8:int16_back
call16: movzx esi, word [esp + 2]
        mov ebx, esp
        add esp, 4
        jmp dword 8:call16_back
v86_free:
        cli
        pushf
        pop ax
        sti
        pushf
        pop bx
        mov dx, [REAL(dummy)]
        int 0x30
v86_int31:
        int 0x31
v86_hlt:
        hlt
v86_lldt:
        lgdt [0]
v86_cli:
        cli
v86_int30:
        int 0x30
v86_pushf:
        pushf
v86_iret:
        iret
v86_int3:
        int3
v86_sti:
        sti
v86_pushfd:
        pushfd
v86_vme:
        cli
        pushf
        pop word [REAL(vme_seen)]
        sti
        pushf
        pop word [REAL(vme_seen) + 4]
        push word 0x3002
        popf
        pushfw
        pop word [REAL(vme_seen) + 8]
        int 0x31
v86_vme_int:
        sti
        int 0x21
        pushf
        pop word [REAL(vme_seen) + 4]
        int 0x31
v86_handler:
        pushf
        pop word [REAL(vme_seen)]
        iret
v86_vme_popf:
        push word 0x102
        popf
task_c: mov [dword seen_c], eax
        mov ax, ds
        mov [dword seen_c + 4], eax
        mov ebx, 0x9999
        iret
        bits 32

        align 16
gdt:    dq 0
        dq 0x00cf9b000000ffff                    ; 08 code
        dq 0x00cf93000000ffff                    ; 10 data
        dq 0, 0
        dw 0xa7, tss_a - BASE                    ; 28 task a
        db BASE >> 16, 0x89, 0, 0
        dw 0x67, tss_b - BASE                    ; 30 task b
        db BASE >> 16, 0x89, 0, 0
        dw 0x67, tss_b - BASE                    ; 38 not present
        db BASE >> 16, 0x09, 0, 0
        dw 0x66, tss_b - BASE                    ; 40 too short
        db BASE >> 16, 0x89, 0, 0
        dw 0xffff, 0                             ; 48 16-bit code
        db BASE >> 16, 0x9b, 0, 0
        dw call16 - BASE, 0x48, 0x8400, 0        ; 50 16-bit call gate
        dw 43, tss_c - BASE                      ; 58 16-bit task
        db BASE >> 16, 0x81, 0, 0
gdt_end:
gdt_pointer:
        dw gdt_end - gdt - 1
        dd gdt
idt_pointer:
        dw 64 * 8 - 1
        dd idt
resume: dd 0
origin: dd 0
saved_esp: dd 0
stepping: dd 0
steps:  dd 0
kept:   dd 0
mode_b: dd 0
v86_flags: dd 0
        align 16
dummy:  dq 0, 0
        align 16
tss_a:  times 0xa8 db 0
        align 16
tss_c:  times 14 db 0
        dw task_c - BASE, 2                      ; ip, flags
        dw 0xcccc, 0, 0, 0, (STACK - 0x3000) & 0xffff, 0, 0, 0
        dw 0x10, 0x48, 0x10, 0x10, 0
seen_c: dd 0, 0
vme_seen: dd 0, 0, 0
        align 16
tss_b:  times 28 db 0
        dd 0, task_b, 2                          ; cr3, eip, eflags
        dd 0xaaaa, 0, 0, 0, STACK - 0x3000, 0, 0, 0
        dd 0x10, 8, 0x10, 0x10, 0x10, 0x10, 0
        dw 0, 104
        align 16
idt:    times 64 * 8 db 0

        END_OF_ROM

; What a processor does where instructions end and the system begins: faults and their error codes,
; segment checks, gates, paging, mode changes. A 64 KiB ROM that prints to port 0xe9 and ends through
; port 0xf4, to be run on our CPU and on another emulator: the outputs must be the same.
;
; The ROM copies itself to 0x20000 and runs there. Each test ends by falling through or by a fault,
; which the handlers print as "#vector error offset" before they go on behind the test.
; A name that ends in ~ is of something QEMU's translator does not check. With NO_LEGACY, level 3 and
; paging outside long mode are left out: there are KVMs that have neither.

%include "rom.inc"

PAGES   equ 0x100000            ; page tables from here
STACK   equ 0x90000
USTACK  equ 0x98000

        org BASE
        bits 16

start16:
        xor sp, sp
        mov ax, 0x9000
        mov ss, ax
        RUN_IN_RAM
        ; ---- real mode: divide error through the vector table, with IP of the faulting instruction
        xor ax, ax
        mov es, ax
        mov word [es:0], REAL(real_de)
        mov [es:2], cs
        mov word [es:0x21 * 4], REAL(real_int)
        mov [es:0x21 * 4 + 2], cs
        mov word [es:6 * 4], REAL(real_ud)
        mov [es:6 * 4 + 2], cs
        mov bx, 0
        mov ax, 5
real_fault:
        div bx
        mov al, 'R'
        out 0xe9, al
        int 0x21
        pushf
        pop ax
        ud2
after_ud:
        mov al, 10
        out 0xe9, al
        ; ---- to protected mode
        TO_PROTECTED_MODE

real_de:
        pop ax
        cmp ax, REAL(real_fault)
        je .good
        mov al, '!'
        out 0xe9, al
.good:  mov al, 'D'
        out 0xe9, al
        add word [REAL(dummy)], 1
        pop cx
        pop dx
        push dx
        push cx
        push word real_fault - BASE + 2
        iret
real_int:
        mov al, 'I'
        out 0xe9, al
        iret
real_ud:
        mov al, 'U'
        out 0xe9, al
        pop ax
        push word after_ud - BASE
        iret
dummy:  dw 0

; ---- printing -----------------------------------------------------------------------------------
        bits 32
putc:   out 0xe9, al
        ret
        PRINT_ROUTINES

%macro SAY 1
        push esi
        mov esi, %%text
        call puts
        pop esi
        jmp %%over
%%text: db %1, 0
%%over:
%endmacro
; One test: its body may fault; either way it goes on behind.
%macro TEST 1
  %push test
        SAY {%1, ": "}
        mov dword [resume], %$behind
        mov dword [origin], %$body
        mov [saved_esp], esp
%$body:
%endmacro
%macro DONE 0
        SAY "ok"
%$behind:
        mov al, 10
        out 0xe9, al
  %pop
%endmacro
%macro USER 2 ; name, entry: runs at level 3 until it faults
        TEST %1
        mov dword [user_entry], %2
        jmp to_user
        DONE
%endmacro

; ---- protected mode -----------------------------------------------------------------------------
start32:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov esp, STACK
        ; the interrupt table: 256 interrupt gates to the stubs
        STUB_GATES
        mov byte [idt + 3 * 8 + 5], 0xee        ; INT3 and 0x30 from level 3
        mov byte [idt + 0x30 * 8 + 5], 0xee
        mov byte [idt + 0x31 * 8 + 5], 0x6e     ; not present
        lidt [idt_pointer]
        mov ax, 0x28
        ltr ax
        mov dword [tss + 4], STACK - 0x1000
        mov word [tss + 8], 0x10

        TEST "divide"
        xor ecx, ecx
        div ecx
        DONE
        TEST "idiv overflow"
        mov eax, 0x80000000
        cdq
        mov ecx, -1
        idiv ecx
        DONE
        TEST "bound"
        mov eax, 11
        bound eax, [bounds]
        DONE
        TEST "into"
        mov al, 0x7f
        inc al
        into
        DONE
        TEST "ud"
        ud2
        DONE
        TEST "lock reg"
        db 0xf0, 0x01, 0xc0
        DONE
        TEST "null ds"
        xor ax, ax
        mov ds, ax
        mov ax, 0x10
        mov ds, ax
        DONE
        TEST "null use ~"
        xor ax, ax
        mov fs, ax
        mov al, [fs:0]
        DONE
        TEST "null ss"
        xor ax, ax
        mov ss, ax
        DONE
        TEST "beyond gdt"
        mov ax, 0x1000
        mov fs, ax
        DONE
        TEST "not present"
        mov ax, 0x40
        mov fs, ax
        DONE
        TEST "ss not present"
        mov ax, 0x40
        mov ss, ax
        DONE
        TEST "code into ss"
        mov ax, 8
        mov ss, ax
        DONE
        TEST "limit ~"
        mov ax, 0x48
        mov fs, ax
        mov al, [fs:0xfff]
        mov eax, [fs:0xffd]
        DONE
        TEST "expand down ~"
        mov ax, 0x50
        mov fs, ax
        mov al, [fs:0x1000]
        mov al, [fs:0xfff]
        DONE
        TEST "write to read-only ~"
        mov ax, 0x58
        mov fs, ax
        mov al, [fs:0]
        mov [fs:0], al
        DONE
        TEST "write to code ~"
        mov [cs:dummy], al
        DONE
        TEST "int not present"
        int 0x31
        DONE
        TEST "int beyond idt"
        int 0x80
        DONE
        TEST "ltr busy"
        mov ax, 0x28
        ltr ax
        DONE
        TEST "lldt of data"
        mov ax, 0x10
        lldt ax
        DONE
        TEST "msr unknown ~"
        mov ecx, 0x12345
        rdmsr
        DONE
        TEST "lar lsl verr verw"
        mov ax, 0x48
        lar eax, ax
        call hex32
        mov ax, 0x48
        lsl eax, ax
        call hex32
        mov ax, 0x58
        verw ax
        setz al
        movzx eax, al
        call hex32
        mov ax, 0x58
        verr ax
        setz al
        movzx eax, al
        call hex32
        mov ax, 0x1000
        lar eax, ax
        setz al
        movzx eax, al
        call hex32
        DONE
        TEST "arpl"
        mov ax, 0x10
        mov cx, 3
        arpl ax, cx
        movzx eax, ax
        call hex32
        DONE
        TEST "call gate"
        call 0x60:0
        mov eax, [gate_seen]
        call hex32
        DONE
        TEST "far call"
        call 8:far_target
        DONE
        TEST "popf"
        push dword 0x3ff2d7
        popf
        pushf
        pop eax
        push dword 2
        popf
        and eax, ~0x30000
        call hex32
        DONE
        TEST "trap flag"
        pushf
        or dword [esp], 0x100
        popf
        nop
        DONE
        TEST "enter leave"
        mov ebp, STACK - 0x100
        enter 16, 3
        mov eax, STACK
        sub eax, esp
        leave
        call hex32
        DONE

%ifndef NO_LEGACY
        ; ---- level 3
        USER "level 3 cli", user_cli
        USER "level 3 in", user_in
        USER "level 3 int 0x30", user_int
        USER "level 3 int 0x20", user_int20
        USER "level 3 mov cr0", user_cr0
        USER "level 3 hlt", user_hlt
        USER "level 3 call gate", user_gate

        ; ---- 32-bit paging: one table, 4 MiB, page 0x300 plays
        mov edi, PAGES
        mov ecx, 1024
        xor eax, eax
        rep stosd
        mov dword [PAGES], PAGES + 0x1000 + 7
        mov edi, PAGES + 0x1000
        mov eax, 7
        mov ecx, 1024
.pte:   stosd
        add eax, 0x1000
        loop .pte
        mov eax, PAGES
        mov cr3, eax
        mov eax, cr0
        or eax, 0x80010000                      ; PG, WP
        mov cr0, eax

%define PTE PAGES + 0x1000 + 0x300 * 4
        TEST "accessed and dirty"
        mov eax, [PTE]
        call hex32
        mov al, [0x300000]
        mov eax, [PTE]
        call hex32
        mov [0x300000], al
        mov eax, [PTE]
        call hex32
        DONE
        TEST "not present read"
        mov dword [PTE], 0x300006
        invlpg [0x300000]
        mov eax, [0x300004]
        DONE
        TEST "not present write"
        mov [0x300008], eax
        DONE
        TEST "read-only write"
        mov dword [PTE], 0x300005
        invlpg [0x300000]
        mov eax, [0x300000]
        mov [0x300123], eax
        DONE
        TEST "read-only without wp"
        mov eax, cr0
        and eax, ~0x10000
        mov cr0, eax
        mov [0x300123], eax
        mov eax, [PTE]
        call hex32
        DONE
        mov eax, cr0
        or eax, 0x10000
        mov cr0, eax
        TEST "crossing write keeps first half"
        mov dword [0x2ffffc], 0x11223344
        mov dword [PTE], 0x300005
        invlpg [0x300000]
        mov dword [0x2ffffe], -1
        DONE
        mov eax, [0x2ffffc]
        call hex32
        mov dword [PTE], 0x300000
        invlpg [0x300000]
        TEST "rep movs into missing page"
        mov esi, 0x1000
        mov edi, 0x2ffff0
        mov ecx, 100
        rep movsb
        DONE
        mov eax, ecx
        call hex32
        mov dword [PTE], 0x300003
        invlpg [0x300000]
        USER "supervisor page from level 3", user_read
        TEST "fetch from missing page"
        mov dword [PTE], 0
        invlpg [0x300000]
        mov eax, 0x300010
        jmp eax
        DONE
%endif
        TEST "self-modifying"
        mov eax, 1
        mov byte [patched + 1], 0x42
patched: mov al, 0x11
        call hex32
        DONE

        ; ---- long mode
        mov eax, cr0
        and eax, 0x7fffffff
        mov cr0, eax
        mov edi, PAGES
        mov ecx, 0x4000 / 4
        xor eax, eax
        rep stosd
        mov dword [PAGES], PAGES + 0x1000 + 7
        mov dword [PAGES + 0x1000], PAGES + 0x2000 + 7
        mov dword [PAGES + 0x2000], 0x87         ; 2 MiB pages
        mov dword [PAGES + 0x2008], PAGES + 0x3000 + 7
        mov edi, PAGES + 0x3000
        mov eax, 0x200007
        mov ecx, 512
.pte64: mov [edi], eax
        mov dword [edi + 4], 0
        add edi, 8
        add eax, 0x1000
        loop .pte64
        mov eax, PAGES
        mov cr3, eax
        mov eax, 0x620                           ; PAE, OSFXSR, OSXMMEXCPT
        mov cr4, eax
        mov ecx, 0xc0000080
        mov eax, 0x901                           ; SCE, LME, NXE
        xor edx, edx
        wrmsr
        mov eax, cr0
        or eax, 0x80000000
        mov cr0, eax
        jmp 0x18:start64

to_user:
        push dword 0x3b                          ; data, level 3
        push dword USTACK
        push dword 0x2
        push dword 0x33                          ; code, level 3
        push dword [user_entry]
        iret
user_cli:
        cli
user_in:
        in al, 0x80
user_int:
        int 0x30
user_int20:
        int 0x20
user_cr0:
        mov eax, cr0
user_hlt:
        hlt
user_gate:
        call 0x68:0
user_read:
        mov ax, 0x3b
        mov ds, ax
        mov eax, [0x300000]

gate_target:
        mov dword [gate_seen], 0x600d
        retf
user_gate_target:
        mov ax, 0x10
        mov ds, ax
        int 0x33
far_target:
        retf

; ---- 32-bit handlers ----------------------------------------------------------------------------
        align 16
stubs:
%assign vector 0
%rep 64
        align 16
  %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        push dword vector
        jmp fault
  %else
        push dword 0
        push dword vector
        jmp fault
  %endif
%assign vector vector + 1
%endrep

fault:  ; [esp]: vector, error, eip, cs, eflags
        push eax
        push ecx
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov al, '#'
        out 0xe9, al
        mov eax, [esp + 8]
        call hex32
        mov eax, [esp + 12]
        call hex32
        mov eax, [esp + 16]
        sub eax, [origin]
        cmp dword [esp + 20], 8
        je .kernel
        mov eax, [esp + 16]
        sub eax, to_user
.kernel:
        cmp dword [esp + 8], 14
        jne .no_cr2
        mov eax, cr2
.no_cr2:
        call hex32
        mov eax, [esp + 20]
        call hex32
        mov eax, [esp + 24]                      ; QEMU does not set RF
        and eax, 0x27700
        call hex32
        pop ecx
        pop eax
        mov esp, [saved_esp]
        jmp [resume]

; ---- long mode ----------------------------------------------------------------------------------
        bits 64
putc64: out 0xe9, al
        ret
hex64:  ; rax
        push rcx
        mov ecx, 16
.next:  rol rax, 4
        push rax
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe .digit
        add al, 'a' - '0' - 10
.digit: out 0xe9, al
        pop rax
        loop .next
        mov al, ' '
        out 0xe9, al
        pop rcx
        ret
puts64: lodsb
        test al, al
        jz .end
        out 0xe9, al
        jmp puts64
.end:   ret
%macro TEST64 1
  %push test
        mov esi, %$text
        call puts64
        jmp %$over
%$text: db %1, ": ", 0
%$over: mov qword [resume], %$behind
        mov qword [origin], %$body
        mov [saved_esp], rsp
%$body:
%endmacro
%macro DONE64 0
        mov al, 'k'
        out 0xe9, al
%$behind:
        mov al, 10
        out 0xe9, al
  %pop
%endmacro

start64:
        mov ax, 0x10
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov rsp, STACK
        mov edi, idt
        mov eax, stubs64
        mov ecx, 64
.gate:  mov [rdi], ax
        mov word [rdi + 2], 0x18
        mov word [rdi + 4], 0x8e00
        mov ebx, eax
        shr ebx, 16
        mov [rdi + 6], bx
        mov qword [rdi + 8], 0
        add edi, 16
        add eax, 16
        loop .gate
        mov byte [idt + 6 * 16 + 4], 1           ; #UD on IST 1
        mov byte [idt + 12 * 16 + 4], 1
        mov byte [idt + 0x30 * 16 + 5], 0xee
        lidt [idt_pointer]
        mov ax, 0x70
        ltr ax
        mov qword [tss + 4], STACK - 0x1000
        mov qword [tss + 36], STACK - 0x2000
        mov qword [tss + 20], 0
        mov ecx, 0xc0000081
        mov edx, 0x00230018                      ; SYSRET 0x23+.., SYSCALL 0x18
        xor eax, eax
        wrmsr
        mov ecx, 0xc0000082
        mov eax, syscall_entry
        xor edx, edx
        wrmsr
        mov ecx, 0xc0000084
        mov eax, 0x700
        wrmsr

        TEST64 "ud on ist"
        ud2
        DONE64
        TEST64 "non-canonical read"
        mov rax, 0x8000000000000000
        mov rax, [rax]
        DONE64
        TEST64 "non-canonical jump ~"
        mov rax, 0x8000000000000000
        jmp rax
        DONE64
        TEST64 "nx"
        mov dword [PAGES + 0x3000 + 0x100 * 8 + 4], 0x80000000
        invlpg [0x300000]
        mov eax, 0x300000
        jmp rax
        DONE64
        TEST64 "reserved bit ~"
        mov dword [PAGES + 0x3000 + 0x100 * 8 + 4], 0x00080000
        invlpg [0x300000]
        mov eax, [0x300000]
        DONE64
        TEST64 "2 MiB page entry"
        mov rax, [PAGES + 0x2000]
        call hex64
        DONE64
        TEST64 "syscall from level 3"
        mov rcx, user64
        mov r11, 0x202
        o64 sysret
        DONE64
        TEST64 "wrmsr non-canonical ~"
        mov ecx, 0xc0000100
        mov edx, 0x80000000
        wrmsr
        DONE64
        TEST64 "swapgs"
        mov ecx, 0xc0000102
        mov eax, 0x1234
        xor edx, edx
        wrmsr
        swapgs
        mov ecx, 0xc0000101
        rdmsr
        call hex64
        DONE64
        TEST64 "unaligned movaps"
        movaps xmm0, [STACK + 1]
        DONE64
        TEST64 "cmpxchg16b unaligned"
        lock cmpxchg16b [STACK + 8]
        DONE64
        TEST64 "sse divide unmasked ~"
        mov dword [dummy], 0x1d80
        ldmxcsr [dummy]
        xorps xmm1, xmm1
        mov eax, 0x3f800000
        movd xmm0, eax
        divss xmm0, xmm1
        DONE64
        stmxcsr [dummy]
        mov eax, [dummy]
        call hex64
        mov dword [dummy], 0x1f80
        ldmxcsr [dummy]
        TEST64 "x87 divide unmasked"
        mov rax, cr0
        or eax, 0x22
        mov cr0, rax
        fninit
        mov word [dummy], 0x37b
        fldcw [dummy]
        fldz
        fld1
        fdivrp
        fwait
        DONE64
        fnclex
        TEST64 "nm"
        mov rax, cr0
        or eax, 8
        mov cr0, rax
        fld1
        DONE64
        clts
        TEST64 "iret to 32-bit code"
        push 0x10
        push rsp
        pushfq
        push 8
        push compat
        iretq
        DONE64
        TEST64 "popfq iopl"
        pushfq
        or qword [rsp], 0x3000
        popfq
        pushfq
        pop rax
        and eax, 0x3000
        call hex64
        DONE64
        mov al, 10
        out 0xe9, al
        mov al, 0x10
        out 0xf4, al
.end:   hlt
        jmp .end

user64: mov rax, 0x5ca1ab1e
        mov r12, rsp
        syscall
        int 0x30
syscall_entry:
        mov rsp, [saved_esp]
        call hex64
        mov rax, rcx
        sub rax, user64
        call hex64
        mov rax, r11
        call hex64
        mov eax, ss
        call hex64
        mov eax, cs
        call hex64
        jmp [resume]
        bits 32
compat: mov ax, cs
        movzx eax, ax
        call hex32
        jmp 0x18:compat_back
        bits 64
compat_back:
        mov rsp, [saved_esp]
        jmp [resume]

        align 16
stubs64:
%assign vector 0
%rep 64
        align 16
  %if vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
        push vector
        jmp fault64
  %else
        push 0
        push vector
        jmp fault64
  %endif
%assign vector vector + 1
%endrep
fault64:
        mov al, '#'
        out 0xe9, al
        pop rax
        mov rbx, rax
        call hex64
        pop rax
        call hex64
        mov rax, [rsp]
        sub rax, [origin]
        cmp ebx, 14
        jne .no_cr2
        mov rax, cr2
.no_cr2:
        call hex64
        mov rax, [rsp + 8]
        call hex64
        mov rax, [rsp + 16]
        and eax, 0x27700
        call hex64
        mov rax, rsp
        call hex64
        mov rsp, [saved_esp]
        jmp [resume]

; ---- tables -------------------------------------------------------------------------------------
        align 16
gdt:    dq 0
        dq 0x00cf9b000000ffff                    ; 08 code
        dq 0x00cf93000000ffff                    ; 10 data
        dq 0x00af9b000000ffff                    ; 18 code, 64-bit
        dq 0x00cf93000000ffff                    ; 20 data behind it
        dw 0x67, tss_low                         ; 28 task
        db tss_mid, 0x89, 0, 0
        dq 0x00cffb000000ffff                    ; 30 code, level 3 (28 + 8: upper half in long mode)
        dq 0x00cff3000000ffff                    ; 38 data, level 3
        dq 0x00cf13000000ffff                    ; 40 data, not present
        dq 0x0040930000000fff                    ; 48 data, 4 KiB
        dq 0x0040970000000fff                    ; 50 expand down from 4 KiB
        dq 0x0040910000000fff                    ; 58 read-only
        dw gate_low, 8, 0x8c00, gate_high        ; 60 call gate
        dw ugate_low, 8, 0xec00, ugate_high      ; 68 call gate for level 3
        dw 0x67, tss_low                         ; 70 task, long mode
        db tss_mid, 0x89, 0, 0
        dq 0
gdt_end:
tss_low    equ (tss - BASE)
tss_mid    equ BASE >> 16
gate_low   equ (gate_target - BASE)
gate_high  equ BASE >> 16
ugate_low  equ (user_gate_target - BASE)
ugate_high equ BASE >> 16
gdt_pointer:
        dw gdt_end - gdt - 1
        dd gdt, 0
idt_pointer:
        dw 64 * 8 - 1 + 64 * 8
        dd idt, 0
bounds: dd 0, 10
resume: dq 0
origin: dq 0
saved_esp: dq 0
user_entry: dd 0
gate_seen: dd 0
        align 16
tss:    times 0x68 db 0
        align 16
idt:    times 64 * 16 db 0

        END_OF_ROM

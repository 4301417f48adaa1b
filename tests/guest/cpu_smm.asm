; System management mode on a PC of the i440FX kind: SMIs by the APM port, the saved state and its
; relocation, memory at 0xa0000 that only the handler sees, RSM. Run as a firmware image.
%include "start64.inc"

SMRAM   equ 0x80000072
DEVACTB equ 0x80000b58          ; the power management function, 00:01.3
AREA    equ 0x8000              ; of the saved state, from SMBASE

; QEMU's translator looks for an SMI where a block of code begins.
%macro SMI 0
        out 0xb2, al
        jmp %%next
%%next:
%endmacro

main:
        mov rax, cr3
        mov r15, rax
        TEST "rsm outside"
        rsm
        DONE
        ; ---- the first SMI, at SMBASE 0x30000
        mov esi, first
        mov edi, 0x38000
        mov ecx, first_end - first
        rep movsb
        mov eax, DEVACTB
        call pci_read
        bts eax, 25
        call pci_write
        SAY "first:"
        mov rbx, 0x1122334455667788
        mov r13, 0xfedcba9876543210
        stc
        SMI
        setc cl
        SAY " back, carry "
        movzx eax, cl
        call hex64
        mov rax, rbx
        call hex64
        mov rax, r13
        call hex64
        mov eax, 0xc0000080
        mov ecx, eax
        rdmsr
        call hex64
        mov rax, cr0
        and eax, 0x80010001
        call hex64
        mov rax, cr4
        call hex64
        call newline
        SAY "saved: "
        mov rax, [0x30000 + AREA + 0x7fe0]
        call hex64
        mov rax, [0x30000 + AREA + 0x7f90]
        call hex64
        mov rax, [0x30000 + AREA + 0x7ed0]
        call hex64
        mov rax, [0x30000 + AREA + 0x7f50]
        call hex64
        mov eax, [0x30000 + AREA + 0x7f70]
        and eax, 0x201
        call hex64
        mov eax, [0x30000 + AREA + 0x7e10]      ; CS: selector and attributes
        call hex64
        mov eax, [0x30000 + AREA + 0x7e14]
        call hex64
        mov rax, [0x30000 + AREA + 0x7e98]      ; TR's base
        sub rax, tss
        call hex64
        mov eax, [0x30000 + AREA + 0x7e64]      ; GDTR's limit
        call hex64
        mov rax, [0x30000 + AREA + 0x7e88]      ; IDTR's base
        sub rax, idt
        call hex64
        call newline

        ; ---- memory of its own at 0xa0000
        mov eax, SMRAM
        mov bl, 0x4a
        call pci_write8
        mov esi, second
        mov edi, 0xa8000
        mov ecx, second_end - second
        rep movsb
        SAY "open: "
        mov eax, [0xa8000]
        sub eax, [second]
        call hex64
        mov bl, 0x0a
        mov eax, SMRAM
        call pci_write8
        call newline
        SAY "closed: "
        mov eax, [0xa8000]
        sub eax, [second]
        cmp eax, 1
        sbb eax, eax
        call hex64
        call newline
        SAY "second:"
        mov eax, 0x1234
        mov ebx, 0x77
        SMI
        push rax
        SAY " back, "
        pop rax
        call hex64
        mov eax, ebx
        call hex64
        SMI
        call hex64
        call newline
        mov qword [user_flags], 0x3000
        USER "from level 3", user_smi, user_smi_end
        mov qword [user_flags], 0
        SAY "once more: "
        SMI
        call hex64
        call newline

        ; ---- locked
        SAY "lock: "
        mov bl, 0x1a
        mov eax, SMRAM
        call pci_write8
        mov bl, 0x4a
        mov eax, SMRAM
        call pci_write8
        SAY "smi still "
        SMI
        call hex64
        call newline
        POWER_OFF

newline:
        mov al, 10
        out 0xe9, al
        ret
pci_read: ; eax: address; returns eax
        mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        in eax, dx
        ret
pci_write: ; eax: value for the address of before
        mov dx, 0xcfc
        out dx, eax
        ret
pci_write8: ; eax: address, bl: value
        push rax
        and al, 0xfc
        mov dx, 0xcf8
        out dx, eax
        pop rax
        and eax, 3
        lea edx, [rax + 0xcfc]
        mov al, bl
        out dx, al
        ret

user_smi:
        SMI
        int 0x30
user_smi_end:

        bits 16
%macro HEX16 0
hex:    push cx
        mov cx, 8
.next:  rol eax, 4
        push ax
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe .digit
        add al, 'a' - '0' - 10
.digit: out 0xe9, al
        pop ax
        loop .next
        mov al, ' '
        out 0xe9, al
        pop cx
        ret
%endmacro
first:  ; what the processor looks like here, then another SMBASE
        mov al, ' '
        out 0xe9, al
        mov ax, cs
        movzx eax, ax
        call .hex
        mov eax, cr0
        and eax, 0x8001000d
        call .hex
        pushfd
        pop eax
        call .hex
        mov eax, cr4
        call .hex
        mov eax, dr7
        call .hex
        mov eax, [dword 0x30000 + AREA + 0x7efc]
        call .hex
        mov eax, [dword 0x30000 + AREA + 0x7f00]
        call .hex
        mov ax, ds
        movzx eax, ax
        call .hex
        mov eax, [dword 0x100000]                ; beyond 64 KiB: limits are 4 GiB
        call .hex
        mov dword [dword 0x30000 + AREA + 0x7f00], 0xa0000
        xor ebx, ebx
        rsm
.hex:
        HEX16
first_end:

second: ; counts in its own memory; RAX and RBX come back changed
        inc dword [dword 0xa9000]
        mov eax, [dword 0xa9000]
        mov [dword 0xa0000 + AREA + 0x7ff8], eax
        add dword [dword 0xa0000 + AREA + 0x7fe0], 0x1000
        mov al, '+'
        out 0xe9, al
        mov ax, cs
        cmp ax, 0xa000
        jne .wrong
        rsm
.wrong: mov al, '!'
        out 0xe9, al
        rsm
second_end:
        END_OF_ROM

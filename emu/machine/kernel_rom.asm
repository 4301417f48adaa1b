; The option ROM that starts a kernel after the BIOS: it has the firmware configuration device copy
; what the machine listed in it, and enters Linux's real-mode setup code or a Multiboot kernel.
; kernel_rom.c fills in the parameters at the end and the checksums.

        bits 16
        org 0
INFO    equ 0x9000              ; the Multiboot information; the memory map 256 bytes after it
SCRATCH equ 0x7000

        db 0x55, 0xaa, 4        ; of 2 KiB
        retf                    ; nothing to do when it is found
        times 0x1a - ($ - $$) db 0
        dw pnp
        times 0x20 - ($ - $$) db 0
pnp:    db "$PnP", 1, 2
        dw 0
        db 0, 0                 ; the checksum
        dd 0
        dw 0, product
        db 0, 0, 0, 0x64        ; it may be booted from
        dw 0, 0, boot, 0, 0
product: db "a kernel of the host", 0

boot:   cli
        cld
        xor ax, ax
        mov es, ax
        mov ss, ax
        mov sp, SCRATCH
        mov si, parts
next:   mov di, SCRATCH         ; the request has to be where it can be written
        mov cx, 8
.copy:  mov ax, [cs:si]
        stosw
        add si, 2
        loop .copy
        cmp dword [es:SCRATCH], 0
        je copied
        mov dx, 0x514
        xor eax, eax
        out dx, eax
        mov dx, 0x518
        mov eax, SCRATCH
        bswap eax
        out dx, eax
.wait:  cmp dword [es:SCRATCH], 0
        jne .wait
        jmp next

copied: cmp word [cs:kind], 1
        je linux

; Multiboot: the memory map as the BIOS has it
        sti
        mov ax, INFO >> 4
        mov es, ax
        mov di, 0x104
        xor ebx, ebx
.entry: mov eax, 0xe820
        mov edx, 0x534d4150
        mov ecx, 20
        int 0x15
        jc .mapped
        mov dword [es:di - 4], 20
        add di, 24
        cmp di, 0xf00
        ja .mapped
        test ebx, ebx
        jnz .entry
.mapped: sub di, 0x104
        movzx eax, di
        mov [es:44], eax        ; the map's length
        int 0x12
        movzx eax, ax
        mov [es:4], eax         ; KiB below 1 MiB
        mov ax, 0xe801
        int 0x15
        movzx eax, ax
        movzx ebx, bx
        shl ebx, 6
        add eax, ebx
        mov [es:8], eax         ; and above it
        cli
        xor eax, eax
        mov ax, cs
        shl eax, 4
        mov es, [cs:zero]
        lea ebx, [eax + gdt]
        mov word [es:SCRATCH], 23
        mov [es:SCRATCH + 2], ebx
        add eax, flat
        mov ecx, [cs:entry]
        o32 lgdt [es:SCRATCH]
        mov edx, cr0
        or dl, 1
        mov cr0, edx
        push dword 8
        push eax
        o32 retf
        bits 32
flat:   mov ax, 16
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov eax, 0x2badb002
        mov ebx, INFO
        jmp ecx

        bits 16
linux:  mov ax, [cs:setup_at]
        mov ds, ax
        mov es, ax
        mov fs, ax
        mov gs, ax
        mov ss, ax
        mov sp, [cs:stack]
        add ax, 0x20
        push ax
        push word 0
        retf

zero:   dw 0
        align 8
gdt:    dq 0, 0x00cf9b000000ffff, 0x00cf93000000ffff

        times 1024 - ($ - $$) db 0
kind:    dw 0                   ; 1 Linux, 2 Multiboot
setup_at: dw 0                  ; Linux: the segment of its setup code
stack:   dw 0
         dw 0
entry:   dd 0                   ; Multiboot
         dd 0
parts:                          ; requests to the configuration device, 16 bytes each
        times 2048 - ($ - $$) db 0

; The option ROM that starts a kernel after the BIOS: it has the firmware configuration device copy
; what the machine listed in it, and enters Linux's real-mode setup code or a Multiboot kernel.
; kernel_rom.c fills in the parameters at the end and the checksums.

        bits 16
        org 0
INFO    equ 0x9000              ; the Multiboot information; the memory map 256 bytes after it
VBE     equ 0x8000              ; what the card's BIOS says of itself, then of a mode
MODE    equ 512
WISH    equ 768                 ; width and height, depth or 0 for any
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
        cmp word [cs:depth], 0
        je enter
        call video
enter:  cli
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

; Switches to the picture that the kernel wants and describes it. Where the card has no such mode,
; one of another depth will do, then one of 800 by 600; else the text mode stays, which the
; information describes as it comes.
        bits 16
video:  mov ax, INFO >> 4
        mov ds, ax
        mov ax, VBE >> 4
        mov es, ax
        xor di, di
        mov dword [es:di], 'VBE2'
        mov ax, 0x4f00
        int 0x10
        cmp ax, 0x4f
        jne .end
        mov eax, [cs:size]
        mov [es:WISH], eax
        mov al, [cs:depth]
        mov [es:WISH + 4], al
.search: lfs si, [es:14]
.mode:  mov cx, [fs:si]
        add si, 2
        cmp cx, -1
        je .last
        mov di, MODE
        mov ax, 0x4f01
        int 0x10
        cmp ax, 0x4f
        jne .mode
        mov al, [es:MODE]
        and al, 0x91            ; it works, has graphics and all of its memory at one place
        cmp al, 0x91
        jne .mode
        cmp byte [es:MODE + 27], 6 ; direct colour
        jne .mode
        mov eax, [es:MODE + 18] ; width and height
        cmp eax, [es:WISH]
        jne .mode
        mov al, [es:WISH + 4]
        test al, al
        jz .found
        cmp al, [es:MODE + 25]
        jne .mode
.found: mov bx, cx
        or bh, 0x40
        mov ax, 0x4f02
        int 0x10
        cmp ax, 0x4f
        jne .mode
        or word [0], 0x1800
        mov dword [72], VBE
        mov dword [76], VBE + MODE
        mov [80], cx
        mov eax, [es:MODE + 40]
        mov [88], eax
        movzx eax, word [es:MODE + 16]
        mov [96], eax
        movzx eax, word [es:WISH]
        mov [100], eax
        movzx eax, word [es:WISH + 2]
        mov [104], eax
        mov al, [es:MODE + 25]
        mov ah, 1               ; pixels of three colours
        mov [108], ax
        mov ax, [es:MODE + 31]  ; each colour's width and place
        xchg al, ah
        mov [112], ax           ; two bytes after where the text has them (3.3): where the
        mov ax, [es:MODE + 33]  ; specification's C has them, and GRUB, and so every kernel
        xchg al, ah
        mov [114], ax
        mov ax, [es:MODE + 35]
        xchg al, ah
        mov [116], ax
.end:   ret
.last:  cmp byte [es:WISH + 4], 0
        mov byte [es:WISH + 4], 0
        jne .search
        mov eax, 600 << 16 | 800
        cmp [es:WISH], eax
        mov [es:WISH], eax
        jne .search
        ret

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
depth:   dw 0                   ; Multiboot: of the picture, 0 for none
entry:   dd 0
size:    dw 0, 0
parts:                          ; requests to the configuration device, 16 bytes each
        times 2048 - ($ - $$) db 0

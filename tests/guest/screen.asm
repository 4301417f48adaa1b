; Sets one video mode after the other through the video BIOS, draws a pattern, says "mode N" at port
; 0xe9 and waits for a key. A floppy's first sectors; runs the same on QEMU.

        org 0x7c00
        bits 16
start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        mov ax, 0x0208          ; eight more sectors after this one
        mov bx, 0x7e00
        mov cx, 0x0002
        xor dh, dh
        int 0x13
        jc $
        jmp main
        times 510 - ($ - $$) db 0
        dw 0xaa55

main:   cli
        lgdt [gdt_pointer]      ; segments of 4 GiB in real mode
        mov eax, cr0
        or al, 1
        mov cr0, eax
        mov bx, 8
        mov fs, bx
        and al, 0xfe
        mov cr0, eax
        sti
        mov si, modes
next:   lodsw
        test ax, ax
        jz done
        mov di, ax
        lodsw                   ; what draws it
        mov bx, ax
        mov [mode], di
        push si
        call bx
        mov si, told
        call puts
        mov ax, [mode]
        call hex
        mov al, 10
        out 0xe9, al
        xor ah, ah
        int 0x16
        pop si
        jmp next
done:   mov si, over
        call puts
        jmp $

puts:   lodsb
        test al, al
        jz .end
        out 0xe9, al
        jmp puts
.end:   ret
hex:    mov cx, 4
.next:  rol ax, 4
        push ax
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe .out
        add al, 39
.out:   out 0xe9, al
        pop ax
        loop .next
        ret

; EAX: the next number of a fixed series
number: mov eax, [seed]
        imul eax, eax, 1664525
        add eax, 1013904223
        mov [seed], eax
        shr eax, 8
        ret

set:    mov ax, [mode]
        mov dword [seed], 12345
        int 0x10
        ret

; Text: every character and attribute but the blinking ones; no cursor.
text:   call set
        mov ah, 1
        mov cx, 0x2000
        int 0x10
        mov ax, 0xb800
        mov es, ax
        xor di, di
        mov cx, 2000
.cell:  call number
        and ah, 0x7f
        call narrow
        stosw
        loop .cell
        ret
; The same with bright backgrounds in place of blinking.
bright: mov word [mode], 3
        call set
        mov ax, 0x1003
        xor bl, bl
        int 0x10
        mov ah, 1
        mov cx, 0x2000
        int 0x10
        mov ax, 0xb800
        mov es, ax
        xor di, di
        mov cx, 2000
.cell:  call number
        call narrow
        stosw
        loop .cell
        mov word [mode], 0x1003
        ret
; QEMU draws a ninth column for 0xb0 to 0xbf, too; the VGA does so from 0xc0 only.
narrow: mov bl, al
        and bl, 0xf0
        cmp bl, 0xb0
        jne .end
        mov al, 0xc4
.end:   ret
cga:    call set
        mov ax, 0xb800
        mov es, ax
        xor di, di
        mov cx, 0x4000
.byte:  call number
        stosb
        loop .byte
        ret
; Sixteen colours: each plane by itself.
planar: call set
planes: mov ax, 0xa000
        mov es, ax
        mov ah, 1
.plane: mov dx, 0x3c4
        mov al, 2
        out dx, ax
        push ax
        xor di, di
        mov cx, 0xffff
.byte:  call number
        stosb
        loop .byte
        pop ax
        shl ah, 1
        cmp ah, 16
        jb .plane
        ret
; 320 x 200 in 256 colours, with a palette of our own
deep:   call set
        mov dx, 0x3c8
        xor al, al
        out dx, al
        inc dx
        mov cx, 768
.dac:   call number
        and al, 63
        out dx, al
        loop .dac
        mov ax, 0xa000
        mov es, ax
        xor di, di
        mov cx, 64000
.byte:  call number
        stosb
        loop .byte
        ret
; The same unchained: 320 x 240, four pages
modex:  mov word [mode], 0x13
        call set
        mov word [mode], 0x240
        mov dx, 0x3c4
        mov ax, 0x0604          ; chain 4 off
        out dx, ax
        mov dx, 0x3c2
        mov al, 0xe3
        out dx, al
        mov dx, 0x3d4
        mov al, 0x11            ; registers 0 to 7 may be written
        out dx, al
        inc dx
        in al, dx
        and al, 0x7f
        out dx, al
        dec dx
        mov si, crtc
        mov cx, 10
.crtc:  lodsw
        out dx, ax
        loop .crtc
        jmp planes
; A linear mode of the VESA BIOS
vesa:   xor ax, ax
        mov es, ax
        mov dword [seed], 12345
        mov ax, 0x4f01
        mov cx, [mode]
        mov di, 0x5000
        int 0x10
        mov ax, 0x4f02
        mov bx, [mode]
        or bx, 0x4000
        int 0x10
        movzx eax, word [0x5010]        ; bytes a line
        movzx ecx, word [0x5014]        ; lines
        mul ecx
        mov ecx, eax
        shr ecx, 2
        mov edi, [0x5028]
.dword: mov eax, edi
        imul eax, eax, 0x9e3779b1
        mov edx, eax
        shr edx, 15
        xor eax, edx
        mov [fs:edi], eax
        add edi, 4
        dec ecx
        jnz .dword
        ret

modes:  dw 1, text, 3, text, 0x1003, bright, 4, cga, 6, cga, 0x0d, planar, 0x10, planar
        dw 0x12, planar, 0x13, deep, 0x240, modex
        dw 0x101, vesa, 0x110, vesa, 0x111, vesa, 0x112, vesa, 0x142, vesa, 0x118, vesa, 0
crtc:   dw 0x0d06, 0x3e07, 0x4109, 0xea10, 0xac11, 0xdf12, 0x0014, 0xe715, 0x0616, 0xe317
told:   db "mode ", 0
over:   db "over", 10, 0
        align 4
mode:   dw 0
seed:   dd 0
gdt:    dq 0, 0x008f92000000ffff
gdt_pointer: dw 15
        dd gdt
        times 1474560 - ($ - $$) db 0

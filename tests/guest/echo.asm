; Shows what is typed, by the BIOS: on the screen and at port 0xe9. Where the absolute pointer
; (vmmouse) is, "@x,y,buttons" in hexadecimal and a new line at port 0xe9, whenever it tells something.
; With SLOW it takes four keys a second.
; A floppy's first sectors; runs the same on QEMU.

%macro vmware 1                 ; a command of the backdoor; EBX is its argument
        mov eax, 0x564d5868
        mov ecx, %1
        mov edx, 0x5658
        in eax, dx
%endmacro

        org 0x7c00
        bits 16
start:  xor ax, ax
        mov ds, ax
        mov es, ax
        mov ss, ax
        mov sp, 0x7c00
        mov ax, 3
        int 0x10
        mov ebx, 0x45414552     ; on
        vmware 41
        mov ebx, 1
        vmware 39               ; which version it is
        mov ebx, 0x53424152     ; absolute
        vmware 41
        mov si, ready
.say:   lodsb
        test al, al
        jz next
        out 0xe9, al
        jmp .say

next:
%ifdef SLOW                     ; far slower than keys come: the BIOS's buffer would run over
        mov bp, [0x46c]
        add bp, 4
.tick:  cmp bp, [0x46c]
        jne .tick
%endif
        mov ah, 1
        int 0x16
        jz pointer
        xor ah, ah
        int 0x16
        out 0xe9, al
        mov ah, 0x0e
        mov bx, 7
        int 0x10
        cmp al, 13
        jne next
        mov ax, 0x0e0a
        int 0x10
        mov al, 10
        out 0xe9, al
        jmp next

pointer:
        xor ebx, ebx
        vmware 40               ; how many words wait
        cmp ax, 4
        jb .none
        mov ebx, 4
        vmware 39
        push ax
        push cx
        mov cx, bx
        mov al, '@'
        call hex
        pop cx
        mov al, ','
        call hex
        pop cx
        mov al, ','
        call hex
        mov al, 10
        out 0xe9, al
        jmp next
.none:  sti
        hlt                     ; the timer's interrupt, if no other
        jmp next

; AL, then CX
hex:    out 0xe9, al
        mov bl, 4
.digit: rol cx, 4
        mov al, cl
        and al, 15
        add al, '0'
        cmp al, '9'
        jbe .out
        add al, 39
.out:   out 0xe9, al
        dec bl
        jnz .digit
        ret

ready:  db "ready", 10, 0
        times 510 - ($ - $$) db 0
        dw 0xaa55
        times 1474560 - ($ - $$) db 0

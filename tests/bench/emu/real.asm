; The benchmark's work in real mode, a boot sector: a sieve over 64 KiB by way of ES, the same from
; the other end by string instructions, calls, segment registers loaded all the time. What it
; counts lies in a page without code. It tells of itself on the first serial port.
        bits 16
        org 0x7c00
rounds  equ 0x9000
count   equ 0x9002
sieve   equ 0x2000              ; a segment

start:  xor ax, ax
        mov ss, ax
        mov sp, 0x7c00
        mov ds, ax
        cli
        cld
        mov word [rounds], 500
        mov word [count], ax
        xor bp, bp
        mov si, begins
        call puts
again:  mov ax, sieve
        mov es, ax
        xor di, di
        mov cx, 0x8000
        mov ax, 0x0101
        rep stosw
        mov bx, 2
next:   cmp byte [es:bx], 0
        je skip
        inc word [count]
        mov di, bx
        add di, bx
        jc skip
mark:   mov byte [es:di], 0
        add di, bx
        jnc mark
skip:   inc bx
        jnz next
        mov cx, 2000
sums:   push ds
        push es
        pop ds
        mov si, cx
        lodsb
        pop ds
        mov ah, cl
        call mix
        add bp, ax
        loop sums
        dec word [rounds]
        jnz again
        mov si, ends
        call puts
        mov ax, [count]
        add ax, bp
        mov cx, 4
digit:  rol ax, 4
        push ax
        and al, 15
        cmp al, 10
        jb .low
        add al, 'a' - '0' - 10
.low:   add al, '0'
        call putc
        pop ax
        loop digit
        mov si, done
        call puts
        hlt

mix:    push cx
        mov cx, 3
.next:  add ax, cx
        xchg al, ah
        loop .next
        pop cx
        ret
puts:   lodsb
        test al, al
        jz .end
        call putc
        jmp puts
.end:   ret
putc:   push dx
        push ax
        mov dx, 0x3fd
.full:  in al, dx
        test al, 0x20
        jz .full
        pop ax
        mov dx, 0x3f8
        out dx, al
        pop dx
        ret
begins: db 13, 10, "BEGIN real-mode", 13, 10, 0
ends:   db "END real-mode ", 0
done:   db 13, 10, "DONE", 13, 10, 0
        times 510 - ($ - $$) db 0
        dw 0xaa55

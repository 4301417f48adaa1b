; A Multiboot kernel that wants a picture of WIDTH, HEIGHT and DEPTH (KIND 1: text), says at port 0xe9
; what it was given, whether that lies in the card's memory, and ends the machine through port 0xf4.
        bits 32
        org 0x200000
header: dd 0x1badb002
        dd 0x00010007
        dd -(0x1badb002 + 0x00010007)
        dd header, header, 0, stack, start
        dd KIND, WIDTH, HEIGHT, DEPTH
start:  mov esp, stack
        mov ebp, ebx
        mov esi, flags
        call puts
        mov eax, [ebp]
        and eax, 0x1000
        call hex
        mov esi, picture        ; line length, width, height, depth and kind
        call puts
        mov eax, [ebp + 96]
        call hex
        mov eax, [ebp + 100]
        call hex
        mov eax, [ebp + 104]
        call hex
        movzx eax, word [ebp + 108]
        call hex
        cmp byte [ebp + 109], 1
        jne text
        mov eax, [ebp + 112]    ; each colour's place and width
        call hex
        movzx eax, word [ebp + 116]
        call hex
        mov esi, memory
        call puts
        mov ecx, 0x80000008     ; the display card among the first 32 of the bus
.card:  mov eax, ecx
        mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        in eax, dx
        shr eax, 16
        cmp eax, 0x0300
        je .found
        add ecx, 0x800
        cmp ecx, 0x80010008
        jb .card
.found: lea eax, [ecx + 8]      ; its first address
        mov dx, 0xcf8
        out dx, eax
        mov dx, 0xcfc
        in eax, dx
        and al, 0xf0
        sub eax, [ebp + 88]
        call hex
        mov edi, [ebp + 88]     ; what is written at the end of the last line but one stays
        mov eax, [ebp + 104]
        dec eax
        mul dword [ebp + 96]
        mov dword [edi + eax - 4], 0x5aa5c33c
        mov eax, [edi + eax - 4]
        call hex
        jmp end
text:   mov esi, memory
        call puts
        mov eax, [ebp + 88]
        call hex
end:    mov al, 10
        out 0xe9, al
        mov al, 0x10
        out 0xf4, al
        hlt

%include "say.inc"
flags:  db "flags ", 0
picture: db 10, "picture ", 0
memory: db 10, "memory ", 0
        align 4096
        times 4096 db 0
stack:

; A Multiboot kernel that says at port 0xe9 what it was given, and ends the machine through port 0xf4.
; With ELF defined it is put together as an ELF file by ld; else its header has the addresses.
        bits 32
%ifndef ELF
        org 0x200000
%endif
        section .text
        global _start
header: dd 0x1badb002
%ifdef ELF
        dd 0x00000007
        dd -(0x1badb002 + 0x00000007)
        dd 0, 0, 0, 0, 0
%else
        dd 0x00010003
        dd -(0x1badb002 + 0x00010003)
        dd header, header, 0, bss + 4096, _start
%endif
        dd 0, 80, 25, 0
_start: mov esp, bss + 4096
        push ebx
        mov esi, magic
        call puts
        call hex                ; EAX, as it came
        mov esi, newline
        call puts
        pop ebx
        mov esi, flags
        call puts
        mov eax, [ebx]
        and eax, 0x24f          ; the parts that the two emulators both give
        call hex
        mov esi, command
        call puts
        mov esi, [ebx + 16]
.name:  lodsb                   ; without the path before the file's name
        cmp al, ' '
        jne .name
        call puts
        mov esi, modules
        call puts
        mov eax, [ebx + 20]
        call hex
        mov ecx, [ebx + 20]
        mov edi, [ebx + 24]
.module: jecxz .map
        push ecx
        mov esi, string
        call puts
        mov esi, [edi + 8]
.path:  lodsb
        cmp al, ' '
        jne .path
        call puts
        mov esi, content
        call puts
        mov eax, [edi + 4]
        sub eax, [edi]
        call hex
        mov eax, [edi]
        and eax, 0xfff          ; it begins on a page
        call hex
        mov eax, [edi]
        mov eax, [eax]
        call hex
        add edi, 16
        pop ecx
        dec ecx
        jmp .module
.map:   mov esi, memory         ; usable memory: where it begins
        call puts
        mov eax, [ebx + 4]
        call hex
        mov edi, [ebx + 48]
        mov edx, edi
        add edx, [ebx + 44]
.entry: cmp edi, edx
        jae .end
        cmp dword [edi + 20], 1
        jne .other
        mov eax, [edi + 4]
        call hex
.other: add edi, [edi]
        add edi, 4
        jmp .entry
.end:   mov esi, segments
        call puts
        mov eax, cr0
        and eax, 0x80000001
        call hex
        mov eax, [bss]          ; what is not in the file is zero
        call hex
        mov esi, newline
        call puts
        mov al, 0x10
        out 0xf4, al
        hlt

%include "say.inc"
magic:  db "magic ", 0
flags:  db "flags ", 0
command: db 10, "command ", 0
modules: db 10, "modules ", 0
string: db 10, "module ", 0
content: db " length, offset, first ", 0
memory: db 10, "memory ", 0
segments: db 10, "cr0, bss ", 0
newline: db 10, 0
        align 4096
%ifdef ELF
        section .bss
        align 4096
%endif
bss:
%ifdef ELF
        resb 4096
%endif

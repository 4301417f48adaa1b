; AVX and the state it needs, in long mode: who may use it when, alignment, exceptions, what becomes
; of upper halves, gathers and masked moves that fault half way, XSAVE and XRSTOR.
; Run as tests/guest/cpu_system.asm is; a name that ends in ~ is of something QEMU's translator
; leaves out.
%include "start64.inc"

OSXSAVE equ 1 << 18
AREA    equ 0x302000

%macro PRINT 1
        mov rax, %1
        call hex64
%endmacro
; The 256 bits of YMM0.
%macro PRINT_YMM0 0
        vmovups [scratch], ymm0
        mov rax, [scratch + 24]
        call hex64
        mov rax, [scratch + 16]
        call hex64
        mov rax, [scratch + 8]
        call hex64
        mov rax, [scratch]
        call hex64
%endmacro
%macro XSETBV_RAX 1
        xor ecx, ecx
        xor edx, edx
        mov eax, %1
        xsetbv
%endmacro
%macro EDX_EAX 1
        xor edx, edx
        mov eax, %1
%endmacro

main:
        ; ---- who may
        TEST "avx without osxsave"
        vaddps xmm0, xmm0, xmm0
        DONE
        TEST "bmi without osxsave"
        andn eax, ebx, ecx
        blsr ecx, edx
        DONE
        TEST "xgetbv without osxsave"
        xor ecx, ecx
        xgetbv
        DONE
        TEST "xsave without osxsave"
        EDX_EAX 3
        xsave [AREA]
        DONE
        TEST "osxsave in cpuid"
        CR4_ON OSXSAVE
        mov eax, 1
        cpuid
        shr ecx, 27
        and ecx, 1
        PRINT rcx
        DONE
        TEST "xcr0 after reset"
        xor ecx, ecx
        xgetbv
        call hex64
        DONE
        TEST "avx without xcr0"
        vaddps xmm0, xmm0, xmm0
        DONE
        TEST "xsetbv without x87"
        XSETBV_RAX 6
        DONE
        TEST "xsetbv ymm without sse"
        XSETBV_RAX 5
        DONE
        TEST "xsetbv unknown bit"
        xor ecx, ecx
        mov edx, 1 << 30
        mov eax, 7
        xsetbv
        DONE
        TEST "xsetbv 1"
        mov ecx, 1
        xor edx, edx
        mov eax, 7
        xsetbv
        DONE
        TEST "xsetbv sse only, avx"
        XSETBV_RAX 3
        vaddps xmm0, xmm0, xmm0
        DONE
        TEST "xsetbv"
        XSETBV_RAX 7
        xor ecx, ecx
        xgetbv
        call hex64
        DONE
        USER "level 3 xsetbv", user_xsetbv, user_xsetbv_end
        USER "level 3 avx", user_avx, user_avx_end
        TEST "avx"
        vaddps ymm0, ymm1, ymm2
        DONE
        TEST "avx with ts"
        mov rax, cr0
        or al, 8
        mov cr0, rax
        vaddps ymm0, ymm1, ymm2
        DONE
        TEST "bmi with ts"
        andn eax, ebx, ecx
        DONE
        TEST "xsave with ts ~"
        EDX_EAX 7
        xsave [AREA]
        DONE
        TEST "xrstor with ts ~"
        xrstor [AREA]
        DONE
        TEST "xgetbv with ts"
        clts
        mov rax, cr0
        or al, 8
        mov cr0, rax
        xor ecx, ecx
        xgetbv
        call hex64
        DONE
        clts
        TEST "avx with em ~"
        mov rax, cr0
        or al, 4
        mov cr0, rax
        vaddps ymm0, ymm1, ymm2
        DONE
        TEST "sse with em"
        addps xmm0, xmm1
        DONE
        mov rax, cr0
        and al, ~4
        mov cr0, rax
        TEST "monitor is hidden ~"
        mov eax, DATA
        xor ecx, ecx
        xor edx, edx
        monitor
        DONE

        ; ---- encodings
        TEST "lock"
        db 0xf0, 0xc5, 0xf8, 0x58, 0xc0
        DONE
        TEST "66"
        db 0x66, 0xc5, 0xf8, 0x58, 0xc0
        DONE
        TEST "f2"
        db 0xf2, 0xc5, 0xf8, 0x58, 0xc0
        DONE
        TEST "rex"
        db 0x40, 0xc5, 0xf8, 0x58, 0xc0
        DONE
        TEST "vvvv where there is none"
        db 0xc5, 0xf0, 0x10, 0xc0
        DONE
        TEST "256 bits where there are none ~"
        db 0xc5, 0xfd, 0x6e, 0xc0
        DONE
        TEST "gather into its mask"
        db 0xc4, 0xe2, 0x7d, 0x90, 0x04, 0x08
        DONE

        ; ---- alignment
        TEST "vmovaps xmm by 16"
        vmovaps xmm0, [DATA + 16]
        DONE
        TEST "vmovaps xmm by 8 ~"
        vmovaps xmm0, [DATA + 8]
        DONE
        TEST "vmovaps ymm by 32"
        vmovaps ymm0, [DATA + 32]
        DONE
        TEST "vmovaps ymm by 16 ~"
        vmovaps ymm0, [DATA + 16]
        DONE
        TEST "vmovaps store by 16 ~"
        vmovaps [DATA + 16], ymm0
        DONE
        TEST "vmovntdq by 16 ~"
        vmovntdq [DATA + 16], ymm0
        DONE
        TEST "vmovntdqa by 16 ~"
        vmovntdqa ymm0, [DATA + 16]
        DONE
        TEST "the others by 1"
        vmovups ymm0, [DATA + 1]
        vaddps ymm0, ymm0, [DATA + 1]
        vpxor xmm0, xmm0, [DATA + 1]
        vpshufd xmm0, [DATA + 1], 3
        DONE
        TEST "cmpxchg16b by 8"
        cmpxchg16b [DATA + 8]
        DONE
        TEST "cmpxchg16b by 16"
        mov qword [DATA + 16], 5
        mov qword [DATA + 24], 6
        mov eax, 5
        mov edx, 6
        mov ebx, 7
        mov ecx, 8
        lock cmpxchg16b [DATA + 16]
        setz al
        movzx eax, al
        call hex64
        PRINT [DATA + 16]
        PRINT [DATA + 24]
        cmpxchg16b [DATA + 16]
        PRINT rdx
        DONE

        ; ---- exceptions of the arithmetic
        TEST "masked division by zero"
        mov dword [scratch], 0x1f80
        ldmxcsr [scratch]
        vmovups ymm1, [ones]
        vxorps ymm2, ymm2, ymm2
        vdivps ymm0, ymm1, ymm2
        vstmxcsr [scratch]
        mov eax, [scratch]
        call hex64
        DONE
        TEST "unmasked division by zero ~"
        mov dword [scratch], 0x1d80
        vldmxcsr [scratch]
        vmovups ymm0, [ones]
        vdivps ymm0, ymm1, ymm2
        DONE
        TEST "its destination and flags ~"
        vstmxcsr [scratch]
        mov eax, [scratch]
        call hex64
        PRINT_YMM0
        DONE
        TEST "the same without osxmmexcpt ~"
        CR4_OFF 0x400
        vdivps ymm0, ymm1, ymm2
        DONE
        CR4_ON 0x400
        TEST "mxcsr reserved bit ~"
        mov dword [scratch], 0x11f80
        vldmxcsr [scratch]
        DONE
        mov dword [scratch], 0x1f80
        vldmxcsr [scratch]

        ; ---- upper halves
        TEST "legacy sse keeps them"
        vmovups ymm0, [ones]
        xorps xmm0, xmm0
        PRINT_YMM0
        DONE
        TEST "vex clears them"
        vmovups ymm0, [ones]
        vmovaps xmm0, xmm0
        PRINT_YMM0
        DONE
        TEST "vmovss from memory"
        vmovups ymm0, [ones]
        vmovss xmm0, [ones]
        PRINT_YMM0
        DONE
        TEST "legacy movss from memory"
        vmovups ymm0, [ones]
        movss xmm0, [ones]
        PRINT_YMM0
        DONE
        TEST "vzeroupper"
        vmovups ymm0, [ones]
        vzeroupper
        PRINT_YMM0
        DONE
        TEST "vzeroall"
        vmovups ymm0, [ones]
        vzeroall
        PRINT_YMM0
        DONE
        TEST "a loop of both"
        vmovups ymm0, [ones]
        mov ecx, 1000
.both:  addps xmm0, xmm0
        vpaddd ymm1, ymm1, ymm0
        loop .both
        PRINT_YMM0
        DONE

        ; ---- faults half way
        SET_PTE DATA_PTE + 8, 0
        invlpg [DATA + 0x1000]
        TEST "a gather meets a page that is not there"
        vmovups ymm1, [indices]
        vpcmpeqd ymm2, ymm2, ymm2
        vpxor ymm0, ymm0, ymm0
        mov dword [DATA + 0xff0], 0x11
        mov dword [DATA + 0xff4], 0x22
        mov dword [DATA + 0xff8], 0x33
        mov dword [DATA + 0xffc], 0x44
        mov ebx, DATA + 0xff0
        vpgatherdd ymm0, [rbx + ymm1 * 4], ymm2
        DONE
        TEST "what it has done"
        PRINT_YMM0
        vmovaps ymm0, ymm2
        PRINT_YMM0
        DONE
        TEST "a gather of what is masked"
        vmovups ymm2, [low_mask]
        vpxor ymm0, ymm0, ymm0
        mov ebx, DATA + 0xff0
        vpgatherdd ymm0, [rbx + ymm1 * 4], ymm2
        PRINT_YMM0
        vmovaps ymm0, ymm2
        PRINT_YMM0
        DONE
        TEST "a masked load ~"
        vmovups ymm2, [low_mask]
        vpmaskmovd ymm0, ymm2, [DATA + 0xff0]
        PRINT_YMM0
        DONE
        TEST "a masked load that faults"
        vmovups ymm2, [ones]
        vpcmpeqd ymm2, ymm2, ymm2
        vmaskmovps ymm0, ymm2, [DATA + 0xff0]
        DONE
        TEST "a masked store"
        vmovups ymm2, [low_mask]
        vmovups ymm0, [indices]
        vmaskmovps [DATA + 0xff0], ymm2, ymm0
        PRINT [DATA + 0xff0]
        PRINT [DATA + 0xff8]
        DONE
        TEST "a masked store that faults"
        vpcmpeqd ymm2, ymm2, ymm2
        vmovups ymm0, [ones]
        vmaskmovps [DATA + 0xff0], ymm2, ymm0
        DONE
        TEST "what it has stored ~"
        PRINT [DATA + 0xff0]
        PRINT [DATA + 0xff8]
        DONE
        SET_PTE DATA_PTE + 8, DATA + 0x1007
        invlpg [DATA + 0x1000]

        ; ---- xsave and xrstor
        TEST "xsave misaligned"
        EDX_EAX 7
        xsave [AREA + 32]
        DONE
        TEST "xsave"
        call clear_area
        fninit
        vmovups ymm0, [ones]
        mov qword [AREA + 512], 0
        EDX_EAX 6
        xsave [AREA]
        PRINT [AREA + 512]
        PRINT [AREA + 520]
        PRINT [AREA + 160]
        PRINT [AREA + 576]
        DONE
        TEST "xrstor"
        vzeroall
        EDX_EAX 6
        xrstor [AREA]
        PRINT_YMM0
        DONE
        TEST "xrstor of the lower half"
        vzeroall
        EDX_EAX 2
        xrstor [AREA]
        PRINT_YMM0
        DONE
        TEST "xrstor to the initial state"
        mov qword [AREA + 512], 0
        vmovups ymm0, [ones]
        EDX_EAX 4
        xrstor [AREA]
        PRINT_YMM0
        EDX_EAX 2
        xrstor [AREA]
        PRINT_YMM0
        DONE
        TEST "xrstor misaligned"
        xrstor [AREA + 16]
        DONE
        TEST "xrstor of what xcr0 has not"
        mov qword [AREA + 512], 8
        EDX_EAX 7
        xrstor [AREA]
        DONE
        TEST "xrstor with a header that is not zero"
        mov qword [AREA + 512], 7
        mov qword [AREA + 528], 1
        xrstor [AREA]
        DONE
        TEST "xrstor of a wrong mxcsr ~"
        mov qword [AREA + 528], 0
        mov dword [AREA + 24], 0x10000
        EDX_EAX 2
        xrstor [AREA]
        DONE
        TEST "xrstor that leaves mxcsr"
        EDX_EAX 1
        xrstor [AREA]
        DONE
        TEST "xsavec ~"
        call clear_area
        vmovups ymm0, [ones]
        vzeroupper
        EDX_EAX 6
        xsavec [AREA]
        PRINT [AREA + 512]
        PRINT [AREA + 520]
        PRINT [AREA + 160]
        DONE
        TEST "xrstor of the compact form ~"
        vmovups ymm0, [ones]
        EDX_EAX 6
        xrstor [AREA]
        PRINT_YMM0
        DONE
        TEST "a compact form that is wrong ~"
        mov qword [AREA + 512], 7
        xrstor [AREA]
        DONE
        TEST "xgetbv 1 ~"
        vzeroall
        mov ecx, 1
        xgetbv
        and eax, 4
        call hex64
        vmovups ymm0, [ones]
        mov ecx, 1
        xgetbv
        and eax, 6
        call hex64
        DONE
        TEST "xgetbv 2"
        mov ecx, 2
        xgetbv
        DONE

        ; ---- random numbers
        TEST "rdrand"
        rdrand rbx
        jnc .none
        rdrand rcx
        jnc .none
        cmp rbx, rcx
        je .none
        DONE
        TEST "rdseed of 16 bits"
        mov rax, 0x1234567800000000
        mov ecx, 1000
.again: rdseed ax
        jc .seeded
        loop .again
        jmp .none
.seeded: pushfq
        pop rbx
        and ebx, 0x8d5
        shr rax, 16
        call hex64
        PRINT rbx
        DONE
        TEST "rdpid ~"
        mov ecx, 0xc0000103
        mov eax, 0x4d
        xor edx, edx
        wrmsr
        mov rax, -1
        rdpid rax
        call hex64
        DONE
.none:
        POWER_OFF

clear_area:
        mov edi, AREA
        mov ecx, 832 / 4
        xor eax, eax
        rep stosd
        mov dword [AREA + 24], 0x1f80
        ret

user_xsetbv:
        xor ecx, ecx
        xor edx, edx
        mov eax, 7
        xsetbv
user_xsetbv_end:
user_avx:
        vaddps ymm0, ymm1, ymm2
        int 0x30
user_avx_end:

gate_target:                                     ; of start64.inc's call gate, not called here
        retf

        align 32
ones:   times 8 dd 0x3f800000
indices: dd 0, 1, 2, 3, 4, 5, 6, 7
low_mask: dd -1, -1, -1, -1, 0, 0, 0, 0
scratch: times 8 dd 0
END_OF_ROM

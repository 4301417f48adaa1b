; Paging and what protects the supervisor, in long mode: SMEP, SMAP, UMIP, PCID, global pages, NX,
; reserved bits, accessed and dirty bits, control register checks, call gates, double faults.
; Run as tests/guest/cpu_system.asm is; a name that ends in ~ is of something QEMU's translator
; leaves out.
%define CALL_GATE gate_target
%include "start64.inc"

SMEP    equ 1 << 20
SMAP    equ 1 << 21
UMIP    equ 1 << 11
PCIDE   equ 1 << 17
PGE     equ 1 << 7

main:
        ; ---- SMEP and SMAP
        mov byte [UCODE], 0xc3
        TEST "without smep"
        mov eax, UCODE
        call rax
        DONE
        CR4_ON SMEP
        TEST "smep"
        mov eax, UCODE
        call rax
        DONE
        SET_PTE DATA_PTE, DATA + 3
        mov byte [DATA], 0xc3
        TEST "smep, supervisor page"
        mov eax, DATA
        call rax
        DONE
        CR4_OFF SMEP
        SET_PTE DATA_PTE, DATA + 7
        CR4_ON SMAP
        TEST "smap read"
        clac
        mov eax, [DATA + 8]
        DONE
        TEST "smap write"
        mov [DATA + 8], eax
        DONE
        TEST "smap with ac"
        stac
        mov eax, [DATA]
        mov [DATA + 1], eax
        clac
        DONE
        TEST "smap crossing into a user page"
        mov eax, [0x1ffffe]
        DONE
        TEST "smap, ac by popf"
        pushfq
        or dword [rsp], 0x40000
        popfq
        mov eax, [DATA]
        push 2
        popfq
        mov eax, [DATA]
        DONE
        USER "level 3 reads its page", user_read, user_read_end
        USER "level 3 stac", user_stac, user_stac_end
        CR4_OFF SMAP
        USER "level 3 supervisor page", user_low, user_low_end

        ; ---- UMIP
        USER "sgdt without umip", user_sgdt, user_sgdt_end
        CR4_ON UMIP
        USER "umip sgdt", user_sgdt, user_sgdt_end
        USER "umip sidt", user_sidt, user_sidt_end
        USER "umip sldt", user_sldt, user_sldt_end
        USER "umip str", user_str, user_str_end
        USER "umip smsw", user_smsw, user_smsw_end
        TEST "umip, level 0"
        smsw eax
        sgdt [saved_gdtr]
        DONE
        CR4_OFF UMIP

        ; ---- PCID, where there is one; and what QEMU ends at
        mov eax, 1
        cpuid
        bt ecx, 17
        jnc no_pcid
        TEST "cr3 bit 63 without pcid ~"
        mov rax, cr3
        bts rax, 63
        mov cr3, rax
        DONE
        TEST "pcid with one in cr3 ~"
        mov rax, cr3
        or eax, 1
        mov cr3, rax
        CR4_ON PCIDE
        DONE
        mov eax, PAGES
        mov cr3, rax
        TEST "invpcid of another pcid without pcid ~"
        mov eax, 1
        invpcid rax, [pcid_one]
        DONE
        CR4_ON PCIDE
        TEST "cr3 bit 63 ~"
        mov rax, PAGES + 5
        bts rax, 63
        mov cr3, rax
        mov rax, cr3
        call hex64
        DONE
        TEST "clearing pg with pcid ~"
        mov rax, cr0
        btr eax, 31
        mov cr0, rax
        DONE
        TEST "cr3 load drops ~"
        mov eax, [DATA]
        mov dword [0x301000], 0x1111
        mov qword [DATA_PTE], 0x301007
        mov rax, cr3
        mov cr3, rax
        mov eax, [DATA]
        call hex64
        DONE
%macro INVPCID_TEST 3
        TEST %1
        mov eax, [DATA]
        mov dword [%2], %2
        mov qword [DATA_PTE], %2 + 7
        mov eax, %3
        invpcid rax, [pcid_five]
        mov eax, [DATA]
        call hex64
        DONE
%endmacro
        INVPCID_TEST "invpcid address ~", 0x302000, 0
        INVPCID_TEST "invpcid context ~", 0x303000, 1
        INVPCID_TEST "invpcid all ~", 0x304000, 2
        INVPCID_TEST "invpcid all but global ~", 0x305000, 3
        TEST "invpcid type 4 ~"
        mov eax, 4
        invpcid rax, [pcid_five]
        DONE
        TEST "invpcid reserved bits ~"
        xor eax, eax
        invpcid rax, [pcid_bad]
        DONE
        TEST "invpcid non-canonical ~"
        xor eax, eax
        invpcid rax, [pcid_far]
        DONE
        USER "level 3 invpcid ~", user_invpcid, user_invpcid_end
        mov eax, PAGES
        mov cr3, rax
        CR4_OFF PCIDE
        TEST "cr3 beyond the address ~"
        mov rax, cr3
        bts rax, 50
        mov cr3, rax
        DONE
        TEST "cr0 pg without pe ~"
        mov rax, cr0
        btr eax, 0
        mov cr0, rax
        DONE
        TEST "cr0 nw without cd ~"
        mov rax, cr0
        btr eax, 30
        bts eax, 29
        mov cr0, rax
        DONE
        TEST "cr0 upper half ~"
        mov rax, cr0
        bts rax, 32
        mov cr0, rax
        DONE
        TEST "cr4 without pae ~"
        CR4_OFF 0x20
        DONE
        TEST "cr4 reserved ~"
        CR4_ON 0x80000000
        DONE
        TEST "efer reserved ~"
        mov ecx, 0xc0000080
        rdmsr
        or eax, 0x200
        wrmsr
        DONE
        TEST "efer lme with paging ~"
        mov ecx, 0xc0000080
        rdmsr
        btr eax, 8
        wrmsr
        DONE
        TEST "cr8 ~"
        mov eax, 5
        mov cr8, rax
        mov rax, cr8
        call hex64
        xor eax, eax
        mov cr8, rax
        mov eax, 16
        mov cr8, rax
        DONE
        TEST "dr7 upper half ~"
        mov rax, 1 << 32
        mov dr7, rax
        DONE
no_pcid:

        ; ---- global pages: a change of CR4.PGE drops them
        mov dword [0x302000], 0x2222
        mov dword [0x303000], 0x3333
        mov dword [0x304000], 0x4444
        CR4_ON PGE
        TEST "global page"
        SET_PTE DATA_PTE, 0x302107
        mov eax, [DATA]
        mov qword [DATA_PTE], 0x303107
        CR4_OFF PGE
        mov eax, [DATA]
        call hex64
        CR4_ON PGE
        SET_PTE DATA_PTE, 0x304107
        mov eax, [DATA]
        call hex64
        DONE
        CR4_OFF PGE

        ; ---- NX, reserved bits, accessed and dirty
        TEST "nx in the directory"
        mov rax, [PDE + 8]
        bts rax, 63
        mov [PDE + 8], rax
        mov rax, cr3
        mov cr3, rax
        mov byte [DATA], 0xc3
        mov eax, DATA
        call rax
        DONE
        TEST "nx bit without nxe ~"
        mov ecx, 0xc0000080
        rdmsr
        btr eax, 11
        wrmsr
        mov rax, cr3
        mov cr3, rax
        mov eax, [DATA]
        DONE
        mov ecx, 0xc0000080
        rdmsr
        bts eax, 11
        wrmsr
        btr qword [PDE + 8], 63
        mov rax, cr3
        mov cr3, rax
        TEST "large entry in the pml4 ~"
        mov qword [PAGES + 8], PAGES + 0x1087
        mov rax, 0x8000000000
        mov eax, [rax]
        DONE
        mov qword [PAGES + 8], 0
        TEST "misplaced large page ~"
        mov qword [PDE + 16], 0x402083
        mov eax, [0x400000]
        DONE
        mov qword [PDE + 16], 0x400083
        TEST "large page"
        mov eax, [0x400000]
        mov rax, [PDE + 16]
        call hex64
        mov [0x400000], eax
        mov rax, [PDE + 16]
        call hex64
        DONE
        TEST "1 GiB page"
        mov qword [PAGES + 0x1008], 0x83
        mov rax, [0x40000000 + PDE + 16]
        call hex64
        mov rax, [PAGES + 0x1008]
        call hex64
        DONE
        TEST "misplaced 1 GiB page ~"
        mov qword [PAGES + 0x1008], 0x200083
        invlpg [0x40000000]
        mov eax, [0x40000000]
        DONE
        mov qword [PAGES + 0x1008], 0
        TEST "fetching sets accessed only"
        SET_PTE DATA_PTE, DATA + 3
        mov eax, DATA
        call rax
        mov rax, [DATA_PTE]
        call hex64
        DONE
        TEST "read-only at the directory"
        and qword [PDE + 8], ~2
        SET_PTE DATA_PTE, DATA + 7
        mov eax, [DATA]
        mov [DATA], eax
        DONE
        or qword [PDE + 8], 2

        ; ---- what control registers refuse
        TEST "cr1"
        db 0x0f, 0x20, 0xc8
        DONE

        ; ---- alignment checks, for level 3 only
        mov rax, cr0
        bts eax, 18
        mov cr0, rax
        mov qword [user_flags], 0x40000
        USER "aligned", user_aligned, user_aligned_end
        USER "unaligned read ~", user_unaligned, user_unaligned_end
        USER "unaligned write ~", user_unaligned_write, user_unaligned_write_end
        USER "unaligned push ~", user_unaligned_push, user_unaligned_push_end
        USER "unaligned exchange ~", user_unaligned_xchg, user_unaligned_xchg_end
        USER "unaligned string ~", user_unaligned_string, user_unaligned_string_end
        USER "page fault before alignment ~", user_unaligned_low, user_unaligned_low_end
        mov qword [user_flags], 0
        USER "unaligned without ac", user_unaligned, user_unaligned_end
        TEST "unaligned at level 0"
        push 0x40002
        popfq
        mov eax, [STACK - 0x101]
        push 2
        popfq
        DONE

        ; ---- gates and double faults
        USER "call gate", user_gate, user_gate_end
        TEST "page fault without a handler"
        mov byte [idt + 14 * 16 + 5], 0x0e
        mov eax, [0x600000]
        DONE
        mov byte [idt + 14 * 16 + 5], 0x8e
        TEST "general protection without a handler"
        mov byte [idt + 13 * 16 + 5], 0x0e
        mov rax, 1 << 63
        mov eax, [rax]
        DONE
        mov byte [idt + 13 * 16 + 5], 0x8e
        TEST "undefined without a handler ~"
        mov byte [idt + 6 * 16 + 5], 0x0e
        ud2
        DONE
        mov byte [idt + 6 * 16 + 5], 0x8e
        TEST "page fault in the delivery of undefined"
        mov qword [tss + 44], 0x700000
        mov byte [idt + 6 * 16 + 4], 2
        ud2
        DONE
        mov byte [idt + 6 * 16 + 4], 0
        TEST "page fault in the delivery of a page fault"
        mov byte [idt + 14 * 16 + 4], 2
        mov eax, [0x600000]
        DONE
        mov byte [idt + 14 * 16 + 4], 0
        POWER_OFF

gate_target:
        mov rax, cs
        call hex64
        mov eax, ss
        call hex64
        mov rax, rsp
        call hex64
        mov rax, [rsp + 8]
        call hex64
        mov rax, [rsp + 16]
        call hex64
        mov rax, [rsp + 24]
        call hex64
        retfq

%macro LEVEL3 1+
        %1
        int 0x30
%endmacro
user_read:
        mov eax, [DATA]
        int 0x30
user_read_end:
user_stac:
        stac
        int 0x30
user_stac_end:
user_low:
        mov eax, [STACK]
        int 0x30
user_low_end:
user_sgdt:
        sgdt [DATA + 0x200]
        int 0x30
user_sgdt_end:
user_sidt:
        sidt [DATA + 0x200]
        int 0x30
user_sidt_end:
user_sldt:
        sldt eax
        int 0x30
user_sldt_end:
user_str:
        str eax
        int 0x30
user_str_end:
user_smsw:
        smsw eax
        int 0x30
user_smsw_end:
user_invpcid:
        xor eax, eax
        invpcid rax, [DATA]
        int 0x30
user_invpcid_end:
user_aligned:
        mov eax, [DATA + 4]
        mov rax, [DATA + 8]
        mov ax, [DATA + 2]
        movups xmm0, [DATA + 8]
        int 0x30
user_aligned_end:
user_unaligned:
        mov eax, [DATA + 2]
        int 0x30
user_unaligned_end:
user_unaligned_write:
        mov [DATA + 4], rax
        int 0x30
user_unaligned_write_end:
user_unaligned_push:
        sub rsp, 4
        push rax
        int 0x30
user_unaligned_push_end:
user_unaligned_xchg:
        mov edi, DATA
        lock xadd [rdi + 1], ax
        int 0x30
user_unaligned_xchg_end:
user_unaligned_string:
        mov esi, DATA + 4
        mov edi, DATA + 0x101
        mov ecx, 4
        rep movsw
        int 0x30
user_unaligned_string_end:
user_unaligned_low:
        mov eax, [STACK + 1]
        int 0x30
user_unaligned_low_end:
user_gate:
        db 0xff, 0x1c, 0x25                      ; call far [.target]
        dd UCODE + .target - user_gate
        int 0x30
.target: dd 0
        dw 0x53
user_gate_end:

        align 16
saved_gdtr: dq 0, 0
pcid_one:   dq 1, DATA
pcid_five:  dq 5, DATA
pcid_bad:   dq 0x1005, DATA
pcid_far:   dq 5, 1 << 62
        END_OF_ROM

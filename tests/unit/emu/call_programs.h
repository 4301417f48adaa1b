/*
 * Pieces of random programs that call and return, as compilers have it and as nobody does. For
 * test_jit_fuzz.c, whose names are used here.
 */
#pragma once

/* A jump or call forward, whose target is where land() is called. */
static unsigned forward(struct program *p, unsigned opcode)
{
    byte(p, opcode);
    word(p, 0);
    return p->at - 4;
}
static void land(struct program *p, unsigned hole)
{
    uint32_t over = p->at - hole - 4;
    memcpy(p->bytes + hole, &over, 4);
}
static void call(struct program *p, unsigned target)
{
    byte(p, 0xe8);
    word(p, target - p->at - 4);
}

/* MOV EAX, the address that address_is() fills in. */
static unsigned load_address(struct program *p)
{
    byte(p, 0xb8);
    word(p, 0);
    return p->at - 4;
}
static void address_is(struct program *p, unsigned place, unsigned at)
{
    uint32_t address = CODE + at;
    memcpy(p->bytes + place, &address, 4);
}

/* Calls itself once or twice, often deeper than predictions reach; with an argument that RET
 * takes off the stack. */
static void recursive(struct program *p)
{
    bool argument = any(3) == 0, twice = any(2);
    rex(p, 0x49); /* MOV R13 or EBP, count */
    byte(p, 0xc7);
    byte(p, 0xc5);
    word(p, 1 + any(any(3) ? 20 : 700));
    if (argument)
        byte(p, 0x51); /* PUSH RCX */
    unsigned first = forward(p, 0xe8), over = forward(p, 0xe9);
    land(p, first);
    unsigned start = p->at;
    instruction(p);
    rex(p, 0x49); /* DEC R13; JLE */
    byte(p, 0xff);
    byte(p, 0xcd);
    jump(p, 14, 0);
    unsigned end = p->at - 4;
    for (int i = 0; i <= twice; i++) {
        if (argument)
            byte(p, 0x51);
        call(p, start);
        instruction(p);
    }
    land(p, end);
    byte(p, argument ? 0xc2 : 0xc3);
    if (argument) {
        byte(p, narrow ? 4 : 8);
        byte(p, 0);
    }
    land(p, over);
}

/* The function called goes elsewhere by its RET, as retpolines do: there a RET is missing, or one
 * is too many. */
static void return_elsewhere(struct program *p)
{
    unsigned first = forward(p, 0xe8);
    instruction(p); /* not reached */
    unsigned over = forward(p, 0xe9);
    land(p, first);
    instruction(p);
    bool pushes = any(2);
    unsigned elsewhere = load_address(p);
    if (pushes) {
        byte(p, 0x50); /* PUSH RAX */
    } else {
        rex(p, 0x48); /* MOV [RSP], RAX */
        byte(p, 0x89);
        byte(p, 0x04);
        byte(p, 0x24);
    }
    byte(p, 0xc3);
    address_is(p, elsewhere, p->at);
    if (pushes)
        byte(p, 0x58); /* what the CALL pushed */
    instruction(p);
    land(p, over);
}

/* Two calls deep, the inner function returns to where the outer was called from. */
static void return_past(struct program *p)
{
    unsigned outer = forward(p, 0xe8);
    instruction(p);
    unsigned over = forward(p, 0xe9);
    land(p, outer);
    unsigned inner = forward(p, 0xe8);
    instruction(p); /* not reached */
    byte(p, 0xc3);
    land(p, inner);
    instruction(p);
    rex(p, 0x48); /* ADD RSP, 8 or 4 */
    byte(p, 0x83);
    byte(p, 0xc4);
    byte(p, narrow ? 4 : 8);
    byte(p, 0xc3);
    land(p, over);
}

/* Thrice: the function called changes what stands behind the call, ADD EAX, imm. */
static void return_into_changed(struct program *p)
{
    rex(p, 0x49); /* MOV R13 or EBP, 3 */
    byte(p, 0xc7);
    byte(p, 0xc5);
    word(p, 3);
    unsigned again = p->at, first = forward(p, 0xe8);
    byte(p, 0x05);
    word(p, 0);
    unsigned changed = p->at - 4;
    rex(p, 0x49); /* DEC R13; JNZ */
    byte(p, 0xff);
    byte(p, 0xcd);
    jump(p, 5, again);
    unsigned over = forward(p, 0xe9);
    land(p, first);
    instruction(p);
    byte(p, 0x81); /* ADD dword [changed], imm */
    byte(p, 0x05);
    word(p, narrow ? CODE + changed : changed - (p->at + 8));
    word(p, any(UINT32_MAX));
    byte(p, 0xc3);
    land(p, over);
}

/* By a register; and back by a far RET, half the time. */
static void call_indirect(struct program *p)
{
    unsigned address = load_address(p);
    bool far = any(2);
    if (far) { /* PUSH CS's selector in front of what CALL pushes; 32-bit code keeps its own */
        byte(p, 0x6a);
        byte(p, narrow ? 0x08 : 0x20);
    }
    byte(p, 0xff); /* CALL RAX */
    byte(p, 0xd0);
    unsigned over = forward(p, 0xe9);
    address_is(p, address, p->at);
    instruction(p);
    if (far)
        rex(p, 0x48);
    byte(p, far ? 0xcb : 0xc3);
    land(p, over);
}

/* CALL of the next instruction, which POPs: where am I? */
static void call_next(struct program *p)
{
    call(p, p->at + 5);
    byte(p, 0x58);
}

static void calls(struct program *p)
{
    static void (*const kinds[])(struct program *) = {recursive, return_elsewhere,    return_past,
                                                      recursive, return_into_changed, call_indirect,
                                                      call_next};
    int moved = p->moved;
    p->moved = 10000; /* nothing adds up */
    kinds[any(G_N_ELEMENTS(kinds))](p);
    p->moved = moved;
}

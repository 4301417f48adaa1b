/* Branches, and loops that move their pointers, in test_jit_fuzz.c's programs. */
#pragma once

static void jump_over(struct program *p, unsigned count)
{
    jump(p, any(16), p->at + 6);
    unsigned hole = p->at - 4, begin = p->at;
    for (unsigned i = 0; i < count; i++)
        instruction(p);
    uint32_t over = p->at - begin;
    memcpy(p->bytes + hole, &over, 4);
}

/* ADD, SUB or LEA. */
static void move_register(struct program *p, unsigned reg, int32_t by)
{
    unsigned how = any(3);
    rex(p, 0x48 | (reg & 8 ? (how == 2 ? 5 : 1) : 0));
    if (how == 2) {
        byte(p, 0x8d);
        byte(p, 0x80 | (reg & 7) << 3 | (reg & 7));
        word(p, (uint32_t)by);
        return;
    }
    byte(p, 0x81);
    byte(p, (how ? 0xe8 : 0xc0) | (reg & 7));
    word(p, (uint32_t)(how ? -by : by));
}

/* A loop that moves one or two of the base registers, with branches in it; then they move back. */
static void walk(struct program *p)
{
    unsigned turns = 1 + any(40), count = 1 + any(8), moving = any(3);
    unsigned reg[2] = {any_base(), any_base()};
    int32_t by[2] = {(int32_t)any(200) - 100, 8 << any(4)};
    int moved = p->moved;
    p->moved = 10000;
    rex(p, 0x49); /* MOV R13 or EBP, count */
    byte(p, 0xc7);
    byte(p, 0xc5);
    word(p, turns);
    unsigned head = p->at, first = any(count), second = any(count);
    for (unsigned i = 0; i < count; i++) {
        if (any(4) == 0)
            jump_over(p, 1 + any(3));
        instruction(p);
        if (i == first && moving > 0)
            move_register(p, reg[0], by[0]);
        if (i == second && moving > 1)
            move_register(p, reg[1], by[1]);
    }
    rex(p, 0x49); /* DEC R13, or SUB R13, 1 */
    byte(p, any(2) ? 0xff : 0x83);
    bool dec = p->bytes[p->at - 1] == 0xff;
    byte(p, dec ? 0xcd : 0xed);
    if (!dec)
        byte(p, 1);
    jump(p, 5, head);
    for (unsigned i = 0; i < moving; i++)
        move_register(p, reg[i], -by[i] * (int32_t)turns);
    p->moved = moved;
}

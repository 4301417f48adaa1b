/*
 * x87, SSE and AVX registers: struct cpu_state against the XSAVE area (SDM volume 1, 13.4). The
 * kernel gives and takes the standard form, each component where CPUID leaf 0xd puts it.
 *
 * The area is of the 64-bit form, which has whole instruction and data pointers and no selectors.
 */
#include "emu/kvm/kvm.h"

#include <cpuid.h>
#include <string.h>
#include <sys/ioctl.h>

#define XSAVE_MXCSR      24
#define XSAVE_ST         32
#define XSAVE_XMM        160
#define XSAVE_COMPONENTS 512
#define COMPONENT_X87    UINT64_C(1)
#define COMPONENT_SSE    UINT64_C(2)
#define COMPONENT_AVX    UINT64_C(4)

/* Where YMM registers' upper halves are; 0 where the host has none. */
static unsigned avx_offset(void)
{
    unsigned size, offset, c, d;
    if (!__get_cpuid_count(0xd, 2, &size, &offset, &c, &d) || size != 256 ||
        offset + 256 > sizeof(struct kvm_xsave))
        return 0;
    return offset;
}

static void put_x87(const struct fpu_state *f, uint8_t *area)
{
    unsigned top = f->status >> 11 & 7;
    memcpy(area, &f->control, 2);
    memcpy(area + 2, &f->status, 2);
    area[4] = f->valid;
    memcpy(area + 6, &f->opcode, 2);
    memcpy(area + 8, &f->ip, 8);
    memcpy(area + 16, &f->dp, 8);
    for (unsigned i = 0; i < 8; i++)
        memcpy(area + XSAVE_ST + 16 * i, f->reg[(top + i) & 7], 10);
}

static void get_x87(struct fpu_state *f, const uint8_t *area)
{
    memcpy(&f->control, area, 2);
    memcpy(&f->status, area + 2, 2);
    f->valid = area[4];
    memcpy(&f->opcode, area + 6, 2);
    memcpy(&f->ip, area + 8, 8);
    memcpy(&f->dp, area + 16, 8);
    f->ip_selector = f->dp_selector = 0;
    unsigned top = f->status >> 11 & 7;
    for (unsigned i = 0; i < 8; i++)
        memcpy(f->reg[(top + i) & 7], area + XSAVE_ST + 16 * i, 10);
}

/* A component that is not marked is in its initial state, whatever the area holds. */
static void set_initial(uint8_t *area, uint64_t components)
{
    const uint16_t control = 0x37f;
    if (!(components & COMPONENT_X87)) {
        memset(area, 0, XSAVE_MXCSR);
        memcpy(area, &control, 2);
        memset(area + XSAVE_ST, 0, XSAVE_XMM - XSAVE_ST);
    }
    if (!(components & COMPONENT_SSE))
        memset(area + XSAVE_XMM, 0, 256);
}

bool kvm_fpu_out(struct kvm_cpu *kv)
{
    struct cpu_state *s = &kv->cpu->s;
    struct kvm_xsave xsave;
    uint8_t *area = (uint8_t *)xsave.region;
    uint64_t components;
    unsigned avx = avx_offset();
    if (ioctl(kv->fd, KVM_GET_XSAVE, &xsave) < 0)
        return kvm_fail(kv, "KVM_GET_XSAVE");
    memcpy(&components, area + XSAVE_COMPONENTS, 8);
    set_initial(area, components);
    get_x87(&s->fpu, area);
    memcpy(&s->mxcsr, area + XSAVE_MXCSR, 4);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(s->vec[i].q, area + XSAVE_XMM + 16 * i, 16);
        memset(s->vec[i].q + 2, 0, 16);
        if (avx && components & COMPONENT_AVX)
            memcpy(s->vec[i].q + 2, area + avx + 16 * i, 16);
    }
    return true;
}

bool kvm_fpu_in(struct kvm_cpu *kv)
{
    const struct cpu_state *s = &kv->cpu->s;
    struct kvm_xsave xsave = {.region = {0}};
    uint8_t *area = (uint8_t *)xsave.region;
    unsigned avx = avx_offset();
    uint64_t components = COMPONENT_X87 | COMPONENT_SSE;
    put_x87(&s->fpu, area);
    memcpy(area + XSAVE_MXCSR, &s->mxcsr, 4);
    for (unsigned i = 0; i < 16; i++) {
        memcpy(area + XSAVE_XMM + 16 * i, s->vec[i].q, 16);
        if (avx && (s->vec[i].q[2] || s->vec[i].q[3])) {
            memcpy(area + avx + 16 * i, s->vec[i].q + 2, 16);
            components |= COMPONENT_AVX;
        }
    }
    memcpy(area + XSAVE_COMPONENTS, &components, 8);
    return ioctl(kv->fd, KVM_SET_XSAVE, &xsave) == 0 || kvm_fail(kv, "KVM_SET_XSAVE");
}

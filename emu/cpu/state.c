/* The architectural state's saved form. */
#include "emu/cpu/state.h"
#include "emu/cpu/cpu.h"

static const struct state_field segment_fields[] = {
    STATE_UINT(struct segment, base),
    STATE_UINT(struct segment, limit),
    STATE_UINT(struct segment, selector),
    STATE_UINT(struct segment, attributes),
    STATE_END,
};
static const struct state_field table_fields[] = {
    STATE_UINT(struct descriptor_table, base),
    STATE_UINT(struct descriptor_table, limit),
    STATE_END,
};
static const struct state_field fpu_fields[] = {
    STATE_BYTES(struct fpu_state, reg),        STATE_UINT(struct fpu_state, control),
    STATE_UINT(struct fpu_state, status),      STATE_UINT(struct fpu_state, valid),
    STATE_UINT(struct fpu_state, opcode),      STATE_UINT(struct fpu_state, ip),
    STATE_UINT(struct fpu_state, dp),          STATE_UINT(struct fpu_state, ip_selector),
    STATE_UINT(struct fpu_state, dp_selector), STATE_END,
};
static const struct state_field vector_fields[] = {
    STATE_UINTS(struct vector, q),
    STATE_END,
};

#define U(member) STATE_UINT(struct cpu_state, member)

const struct state_field cpu_state_fields[] = {
    {"gpr", STATE_KIND_UINT, offsetof(struct cpu_state, gpr), 8, GPR_COUNT, NULL},
    U(rip),
    U(rflags),
    U(cpl),
    STATE_STRUCTS(struct cpu_state, seg, segment_fields),
    STATE_STRUCT(struct cpu_state, ldtr, segment_fields),
    STATE_STRUCT(struct cpu_state, tr, segment_fields),
    STATE_STRUCT(struct cpu_state, gdtr, table_fields),
    STATE_STRUCT(struct cpu_state, idtr, table_fields),
    U(cr0),
    U(cr2),
    U(cr3),
    U(cr4),
    U(xcr0),
    STATE_UINTS(struct cpu_state, dr),
    STATE_UINTS(struct cpu_state, pdpte),
    U(efer),
    U(star),
    U(lstar),
    U(cstar),
    U(fmask),
    U(kernel_gs_base),
    U(sysenter_cs),
    U(sysenter_esp),
    U(sysenter_eip),
    U(pat),
    U(misc_enable),
    U(tsc_offset),
    U(tsc_aux),
    U(mcg_status),
    U(mtrr_def_type),
    STATE_UINTS(struct cpu_state, mtrr_base),
    STATE_UINTS(struct cpu_state, mtrr_mask),
    STATE_UINTS(struct cpu_state, mtrr_fixed),
    STATE_STRUCT(struct cpu_state, fpu, fpu_fields),
    STATE_STRUCTS(struct cpu_state, vec, vector_fields),
    U(mxcsr),
    U(halted),
    U(wait_for_sipi),
    U(shadow),
    U(nmi_blocked),
    U(nmi_pending),
    U(init_pending),
    U(sipi_pending),
    U(sipi_vector),
    U(shutdown),
    U(smm),
    U(smm_nmi_blocked),
    U(smi_pending),
    U(smbase),
    U(kvm_system_time),
    U(kvm_wall_clock),
    STATE_END,
};

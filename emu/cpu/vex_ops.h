/*
 * AVX, AVX2, FMA3, F16C and the VEX forms of AES and PCLMULQDQ: one row per instruction, from which
 * the enum of operations, the opcode maps, the handlers and the host's code for them are made.
 *
 * VEX(id, mnemonic, map, prefix, opcode, w, l, operands, bytes, kind, feature)
 *   map, prefix  as in sse_ops.h; the prefix is VEX.pp
 *   w            W0, W1: VEX.W must be so; WIG: it does not matter, or is a general operand's size
 *   l            L0, L1: VEX.L must be so; LX: 128 or 256 bits; LIG: it does not matter
 *   operands     V ModRM.reg, H VEX.vvvv, W ModRM.rm or memory, U ModRM.rm, M memory, L the
 *                immediate's high four bits: vectors. G ModRM.reg, E ModRM.rm or memory: general
 *                registers. I an immediate byte, X memory by a vector of indices, HR as H but for
 *                memory forms, which have no such operand.
 *   bytes        of a memory operand: a number, FULL (as VEX.L says), HALF, QUARTER, EIGHTH of it,
 *                DUP (8 or 32), SIZE (the operand size)
 *   kind         who does it. PLAIN, FLOAT (minds MXCSR), FLAGS (sets arithmetic flags, writes no
 *                register), INSERT, FSTORE (FLOAT into ModRM.rm): the host's own instruction on
 *                registers, made from the row. OWN: a handler of its own.
 *   feature      what it needs (SDM volume 1, chapter 14). AVXI is AVX, but AVX2 at 256 bits. VAES
 *                is AES and AVX, but VAES at 256 bits; VPCLMULQDQ likewise.
 *
 * Every one clears what lies above the bits it writes in a destination register. SDM volume 2.
 */
#pragma once

/* clang-format off */
#define VEX_TABLE_OPS(VEX) \
    /* moves */ \
    VEX(VMOVUPS_LOAD, "vmovups", 0, 0, 0x10, WIG, LX, VW, FULL, OWN, AVX) \
    VEX(VMOVUPS_STORE, "vmovups", 0, 0, 0x11, WIG, LX, WV, FULL, OWN, AVX) \
    VEX(VMOVUPD_LOAD, "vmovupd", 0, 1, 0x10, WIG, LX, VW, FULL, OWN, AVX) \
    VEX(VMOVUPD_STORE, "vmovupd", 0, 1, 0x11, WIG, LX, WV, FULL, OWN, AVX) \
    VEX(VMOVAPS_LOAD, "vmovaps", 0, 0, 0x28, WIG, LX, VW, FULL, OWN, AVX) \
    VEX(VMOVAPS_STORE, "vmovaps", 0, 0, 0x29, WIG, LX, WV, FULL, OWN, AVX) \
    VEX(VMOVAPD_LOAD, "vmovapd", 0, 1, 0x28, WIG, LX, VW, FULL, OWN, AVX) \
    VEX(VMOVAPD_STORE, "vmovapd", 0, 1, 0x29, WIG, LX, WV, FULL, OWN, AVX) \
    VEX(VMOVDQA_LOAD, "vmovdqa", 0, 1, 0x6f, WIG, LX, VW, FULL, OWN, AVX) \
    VEX(VMOVDQA_STORE, "vmovdqa", 0, 1, 0x7f, WIG, LX, WV, FULL, OWN, AVX) \
    VEX(VMOVDQU_LOAD, "vmovdqu", 0, 2, 0x6f, WIG, LX, VW, FULL, OWN, AVX) \
    VEX(VMOVDQU_STORE, "vmovdqu", 0, 2, 0x7f, WIG, LX, WV, FULL, OWN, AVX) \
    VEX(VLDDQU, "vlddqu", 0, 3, 0xf0, WIG, LX, VM, FULL, OWN, AVX) \
    VEX(VMOVNTDQA, "vmovntdqa", 1, 1, 0x2a, WIG, LX, VM, FULL, OWN, AVXI) \
    VEX(VMOVNTPS, "vmovntps", 0, 0, 0x2b, WIG, LX, MV, FULL, OWN, AVX) \
    VEX(VMOVNTPD, "vmovntpd", 0, 1, 0x2b, WIG, LX, MV, FULL, OWN, AVX) \
    VEX(VMOVNTDQ, "vmovntdq", 0, 1, 0xe7, WIG, LX, MV, FULL, OWN, AVX) \
    VEX(VMOVSS_LOAD, "vmovss", 0, 2, 0x10, WIG, LIG, VHRW, 4, OWN, AVX) \
    VEX(VMOVSS_STORE, "vmovss", 0, 2, 0x11, WIG, LIG, WHRV, 4, OWN, AVX) \
    VEX(VMOVSD_LOAD, "vmovsd", 0, 3, 0x10, WIG, LIG, VHRW, 8, OWN, AVX) \
    VEX(VMOVSD_STORE, "vmovsd", 0, 3, 0x11, WIG, LIG, WHRV, 8, OWN, AVX) \
    VEX(VMOVLPS_LOAD, "vmovlps", 0, 0, 0x12, WIG, L0, VHW, 8, OWN, AVX) \
    VEX(VMOVLPD_LOAD, "vmovlpd", 0, 1, 0x12, WIG, L0, VHM, 8, OWN, AVX) \
    VEX(VMOVLPS_STORE, "vmovlps", 0, 0, 0x13, WIG, L0, MV, 8, OWN, AVX) \
    VEX(VMOVLPD_STORE, "vmovlpd", 0, 1, 0x13, WIG, L0, MV, 8, OWN, AVX) \
    VEX(VMOVHPS_LOAD, "vmovhps", 0, 0, 0x16, WIG, L0, VHW, 8, OWN, AVX) \
    VEX(VMOVHPD_LOAD, "vmovhpd", 0, 1, 0x16, WIG, L0, VHM, 8, OWN, AVX) \
    VEX(VMOVHPS_STORE, "vmovhps", 0, 0, 0x17, WIG, L0, MV, 8, OWN, AVX) \
    VEX(VMOVHPD_STORE, "vmovhpd", 0, 1, 0x17, WIG, L0, MV, 8, OWN, AVX) \
    VEX(VMOVD_VE, "vmovd", 0, 1, 0x6e, WIG, L0, VE, SIZE, OWN, AVX) \
    VEX(VMOVD_EV, "vmovd", 0, 1, 0x7e, WIG, L0, EV, SIZE, OWN, AVX) \
    VEX(VMOVQ_VW, "vmovq", 0, 2, 0x7e, WIG, L0, VW, 8, OWN, AVX) \
    VEX(VMOVQ_WV, "vmovq", 0, 1, 0xd6, WIG, L0, WV, 8, OWN, AVX) \
    VEX(VMOVMSKPS, "vmovmskps", 0, 0, 0x50, WIG, LX, GU, FULL, OWN, AVX) \
    VEX(VMOVMSKPD, "vmovmskpd", 0, 1, 0x50, WIG, LX, GU, FULL, OWN, AVX) \
    VEX(VPMOVMSKB, "vpmovmskb", 0, 1, 0xd7, WIG, LX, GU, FULL, OWN, AVXI) \
    VEX(VMOVDDUP, "vmovddup", 0, 3, 0x12, WIG, LX, VW, DUP, PLAIN, AVX) \
    VEX(VMOVSLDUP, "vmovsldup", 0, 2, 0x12, WIG, LX, VW, FULL, PLAIN, AVX) \
    VEX(VMOVSHDUP, "vmovshdup", 0, 2, 0x16, WIG, LX, VW, FULL, PLAIN, AVX) \
    VEX(VMASKMOVDQU, "vmaskmovdqu", 0, 1, 0xf7, WIG, L0, VU, 16, OWN, AVX) \
    VEX(VZERO, "vzeroupper", 0, 0, 0x77, WIG, LX, NONE, 0, OWN, AVX) \
    /* arithmetic */ \
    VEX(VSQRTPS, "vsqrtps", 0, 0, 0x51, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VSQRTPD, "vsqrtpd", 0, 1, 0x51, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VSQRTSS, "vsqrtss", 0, 2, 0x51, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VSQRTSD, "vsqrtsd", 0, 3, 0x51, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VADDPS, "vaddps", 0, 0, 0x58, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VADDPD, "vaddpd", 0, 1, 0x58, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VADDSS, "vaddss", 0, 2, 0x58, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VADDSD, "vaddsd", 0, 3, 0x58, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VMULPS, "vmulps", 0, 0, 0x59, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VMULPD, "vmulpd", 0, 1, 0x59, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VMULSS, "vmulss", 0, 2, 0x59, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VMULSD, "vmulsd", 0, 3, 0x59, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VSUBPS, "vsubps", 0, 0, 0x5c, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VSUBPD, "vsubpd", 0, 1, 0x5c, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VSUBSS, "vsubss", 0, 2, 0x5c, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VSUBSD, "vsubsd", 0, 3, 0x5c, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VMINPS, "vminps", 0, 0, 0x5d, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VMINPD, "vminpd", 0, 1, 0x5d, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VMINSS, "vminss", 0, 2, 0x5d, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VMINSD, "vminsd", 0, 3, 0x5d, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VDIVPS, "vdivps", 0, 0, 0x5e, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VDIVPD, "vdivpd", 0, 1, 0x5e, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VDIVSS, "vdivss", 0, 2, 0x5e, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VDIVSD, "vdivsd", 0, 3, 0x5e, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VMAXPS, "vmaxps", 0, 0, 0x5f, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VMAXPD, "vmaxpd", 0, 1, 0x5f, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VMAXSS, "vmaxss", 0, 2, 0x5f, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VMAXSD, "vmaxsd", 0, 3, 0x5f, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VCMPPS, "vcmpps", 0, 0, 0xc2, WIG, LX, VHWI, FULL, FLOAT, AVX) \
    VEX(VCMPPD, "vcmppd", 0, 1, 0xc2, WIG, LX, VHWI, FULL, FLOAT, AVX) \
    VEX(VCMPSS, "vcmpss", 0, 2, 0xc2, WIG, LIG, VHWI, 4, FLOAT, AVX) \
    VEX(VCMPSD, "vcmpsd", 0, 3, 0xc2, WIG, LIG, VHWI, 8, FLOAT, AVX) \
    VEX(VANDPS, "vandps", 0, 0, 0x54, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VANDPD, "vandpd", 0, 1, 0x54, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VANDNPS, "vandnps", 0, 0, 0x55, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VANDNPD, "vandnpd", 0, 1, 0x55, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VORPS, "vorps", 0, 0, 0x56, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VORPD, "vorpd", 0, 1, 0x56, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VXORPS, "vxorps", 0, 0, 0x57, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VXORPD, "vxorpd", 0, 1, 0x57, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VUNPCKLPS, "vunpcklps", 0, 0, 0x14, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VUNPCKLPD, "vunpcklpd", 0, 1, 0x14, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VUNPCKHPS, "vunpckhps", 0, 0, 0x15, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VUNPCKHPD, "vunpckhpd", 0, 1, 0x15, WIG, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VRSQRTPS, "vrsqrtps", 0, 0, 0x52, WIG, LX, VW, FULL, PLAIN, AVX) \
    VEX(VRSQRTSS, "vrsqrtss", 0, 2, 0x52, WIG, LIG, VHW, 4, PLAIN, AVX) \
    VEX(VRCPPS, "vrcpps", 0, 0, 0x53, WIG, LX, VW, FULL, PLAIN, AVX) \
    VEX(VRCPSS, "vrcpss", 0, 2, 0x53, WIG, LIG, VHW, 4, PLAIN, AVX) \
    VEX(VHADDPS, "vhaddps", 0, 3, 0x7c, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VHADDPD, "vhaddpd", 0, 1, 0x7c, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VHSUBPS, "vhsubps", 0, 3, 0x7d, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VHSUBPD, "vhsubpd", 0, 1, 0x7d, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VADDSUBPS, "vaddsubps", 0, 3, 0xd0, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VADDSUBPD, "vaddsubpd", 0, 1, 0xd0, WIG, LX, VHW, FULL, FLOAT, AVX) \
    VEX(VCVTPS2PD, "vcvtps2pd", 0, 0, 0x5a, WIG, LX, VW, HALF, FLOAT, AVX) \
    VEX(VCVTPD2PS, "vcvtpd2ps", 0, 1, 0x5a, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VCVTSS2SD, "vcvtss2sd", 0, 2, 0x5a, WIG, LIG, VHW, 4, FLOAT, AVX) \
    VEX(VCVTSD2SS, "vcvtsd2ss", 0, 3, 0x5a, WIG, LIG, VHW, 8, FLOAT, AVX) \
    VEX(VCVTDQ2PS, "vcvtdq2ps", 0, 0, 0x5b, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VCVTPS2DQ, "vcvtps2dq", 0, 1, 0x5b, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VCVTTPS2DQ, "vcvttps2dq", 0, 2, 0x5b, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VCVTDQ2PD, "vcvtdq2pd", 0, 2, 0xe6, WIG, LX, VW, HALF, PLAIN, AVX) \
    VEX(VCVTTPD2DQ, "vcvttpd2dq", 0, 1, 0xe6, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VCVTPD2DQ, "vcvtpd2dq", 0, 3, 0xe6, WIG, LX, VW, FULL, FLOAT, AVX) \
    VEX(VCVTSI2SS, "vcvtsi2ss", 0, 2, 0x2a, WIG, LIG, VHE, SIZE, OWN, AVX) \
    VEX(VCVTSI2SD, "vcvtsi2sd", 0, 3, 0x2a, WIG, LIG, VHE, SIZE, OWN, AVX) \
    VEX(VCVTTSS2SI, "vcvttss2si", 0, 2, 0x2c, WIG, LIG, GW, 4, OWN, AVX) \
    VEX(VCVTTSD2SI, "vcvttsd2si", 0, 3, 0x2c, WIG, LIG, GW, 8, OWN, AVX) \
    VEX(VCVTSS2SI, "vcvtss2si", 0, 2, 0x2d, WIG, LIG, GW, 4, OWN, AVX) \
    VEX(VCVTSD2SI, "vcvtsd2si", 0, 3, 0x2d, WIG, LIG, GW, 8, OWN, AVX) \
    VEX(VUCOMISS, "vucomiss", 0, 0, 0x2e, WIG, LIG, VW, 4, OWN, AVX) \
    VEX(VUCOMISD, "vucomisd", 0, 1, 0x2e, WIG, LIG, VW, 8, OWN, AVX) \
    VEX(VCOMISS, "vcomiss", 0, 0, 0x2f, WIG, LIG, VW, 4, OWN, AVX) \
    VEX(VCOMISD, "vcomisd", 0, 1, 0x2f, WIG, LIG, VW, 8, OWN, AVX) \
    VEX(VROUNDPS, "vroundps", 2, 1, 0x08, WIG, LX, VWI, FULL, FLOAT, AVX) \
    VEX(VROUNDPD, "vroundpd", 2, 1, 0x09, WIG, LX, VWI, FULL, FLOAT, AVX) \
    VEX(VROUNDSS, "vroundss", 2, 1, 0x0a, WIG, LIG, VHWI, 4, FLOAT, AVX) \
    VEX(VROUNDSD, "vroundsd", 2, 1, 0x0b, WIG, LIG, VHWI, 8, FLOAT, AVX) \
    VEX(VDPPS, "vdpps", 2, 1, 0x40, WIG, LX, VHWI, FULL, FLOAT, AVX) \
    VEX(VDPPD, "vdppd", 2, 1, 0x41, WIG, L0, VHWI, 16, FLOAT, AVX) \
    VEX(VTESTPS, "vtestps", 1, 1, 0x0e, W0, LX, VW, FULL, FLAGS, AVX) \
    VEX(VTESTPD, "vtestpd", 1, 1, 0x0f, W0, LX, VW, FULL, FLAGS, AVX) \
    VEX(VPTEST, "vptest", 1, 1, 0x17, WIG, LX, VW, FULL, FLAGS, AVX) \
    /* shuffles */ \
    VEX(VSHUFPS, "vshufps", 0, 0, 0xc6, WIG, LX, VHWI, FULL, PLAIN, AVX) \
    VEX(VSHUFPD, "vshufpd", 0, 1, 0xc6, WIG, LX, VHWI, FULL, PLAIN, AVX) \
    VEX(VBLENDPS, "vblendps", 2, 1, 0x0c, WIG, LX, VHWI, FULL, PLAIN, AVX) \
    VEX(VBLENDPD, "vblendpd", 2, 1, 0x0d, WIG, LX, VHWI, FULL, PLAIN, AVX) \
    VEX(VBLENDVPS, "vblendvps", 2, 1, 0x4a, W0, LX, VHWL, FULL, PLAIN, AVX) \
    VEX(VBLENDVPD, "vblendvpd", 2, 1, 0x4b, W0, LX, VHWL, FULL, PLAIN, AVX) \
    VEX(VPBLENDVB, "vpblendvb", 2, 1, 0x4c, W0, LX, VHWL, FULL, PLAIN, AVXI) \
    VEX(VPERMILPS, "vpermilps", 1, 1, 0x0c, W0, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VPERMILPD, "vpermilpd", 1, 1, 0x0d, W0, LX, VHW, FULL, PLAIN, AVX) \
    VEX(VPERMILPS_I, "vpermilps", 2, 1, 0x04, W0, LX, VWI, FULL, PLAIN, AVX) \
    VEX(VPERMILPD_I, "vpermilpd", 2, 1, 0x05, W0, LX, VWI, FULL, PLAIN, AVX) \
    VEX(VPERM2F128, "vperm2f128", 2, 1, 0x06, W0, L1, VHWI, FULL, PLAIN, AVX) \
    VEX(VPERM2I128, "vperm2i128", 2, 1, 0x46, W0, L1, VHWI, FULL, PLAIN, AVX2) \
    VEX(VINSERTF128, "vinsertf128", 2, 1, 0x18, W0, L1, VHWI, 16, PLAIN, AVX) \
    VEX(VINSERTI128, "vinserti128", 2, 1, 0x38, W0, L1, VHWI, 16, PLAIN, AVX2) \
    VEX(VEXTRACTF128, "vextractf128", 2, 1, 0x19, W0, L1, WVI, 16, OWN, AVX) \
    VEX(VEXTRACTI128, "vextracti128", 2, 1, 0x39, W0, L1, WVI, 16, OWN, AVX2) \
    VEX(VBROADCASTSS, "vbroadcastss", 1, 1, 0x18, W0, LX, VW, 4, PLAIN, AVX) \
    VEX(VBROADCASTSD, "vbroadcastsd", 1, 1, 0x19, W0, L1, VW, 8, PLAIN, AVX) \
    VEX(VBROADCASTF128, "vbroadcastf128", 1, 1, 0x1a, W0, L1, VM, 16, OWN, AVX) \
    VEX(VBROADCASTI128, "vbroadcasti128", 1, 1, 0x5a, W0, L1, VM, 16, OWN, AVX2) \
    VEX(VPBROADCASTB, "vpbroadcastb", 1, 1, 0x78, W0, LX, VW, 1, PLAIN, AVX2) \
    VEX(VPBROADCASTW, "vpbroadcastw", 1, 1, 0x79, W0, LX, VW, 2, PLAIN, AVX2) \
    VEX(VPBROADCASTD, "vpbroadcastd", 1, 1, 0x58, W0, LX, VW, 4, PLAIN, AVX2) \
    VEX(VPBROADCASTQ, "vpbroadcastq", 1, 1, 0x59, W0, LX, VW, 8, PLAIN, AVX2) \
    VEX(VPERMD, "vpermd", 1, 1, 0x36, W0, L1, VHW, FULL, PLAIN, AVX2) \
    VEX(VPERMPS, "vpermps", 1, 1, 0x16, W0, L1, VHW, FULL, PLAIN, AVX2) \
    VEX(VPERMQ, "vpermq", 2, 1, 0x00, W1, L1, VWI, FULL, PLAIN, AVX2) \
    VEX(VPERMPD, "vpermpd", 2, 1, 0x01, W1, L1, VWI, FULL, PLAIN, AVX2) \
    VEX(VPBLENDD, "vpblendd", 2, 1, 0x02, W0, LX, VHWI, FULL, PLAIN, AVX2) \
    VEX(VPBLENDW, "vpblendw", 2, 1, 0x0e, WIG, LX, VHWI, FULL, PLAIN, AVXI) \
    VEX(VPALIGNR, "vpalignr", 2, 1, 0x0f, WIG, LX, VHWI, FULL, PLAIN, AVXI) \
    VEX(VPSHUFD, "vpshufd", 0, 1, 0x70, WIG, LX, VWI, FULL, PLAIN, AVXI) \
    VEX(VPSHUFHW, "vpshufhw", 0, 2, 0x70, WIG, LX, VWI, FULL, PLAIN, AVXI) \
    VEX(VPSHUFLW, "vpshuflw", 0, 3, 0x70, WIG, LX, VWI, FULL, PLAIN, AVXI) \
    VEX(VPSHUFB, "vpshufb", 1, 1, 0x00, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKLBW, "vpunpcklbw", 0, 1, 0x60, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKLWD, "vpunpcklwd", 0, 1, 0x61, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKLDQ, "vpunpckldq", 0, 1, 0x62, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPACKSSWB, "vpacksswb", 0, 1, 0x63, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPACKUSWB, "vpackuswb", 0, 1, 0x67, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKHBW, "vpunpckhbw", 0, 1, 0x68, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKHWD, "vpunpckhwd", 0, 1, 0x69, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKHDQ, "vpunpckhdq", 0, 1, 0x6a, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPACKSSDW, "vpackssdw", 0, 1, 0x6b, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKLQDQ, "vpunpcklqdq", 0, 1, 0x6c, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPUNPCKHQDQ, "vpunpckhqdq", 0, 1, 0x6d, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPACKUSDW, "vpackusdw", 1, 1, 0x2b, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMOVSXBW, "vpmovsxbw", 1, 1, 0x20, WIG, LX, VW, HALF, PLAIN, AVXI) \
    VEX(VPMOVZXBW, "vpmovzxbw", 1, 1, 0x30, WIG, LX, VW, HALF, PLAIN, AVXI) \
    VEX(VPMOVSXBD, "vpmovsxbd", 1, 1, 0x21, WIG, LX, VW, QUARTER, PLAIN, AVXI) \
    VEX(VPMOVZXBD, "vpmovzxbd", 1, 1, 0x31, WIG, LX, VW, QUARTER, PLAIN, AVXI) \
    VEX(VPMOVSXBQ, "vpmovsxbq", 1, 1, 0x22, WIG, LX, VW, EIGHTH, PLAIN, AVXI) \
    VEX(VPMOVZXBQ, "vpmovzxbq", 1, 1, 0x32, WIG, LX, VW, EIGHTH, PLAIN, AVXI) \
    VEX(VPMOVSXWD, "vpmovsxwd", 1, 1, 0x23, WIG, LX, VW, HALF, PLAIN, AVXI) \
    VEX(VPMOVZXWD, "vpmovzxwd", 1, 1, 0x33, WIG, LX, VW, HALF, PLAIN, AVXI) \
    VEX(VPMOVSXWQ, "vpmovsxwq", 1, 1, 0x24, WIG, LX, VW, QUARTER, PLAIN, AVXI) \
    VEX(VPMOVZXWQ, "vpmovzxwq", 1, 1, 0x34, WIG, LX, VW, QUARTER, PLAIN, AVXI) \
    VEX(VPMOVSXDQ, "vpmovsxdq", 1, 1, 0x25, WIG, LX, VW, HALF, PLAIN, AVXI) \
    VEX(VPMOVZXDQ, "vpmovzxdq", 1, 1, 0x35, WIG, LX, VW, HALF, PLAIN, AVXI) \
    VEX(VPEXTRB, "vpextrb", 2, 1, 0x14, WIG, L0, EVI, 1, OWN, AVX) \
    VEX(VPEXTRW_E, "vpextrw", 2, 1, 0x15, WIG, L0, EVI, 2, OWN, AVX) \
    VEX(VPEXTRW, "vpextrw", 0, 1, 0xc5, WIG, L0, GUI, 2, OWN, AVX) \
    VEX(VPEXTRD, "vpextrd", 2, 1, 0x16, WIG, L0, EVI, SIZE, OWN, AVX) \
    VEX(VEXTRACTPS, "vextractps", 2, 1, 0x17, WIG, L0, EVI, 4, OWN, AVX) \
    VEX(VPINSRB, "vpinsrb", 2, 1, 0x20, WIG, L0, VHEI, 1, OWN, AVX) \
    VEX(VPINSRW, "vpinsrw", 0, 1, 0xc4, WIG, L0, VHEI, 2, OWN, AVX) \
    VEX(VPINSRD, "vpinsrd", 2, 1, 0x22, WIG, L0, VHEI, SIZE, OWN, AVX) \
    VEX(VINSERTPS, "vinsertps", 2, 1, 0x21, WIG, L0, VHWI, 4, INSERT, AVX) \
    /* integers */ \
    VEX(VPCMPGTB, "vpcmpgtb", 0, 1, 0x64, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPGTW, "vpcmpgtw", 0, 1, 0x65, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPGTD, "vpcmpgtd", 0, 1, 0x66, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPEQB, "vpcmpeqb", 0, 1, 0x74, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPEQW, "vpcmpeqw", 0, 1, 0x75, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPEQD, "vpcmpeqd", 0, 1, 0x76, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPEQQ, "vpcmpeqq", 1, 1, 0x29, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPCMPGTQ, "vpcmpgtq", 1, 1, 0x37, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDQ, "vpaddq", 0, 1, 0xd4, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULLW, "vpmullw", 0, 1, 0xd5, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBUSB, "vpsubusb", 0, 1, 0xd8, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBUSW, "vpsubusw", 0, 1, 0xd9, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMINUB, "vpminub", 0, 1, 0xda, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPAND, "vpand", 0, 1, 0xdb, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDUSB, "vpaddusb", 0, 1, 0xdc, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDUSW, "vpaddusw", 0, 1, 0xdd, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMAXUB, "vpmaxub", 0, 1, 0xde, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPANDN, "vpandn", 0, 1, 0xdf, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPAVGB, "vpavgb", 0, 1, 0xe0, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPAVGW, "vpavgw", 0, 1, 0xe3, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULHUW, "vpmulhuw", 0, 1, 0xe4, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULHW, "vpmulhw", 0, 1, 0xe5, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBSB, "vpsubsb", 0, 1, 0xe8, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBSW, "vpsubsw", 0, 1, 0xe9, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMINSW, "vpminsw", 0, 1, 0xea, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPOR, "vpor", 0, 1, 0xeb, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDSB, "vpaddsb", 0, 1, 0xec, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDSW, "vpaddsw", 0, 1, 0xed, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMAXSW, "vpmaxsw", 0, 1, 0xee, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPXOR, "vpxor", 0, 1, 0xef, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULUDQ, "vpmuludq", 0, 1, 0xf4, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMADDWD, "vpmaddwd", 0, 1, 0xf5, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSADBW, "vpsadbw", 0, 1, 0xf6, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBB, "vpsubb", 0, 1, 0xf8, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBW, "vpsubw", 0, 1, 0xf9, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBD, "vpsubd", 0, 1, 0xfa, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSUBQ, "vpsubq", 0, 1, 0xfb, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDB, "vpaddb", 0, 1, 0xfc, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDW, "vpaddw", 0, 1, 0xfd, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPADDD, "vpaddd", 0, 1, 0xfe, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPHADDW, "vphaddw", 1, 1, 0x01, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPHADDD, "vphaddd", 1, 1, 0x02, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPHADDSW, "vphaddsw", 1, 1, 0x03, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMADDUBSW, "vpmaddubsw", 1, 1, 0x04, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPHSUBW, "vphsubw", 1, 1, 0x05, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPHSUBD, "vphsubd", 1, 1, 0x06, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPHSUBSW, "vphsubsw", 1, 1, 0x07, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSIGNB, "vpsignb", 1, 1, 0x08, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSIGNW, "vpsignw", 1, 1, 0x09, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPSIGND, "vpsignd", 1, 1, 0x0a, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULHRSW, "vpmulhrsw", 1, 1, 0x0b, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULDQ, "vpmuldq", 1, 1, 0x28, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMINSB, "vpminsb", 1, 1, 0x38, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMINSD, "vpminsd", 1, 1, 0x39, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMINUW, "vpminuw", 1, 1, 0x3a, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMINUD, "vpminud", 1, 1, 0x3b, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMAXSB, "vpmaxsb", 1, 1, 0x3c, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMAXSD, "vpmaxsd", 1, 1, 0x3d, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMAXUW, "vpmaxuw", 1, 1, 0x3e, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMAXUD, "vpmaxud", 1, 1, 0x3f, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPMULLD, "vpmulld", 1, 1, 0x40, WIG, LX, VHW, FULL, PLAIN, AVXI) \
    VEX(VPABSB, "vpabsb", 1, 1, 0x1c, WIG, LX, VW, FULL, PLAIN, AVXI) \
    VEX(VPABSW, "vpabsw", 1, 1, 0x1d, WIG, LX, VW, FULL, PLAIN, AVXI) \
    VEX(VPABSD, "vpabsd", 1, 1, 0x1e, WIG, LX, VW, FULL, PLAIN, AVXI) \
    VEX(VPHMINPOSUW, "vphminposuw", 1, 1, 0x41, WIG, L0, VW, 16, PLAIN, AVX) \
    VEX(VMPSADBW, "vmpsadbw", 2, 1, 0x42, WIG, LX, VHWI, FULL, PLAIN, AVXI) \
    VEX(VPSRLW, "vpsrlw", 0, 1, 0xd1, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSRLD, "vpsrld", 0, 1, 0xd2, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSRLQ, "vpsrlq", 0, 1, 0xd3, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSRAW, "vpsraw", 0, 1, 0xe1, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSRAD, "vpsrad", 0, 1, 0xe2, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSLLW, "vpsllw", 0, 1, 0xf1, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSLLD, "vpslld", 0, 1, 0xf2, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSLLQ, "vpsllq", 0, 1, 0xf3, WIG, LX, VHW, 16, PLAIN, AVXI) \
    VEX(VPSRLVD, "vpsrlvd", 1, 1, 0x45, W0, LX, VHW, FULL, PLAIN, AVX2) \
    VEX(VPSRLVQ, "vpsrlvq", 1, 1, 0x45, W1, LX, VHW, FULL, PLAIN, AVX2) \
    VEX(VPSRAVD, "vpsravd", 1, 1, 0x46, W0, LX, VHW, FULL, PLAIN, AVX2) \
    VEX(VPSLLVD, "vpsllvd", 1, 1, 0x47, W0, LX, VHW, FULL, PLAIN, AVX2) \
    VEX(VPSLLVQ, "vpsllvq", 1, 1, 0x47, W1, LX, VHW, FULL, PLAIN, AVX2) \
    /* text */ \
    VEX(VPCMPESTRM, "vpcmpestrm", 2, 1, 0x60, WIG, L0, VWI, 16, OWN, AVX) \
    VEX(VPCMPESTRI, "vpcmpestri", 2, 1, 0x61, WIG, L0, VWI, 16, OWN, AVX) \
    VEX(VPCMPISTRM, "vpcmpistrm", 2, 1, 0x62, WIG, L0, VWI, 16, OWN, AVX) \
    VEX(VPCMPISTRI, "vpcmpistri", 2, 1, 0x63, WIG, L0, VWI, 16, OWN, AVX) \
    /* masks and gathers */ \
    VEX(VMASKMOVPS_LOAD, "vmaskmovps", 1, 1, 0x2c, W0, LX, VHM, FULL, OWN, AVX) \
    VEX(VMASKMOVPD_LOAD, "vmaskmovpd", 1, 1, 0x2d, W0, LX, VHM, FULL, OWN, AVX) \
    VEX(VMASKMOVPS_STORE, "vmaskmovps", 1, 1, 0x2e, W0, LX, MHV, FULL, OWN, AVX) \
    VEX(VMASKMOVPD_STORE, "vmaskmovpd", 1, 1, 0x2f, W0, LX, MHV, FULL, OWN, AVX) \
    VEX(VPMASKMOVD_LOAD, "vpmaskmovd", 1, 1, 0x8c, W0, LX, VHM, FULL, OWN, AVX2) \
    VEX(VPMASKMOVQ_LOAD, "vpmaskmovq", 1, 1, 0x8c, W1, LX, VHM, FULL, OWN, AVX2) \
    VEX(VPMASKMOVD_STORE, "vpmaskmovd", 1, 1, 0x8e, W0, LX, MHV, FULL, OWN, AVX2) \
    VEX(VPMASKMOVQ_STORE, "vpmaskmovq", 1, 1, 0x8e, W1, LX, MHV, FULL, OWN, AVX2) \
    VEX(VPGATHERDD, "vpgatherdd", 1, 1, 0x90, W0, LX, VXH, NONE, OWN, AVX2) \
    VEX(VPGATHERDQ, "vpgatherdq", 1, 1, 0x90, W1, LX, VXH, NONE, OWN, AVX2) \
    VEX(VPGATHERQD, "vpgatherqd", 1, 1, 0x91, W0, LX, VXH, NONE, OWN, AVX2) \
    VEX(VPGATHERQQ, "vpgatherqq", 1, 1, 0x91, W1, LX, VXH, NONE, OWN, AVX2) \
    VEX(VGATHERDPS, "vgatherdps", 1, 1, 0x92, W0, LX, VXH, NONE, OWN, AVX2) \
    VEX(VGATHERDPD, "vgatherdpd", 1, 1, 0x92, W1, LX, VXH, NONE, OWN, AVX2) \
    VEX(VGATHERQPS, "vgatherqps", 1, 1, 0x93, W0, LX, VXH, NONE, OWN, AVX2) \
    VEX(VGATHERQPD, "vgatherqpd", 1, 1, 0x93, W1, LX, VXH, NONE, OWN, AVX2) \
    /* FMA3 */ \
    VEX(VFMADDSUB132PS, "vfmaddsub132ps", 1, 1, 0x96, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADDSUB132PD, "vfmaddsub132pd", 1, 1, 0x96, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUBADD132PS, "vfmsubadd132ps", 1, 1, 0x97, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUBADD132PD, "vfmsubadd132pd", 1, 1, 0x97, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD132PS, "vfmadd132ps", 1, 1, 0x98, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD132PD, "vfmadd132pd", 1, 1, 0x98, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD132SS, "vfmadd132ss", 1, 1, 0x99, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFMADD132SD, "vfmadd132sd", 1, 1, 0x99, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFMSUB132PS, "vfmsub132ps", 1, 1, 0x9a, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUB132PD, "vfmsub132pd", 1, 1, 0x9a, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUB132SS, "vfmsub132ss", 1, 1, 0x9b, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFMSUB132SD, "vfmsub132sd", 1, 1, 0x9b, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFNMADD132PS, "vfnmadd132ps", 1, 1, 0x9c, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMADD132PD, "vfnmadd132pd", 1, 1, 0x9c, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMADD132SS, "vfnmadd132ss", 1, 1, 0x9d, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFNMADD132SD, "vfnmadd132sd", 1, 1, 0x9d, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFNMSUB132PS, "vfnmsub132ps", 1, 1, 0x9e, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMSUB132PD, "vfnmsub132pd", 1, 1, 0x9e, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMSUB132SS, "vfnmsub132ss", 1, 1, 0x9f, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFNMSUB132SD, "vfnmsub132sd", 1, 1, 0x9f, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFMADDSUB213PS, "vfmaddsub213ps", 1, 1, 0xa6, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADDSUB213PD, "vfmaddsub213pd", 1, 1, 0xa6, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUBADD213PS, "vfmsubadd213ps", 1, 1, 0xa7, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUBADD213PD, "vfmsubadd213pd", 1, 1, 0xa7, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD213PS, "vfmadd213ps", 1, 1, 0xa8, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD213PD, "vfmadd213pd", 1, 1, 0xa8, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD213SS, "vfmadd213ss", 1, 1, 0xa9, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFMADD213SD, "vfmadd213sd", 1, 1, 0xa9, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFMSUB213PS, "vfmsub213ps", 1, 1, 0xaa, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUB213PD, "vfmsub213pd", 1, 1, 0xaa, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUB213SS, "vfmsub213ss", 1, 1, 0xab, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFMSUB213SD, "vfmsub213sd", 1, 1, 0xab, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFNMADD213PS, "vfnmadd213ps", 1, 1, 0xac, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMADD213PD, "vfnmadd213pd", 1, 1, 0xac, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMADD213SS, "vfnmadd213ss", 1, 1, 0xad, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFNMADD213SD, "vfnmadd213sd", 1, 1, 0xad, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFNMSUB213PS, "vfnmsub213ps", 1, 1, 0xae, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMSUB213PD, "vfnmsub213pd", 1, 1, 0xae, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMSUB213SS, "vfnmsub213ss", 1, 1, 0xaf, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFNMSUB213SD, "vfnmsub213sd", 1, 1, 0xaf, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFMADDSUB231PS, "vfmaddsub231ps", 1, 1, 0xb6, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADDSUB231PD, "vfmaddsub231pd", 1, 1, 0xb6, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUBADD231PS, "vfmsubadd231ps", 1, 1, 0xb7, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUBADD231PD, "vfmsubadd231pd", 1, 1, 0xb7, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD231PS, "vfmadd231ps", 1, 1, 0xb8, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD231PD, "vfmadd231pd", 1, 1, 0xb8, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMADD231SS, "vfmadd231ss", 1, 1, 0xb9, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFMADD231SD, "vfmadd231sd", 1, 1, 0xb9, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFMSUB231PS, "vfmsub231ps", 1, 1, 0xba, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUB231PD, "vfmsub231pd", 1, 1, 0xba, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFMSUB231SS, "vfmsub231ss", 1, 1, 0xbb, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFMSUB231SD, "vfmsub231sd", 1, 1, 0xbb, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFNMADD231PS, "vfnmadd231ps", 1, 1, 0xbc, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMADD231PD, "vfnmadd231pd", 1, 1, 0xbc, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMADD231SS, "vfnmadd231ss", 1, 1, 0xbd, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFNMADD231SD, "vfnmadd231sd", 1, 1, 0xbd, W1, LIG, VHW, 8, FLOAT, FMA) \
    VEX(VFNMSUB231PS, "vfnmsub231ps", 1, 1, 0xbe, W0, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMSUB231PD, "vfnmsub231pd", 1, 1, 0xbe, W1, LX, VHW, FULL, FLOAT, FMA) \
    VEX(VFNMSUB231SS, "vfnmsub231ss", 1, 1, 0xbf, W0, LIG, VHW, 4, FLOAT, FMA) \
    VEX(VFNMSUB231SD, "vfnmsub231sd", 1, 1, 0xbf, W1, LIG, VHW, 8, FLOAT, FMA) \
    /* F16C, AES, PCLMULQDQ */ \
    VEX(VCVTPH2PS, "vcvtph2ps", 1, 1, 0x13, W0, LX, VW, HALF, FLOAT, F16C) \
    VEX(VCVTPS2PH, "vcvtps2ph", 2, 1, 0x1d, W0, LX, WVI, HALF, FSTORE, F16C) \
    VEX(VAESENC, "vaesenc", 1, 1, 0xdc, WIG, LX, VHW, FULL, PLAIN, VAES) \
    VEX(VAESENCLAST, "vaesenclast", 1, 1, 0xdd, WIG, LX, VHW, FULL, PLAIN, VAES) \
    VEX(VAESDEC, "vaesdec", 1, 1, 0xde, WIG, LX, VHW, FULL, PLAIN, VAES) \
    VEX(VAESDECLAST, "vaesdeclast", 1, 1, 0xdf, WIG, LX, VHW, FULL, PLAIN, VAES) \
    VEX(VAESIMC, "vaesimc", 1, 1, 0xdb, WIG, L0, VW, 16, PLAIN, VAES) \
    VEX(VAESKEYGENASSIST, "vaeskeygenassist", 2, 1, 0xdf, WIG, L0, VWI, 16, PLAIN, VAES) \
    VEX(VPCLMULQDQ, "vpclmulqdq", 2, 1, 0x44, WIG, LX, VHWI, FULL, PLAIN, VPCLMULQDQ)

/* The shifts by an immediate, opcode groups 12-14: VEX_SHIFT(id, mnemonic, opcode, ModRM.reg) */
#define VEX_SHIFT_OPS(VEX_SHIFT) \
    VEX_SHIFT(VPSRLW_I, "vpsrlw", 0x71, 2) VEX_SHIFT(VPSRAW_I, "vpsraw", 0x71, 4) VEX_SHIFT(VPSLLW_I, "vpsllw", 0x71, 6) \
    VEX_SHIFT(VPSRLD_I, "vpsrld", 0x72, 2) VEX_SHIFT(VPSRAD_I, "vpsrad", 0x72, 4) VEX_SHIFT(VPSLLD_I, "vpslld", 0x72, 6) \
    VEX_SHIFT(VPSRLQ_I, "vpsrlq", 0x73, 2) VEX_SHIFT(VPSRLDQ_I, "vpsrldq", 0x73, 3) VEX_SHIFT(VPSLLQ_I, "vpsllq", 0x73, 6) \
    VEX_SHIFT(VPSLLDQ_I, "vpslldq", 0x73, 7)

#define VEX_ALL_OPS(VEX) VEX_TABLE_OPS(VEX) VEX_SHIFT_OPS(VEX) VEX(VLDMXCSR, "vldmxcsr") VEX(VSTMXCSR, "vstmxcsr")
/* clang-format on */

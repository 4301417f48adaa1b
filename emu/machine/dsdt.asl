/*
 * The DSDT: what of this board cannot be probed. PIRQ links are programmed through the ISA bridge's
 * configuration registers 0x60-0x63 (Intel 290550, PIIX3).
 */
DefinitionBlock ("", "DSDT", 2, "DROVER", "DROVERPC", 1)
{
    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A03"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000, 0x0000, 0x00FF, 0x0000, 0x0100)
                IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0000, 0x0CF7, 0x0000, 0x0CF8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
                    0x0000, 0x0D00, 0xFFFF, 0x0000, 0xF300)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
                    0x00000000, 0x000A0000, 0x000BFFFF, 0x00000000, 0x00020000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
                    ReadWrite, 0x00000000, 0xC0000000, 0xFEBFFFFF, 0x00000000, 0x3EC00000)
            })

            /* Slot s, pin p is line (s + p - 1) mod 4; slots 1 to 31. */
            Method (_PRT, 0, Serialized)
            {
                Name (TABL, Package (124) {})
                Local0 = 0
                While (Local0 < 124)
                {
                    Local1 = (Local0 >> 2) + 1
                    Local2 = Local0 & 3
                    Local3 = (Local1 + Local2 - 1) & 3
                    If (Local3 == 0) { Local4 = Package () { 0, 0, LNKA, 0 } }
                    ElseIf (Local3 == 1) { Local4 = Package () { 0, 0, LNKB, 0 } }
                    ElseIf (Local3 == 2) { Local4 = Package () { 0, 0, LNKC, 0 } }
                    Else { Local4 = Package () { 0, 0, LNKD, 0 } }
                    Local4[0] = (Local1 << 16) | 0xFFFF
                    Local4[1] = Local2
                    TABL[Local0] = Local4
                    Local0++
                }
                Return (TABL)
            }

            Device (VGA)
            {
                Name (_ADR, 0x00020000)
            }

            Device (ISA)
            {
                Name (_ADR, 0x00010000)
                OperationRegion (PIRQ, PCI_Config, 0x60, 0x04)
                Field (PIRQ, ByteAcc, NoLock, Preserve)
                {
                    PRQ0, 8, PRQ1, 8, PRQ2, 8, PRQ3, 8
                }

                Device (RTC)
                {
                    Name (_HID, EisaId ("PNP0B00"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0070, 0x0070, 0x01, 0x08)
                        IRQNoFlags () {8}
                    })
                }
                Device (TIMR)
                {
                    Name (_HID, EisaId ("PNP0100"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0040, 0x0040, 0x01, 0x04)
                        IRQNoFlags () {0}
                    })
                }
                Device (KBD)
                {
                    Name (_HID, EisaId ("PNP0303"))
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x0060, 0x0060, 0x01, 0x01)
                        IO (Decode16, 0x0064, 0x0064, 0x01, 0x01)
                        IRQNoFlags () {1}
                    })
                }
                Device (MOU)
                {
                    Name (_HID, EisaId ("PNP0F13"))
                    Name (_CRS, ResourceTemplate () { IRQNoFlags () {12} })
                }
                Device (COM1)
                {
                    Name (_HID, EisaId ("PNP0501"))
                    Name (_UID, One)
                    Name (_CRS, ResourceTemplate ()
                    {
                        IO (Decode16, 0x03F8, 0x03F8, 0x00, 0x08)
                        IRQNoFlags () {4}
                    })
                }
            }
        }

        /* A link's status, setting and resources from its register: bit 7 is off, 0-3 the interrupt. */
        Method (LSTA, 1, NotSerialized)
        {
            If (Arg0 & 0x80) { Return (0x09) }
            Return (0x0B)
        }
        Method (LCRS, 1, Serialized)
        {
            Name (BUF, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {0}
            })
            CreateDWordField (BUF, 0x05, IRQN)
            If (!(Arg0 & 0x80)) { IRQN = Arg0 & 0x0F }
            Return (BUF)
        }
        Name (LPRS, ResourceTemplate ()
        {
            Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) {5, 10, 11}
        })

        Device (LNKA)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 0)
            Method (_STA) { Return (LSTA (^^PCI0.ISA.PRQ0)) }
            Method (_CRS) { Return (LCRS (^^PCI0.ISA.PRQ0)) }
            Method (_PRS) { Return (LPRS) }
            Method (_DIS) { ^^PCI0.ISA.PRQ0 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 0x05, NUM) ^^PCI0.ISA.PRQ0 = NUM }
        }
        Device (LNKB)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 1)
            Method (_STA) { Return (LSTA (^^PCI0.ISA.PRQ1)) }
            Method (_CRS) { Return (LCRS (^^PCI0.ISA.PRQ1)) }
            Method (_PRS) { Return (LPRS) }
            Method (_DIS) { ^^PCI0.ISA.PRQ1 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 0x05, NUM) ^^PCI0.ISA.PRQ1 = NUM }
        }
        Device (LNKC)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 2)
            Method (_STA) { Return (LSTA (^^PCI0.ISA.PRQ2)) }
            Method (_CRS) { Return (LCRS (^^PCI0.ISA.PRQ2)) }
            Method (_PRS) { Return (LPRS) }
            Method (_DIS) { ^^PCI0.ISA.PRQ2 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 0x05, NUM) ^^PCI0.ISA.PRQ2 = NUM }
        }
        Device (LNKD)
        {
            Name (_HID, EisaId ("PNP0C0F"))
            Name (_UID, 3)
            Method (_STA) { Return (LSTA (^^PCI0.ISA.PRQ3)) }
            Method (_CRS) { Return (LCRS (^^PCI0.ISA.PRQ3)) }
            Method (_PRS) { Return (LPRS) }
            Method (_DIS) { ^^PCI0.ISA.PRQ3 |= 0x80 }
            Method (_SRS, 1) { CreateDWordField (Arg0, 0x05, NUM) ^^PCI0.ISA.PRQ3 = NUM }
        }
    }

    /* Soft off: the sleep type for PM1 control. */
    Name (\_S5, Package (0x04) { Zero, Zero, Zero, Zero })
}

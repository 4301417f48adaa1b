/*
 * The printer port, on a machine that has it.
 */
DefinitionBlock ("", "SSDT", 2, "DROVER", "LPT1", 1)
{
    External (\_SB.PCI0.ISA, DeviceObj)
    Scope (\_SB.PCI0.ISA)
    {
        Device (LPT1)
        {
            Name (_HID, EisaId ("PNP0400"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0378, 0x0378, 0x00, 0x03)
                IRQNoFlags () {7}
            })
        }
    }
}

/*
 * The floppy disk controller, on a machine that has floppy drives.
 */
DefinitionBlock ("", "SSDT", 2, "DROVER", "FLOPPY", 1)
{
    External (\_SB.PCI0.ISA, DeviceObj)
    Scope (\_SB.PCI0.ISA)
    {
        Device (FDC0)
        {
            Name (_HID, EisaId ("PNP0700"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F2, 0x03F2, 0x00, 0x04)
                IO (Decode16, 0x03F7, 0x03F7, 0x00, 0x01)
                IRQNoFlags () {6}
                DMA (Compatibility, NotBusMaster, Transfer8) {2}
            })
        }
    }
}

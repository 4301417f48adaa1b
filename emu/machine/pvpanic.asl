/*
 * The port for a guest's last words, on a machine that has it.
 */
DefinitionBlock ("", "SSDT", 2, "DROVER", "PVPANIC", 1)
{
    External (\_SB.PCI0.ISA, DeviceObj)
    Scope (\_SB.PCI0.ISA)
    {
        Device (PEVT)
        {
            Name (_HID, "QEMU0001")
            Name (_STA, 0x0F)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0505, 0x0505, 0x00, 0x01)
            })
            OperationRegion (PEOR, SystemIO, 0x0505, 0x01)
            Field (PEOR, ByteAcc, NoLock, Preserve)
            {
                PEPT, 8
            }
            Method (RDPT, 0, NotSerialized) { Return (PEPT) }
            Method (WRPT, 1, NotSerialized) { PEPT = Arg0 }
        }
    }
}

/*
 * The high precision event timer.
 */
DefinitionBlock ("", "SSDT", 2, "DROVER", "HPET", 1)
{
    External (\_SB, DeviceObj)
    Scope (\_SB)
    {
        Device (HPET)
        {
            Name (_HID, EisaId ("PNP0103"))
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400)
            })
        }
    }
}

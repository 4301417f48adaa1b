#include "emu/device/piix4_pm.h"

#include "emu/core/clock.h"
#include "emu/core/port.h"

#define PM_TIMER_HZ 3579545
#define PM_BASE     0x40
#define PM_MISC     0x80 /* bit 0: the PM ports answer */
#define DEVACTB     0x5b /* bits 24-31 of the register at 0x58; bit 1: APMC_EN */
#define SMB_BASE    0x90

#define STS_TIMER        0x0001
#define STS_GLOBAL       0x0020
#define STS_POWER_BUTTON 0x0100
#define STS_SLEEP_BUTTON 0x0200
#define STS_RTC          0x0400
#define STS_WAKE         0x8000
#define CNT_SCI_EN       0x0001
#define CNT_SLEEP_EN     0x2000

struct pm {
    struct pci_device pci;
    struct port_range *ports, *gpe_ports;
    struct irq *sci;
    const struct irq *smi;
    bool smi_set_up; /* APMC_EN was set by firmware, so there is a handler */
    uint16_t pm1_status, pm1_enable, pm1_control;
    uint8_t gpe[4]; /* two of status, two of enable */
    uint8_t smi_command, smi_status;
    int64_t timer_seen; /* the count of half periods for which the timer's status was noted */
    struct timer overflow;
};

static const struct pci_identity identity = {.vendor = 0x8086,
                                             .device = 0x7113,
                                             .subsystem_vendor = 0x1af4,
                                             .subsystem = 0x1100,
                                             .class_code = 0x068000,
                                             .revision = 3};

/* ---- the timer --------------------------------------------------------------------------- */

static int64_t timer_ticks(const struct pm *pm)
{
    int64_t now = guest_clock_now(pm->pci.device.board->clock);
    return (int64_t)((__int128)now * PM_TIMER_HZ / NS_PER_SECOND);
}

/* Its status is set whenever bit 23 toggles. */
static void note_overflow(struct pm *pm)
{
    int64_t half = timer_ticks(pm) >> 23;
    if (half != pm->timer_seen) {
        pm->timer_seen = half;
        pm->pm1_status |= STS_TIMER;
    }
}

static void update(struct pm *pm)
{
    bool pm1 = pm->pm1_status & pm->pm1_enable &
               (STS_TIMER | STS_GLOBAL | STS_POWER_BUTTON | STS_SLEEP_BUTTON | STS_RTC);
    bool gpe = (pm->gpe[0] & pm->gpe[2]) || (pm->gpe[1] & pm->gpe[3]);
    irq_set(pm->sci, (pm->pm1_control & CNT_SCI_EN) && (pm1 || gpe));
    if (pm->pm1_enable & STS_TIMER && !(pm->pm1_status & STS_TIMER)) {
        __int128 ticks = (__int128)(pm->timer_seen + 1) << 23;
        timer_arm(&pm->overflow, (int64_t)(ticks * NS_PER_SECOND / PM_TIMER_HZ + 1));
    } else {
        timer_cancel(&pm->overflow);
    }
}

static void overflow_fired(void *opaque)
{
    note_overflow(opaque);
    update(opaque);
}

void piix4_pm_power_button(struct device *device)
{
    struct pm *pm = (struct pm *)device;
    pm->pm1_status |= STS_POWER_BUTTON;
    update(pm);
}

/* ---- the PM1 block ----------------------------------------------------------------------- */

static void write_control(struct pm *pm, uint16_t value)
{
    /* SCI_EN changes only through the SMI command port. */
    pm->pm1_control =
        (uint16_t)((value & ~(CNT_SLEEP_EN | CNT_SCI_EN)) | (pm->pm1_control & CNT_SCI_EN));
    if (!(value & CNT_SLEEP_EN))
        return;
    /* SLP_TYP as the DSDT's \_S5 and \_S3 give them (290562, 7.2.3): 0 soft off, 1 suspend to RAM.
     */
    unsigned type = value >> 10 & 7;
    if (type == 0)
        board_ask(pm->pci.device.board, BOARD_POWER_OFF);
    else if (type == 1)
        board_ask(pm->pci.device.board, BOARD_SUSPEND);
}

static uint16_t pm_word(struct pm *pm, unsigned offset)
{
    switch (offset) {
    case 0:
        note_overflow(pm);
        return pm->pm1_status;
    case 2:
        return pm->pm1_enable;
    case 4:
        return pm->pm1_control;
    case 8:
        return (uint16_t)(timer_ticks(pm) & 0xffff);
    case 10:
        return (uint16_t)(timer_ticks(pm) >> 16 & 0x00ff);
    default:
        return 0;
    }
}

static uint32_t pm_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pm *pm = opaque;
    if ((offset & ~3) == 8) /* the timer is read at once */
        return (uint32_t)((timer_ticks(pm) & 0xffffff) >> ((offset & 3) * 8));
    uint32_t words = pm_word(pm, offset & 0x3eu);
    if (size == 4 || (offset & 1 && size == 2))
        words |= (uint32_t)pm_word(pm, (offset & 0x3eu) + 2) << 16;
    return words >> ((offset & 1) * 8);
}

static void write_word(struct pm *pm, unsigned offset, uint16_t value, uint16_t mask)
{
    switch (offset) {
    case 0:
        note_overflow(pm);
        pm->pm1_status &= (uint16_t) ~(value & mask);
        break;
    case 2:
        pm->pm1_enable = (uint16_t)((pm->pm1_enable & ~mask) | (value & mask));
        break;
    case 4:
        write_control(pm, (uint16_t)((pm->pm1_control & ~mask) | (value & mask)));
        break;
    default:
        break;
    }
    update(pm);
}

static void pm_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pm *pm = opaque;
    if (size == 1) {
        unsigned shift = (offset & 1) * 8;
        write_word(pm, offset & 0x3eu, (uint16_t)(value << shift), (uint16_t)(0xff << shift));
        return;
    }
    write_word(pm, offset & 0x3eu, (uint16_t)value, 0xffff);
    if (size == 4)
        write_word(pm, (offset & 0x3eu) + 2, (uint16_t)(value >> 16), 0xffff);
}

/* ---- GPE0 and the SMI command port ------------------------------------------------------- */

static uint32_t gpe_read(void *opaque, uint16_t offset, unsigned size)
{
    return ((struct pm *)opaque)->gpe[offset];
}

static void gpe_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pm *pm = opaque;
    if (offset < 2)
        pm->gpe[offset] &= (uint8_t)~value;
    else
        pm->gpe[offset] = (uint8_t)value;
    update(pm);
}

static uint32_t smi_read(void *opaque, uint16_t offset, unsigned size)
{
    const struct pm *pm = opaque;
    return offset == 0 ? pm->smi_command : pm->smi_status;
}

static void smi_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    struct pm *pm = opaque;
    if (offset == 1) {
        pm->smi_status = (uint8_t)value;
        return;
    }
    pm->smi_command = (uint8_t)value;
    if (value == PIIX4_ACPI_ENABLE)
        pm->pm1_control |= CNT_SCI_EN;
    else if (value == PIIX4_ACPI_DISABLE)
        pm->pm1_control &= (uint16_t)~CNT_SCI_EN;
    update(pm);
    if (pm->smi_set_up)
        irq_pulse(pm->smi);
}

static const struct port_ops pm_ops = {pm_read, pm_write, 4};
static const struct port_ops gpe_ops = {gpe_read, gpe_write, 1};
static const struct port_ops smi_ops = {smi_read, smi_write, 1};

/* ---- the device -------------------------------------------------------------------------- */

static void map_ports(struct pm *pm)
{
    const uint8_t *config = pm->pci.config;
    uint16_t base = (uint16_t)((config[PM_BASE] | config[PM_BASE + 1] << 8) & 0xffc0);
    bool enabled = config[PM_MISC] & 1 && base;
    if (enabled)
        port_range_move(pm->ports, base);
    port_range_enable(pm->ports, enabled);
}

static void config_written(struct pci_device *device, unsigned offset, unsigned size)
{
    struct pm *pm = (struct pm *)device;
    device->config[PM_BASE] = (uint8_t)((device->config[PM_BASE] & 0xc0) | 1);
    if (offset <= DEVACTB && offset + size > DEVACTB)
        pm->smi_set_up = device->config[DEVACTB] & 2;
    map_ports((struct pm *)device);
}

void piix4_pm_connect(struct device *device, struct irq *sci, const struct irq *smi)
{
    ((struct pm *)device)->sci = sci;
    ((struct pm *)device)->smi = smi;
}

static bool realize(struct device *device, GError **error)
{
    struct pm *pm = (struct pm *)device;
    struct port_map *ports = device->board->ports;
    pci_attach(&pm->pci, &identity);
    memset(pm->pci.writable + 0x40, 0xff, 0xa0);
    pm->pci.written = config_written;
    timer_init(&pm->overflow, device->board->clock, overflow_fired, pm);
    pm->ports = port_add(ports, "piix4-pm", 0, 64, &pm_ops, pm);
    port_range_enable(pm->ports, 0);
    port_add(ports, "gpe0", PIIX4_GPE_BASE, 4, &gpe_ops, pm);
    port_add(ports, "smi-command", PIIX4_SMI_PORT, 2, &smi_ops, pm);
    return true;
}

static void reset(struct device *device)
{
    struct pm *pm = (struct pm *)device;
    pci_reset(&pm->pci);
    pm->pci.config[PM_BASE] = 1;
    pm->pci.config[SMB_BASE] = 1;
    pm->pci.config[DEVACTB] = 0;
    pm->smi_set_up = false;
    pm->pci.config[PCI_STATUS] = 0x80;
    pm->pci.config[PCI_STATUS + 1] = 0x02;
    pm->pm1_status = pm->pm1_enable = pm->pm1_control = 0;
    memset(pm->gpe, 0, sizeof(pm->gpe));
    pm->smi_command = pm->smi_status = 0;
    pm->timer_seen = timer_ticks(pm) >> 23;
    map_ports(pm);
    update(pm);
}

static bool loaded(struct device *device, GError **error)
{
    struct pm *pm = (struct pm *)device;
    map_ports(pm);
    if (pm->timer_seen < 0 || pm->timer_seen > timer_ticks(pm) >> 23)
        pm->timer_seen = timer_ticks(pm) >> 23;
    update(pm);
    return true;
}

static void finish(struct device *device)
{
    timer_cancel(&((struct pm *)device)->overflow);
}

static const struct state_field state[] = {
    PCI_STATE(struct pm, pci),         STATE_UINT(struct pm, pm1_status),
    STATE_UINT(struct pm, pm1_enable), STATE_UINT(struct pm, pm1_control),
    STATE_BYTES(struct pm, gpe),       STATE_UINT(struct pm, smi_command),
    STATE_UINT(struct pm, smi_status), STATE_UINT(struct pm, smi_set_up),
    STATE_UINT(struct pm, timer_seen), STATE_END,
};

const struct device_ops piix4_pm_ops = {.name = "piix4-pm",
                                        .size = sizeof(struct pm),
                                        .state_version = 1,
                                        .state = state,
                                        .realize = realize,
                                        .reset = reset,
                                        .loaded = loaded,
                                        .finish = finish};

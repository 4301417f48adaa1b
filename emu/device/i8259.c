#include "emu/device/i8259.h"

#include "emu/core/chips.h"
#include "emu/core/port.h"

#define CASCADE 2

struct chip {
    uint8_t lines; /* the inputs' levels */
    uint8_t irr, imr, isr;
    uint8_t level_mode; /* ELCR */
    uint8_t vector_base;
    uint8_t init_step; /* the next initialisation word expected, 0 outside initialisation */
    uint8_t icw1, icw4;
    uint8_t lowest; /* the input of lowest priority */
    bool rotate_on_auto_eoi, special_mask, read_isr, poll;
};

struct pic_pair {
    struct device device;
    struct chip chips[2];
    struct irq inputs[16];
    struct irq *output;
    bool output_level;
};

/* How far `input` is from the highest priority. */
static unsigned rank(const struct chip *chip, unsigned input)
{
    return (input - chip->lowest - 1) & 7;
}

static int first_of(const struct chip *chip, uint8_t bits)
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned input = (chip->lowest + 1 + i) & 7;
        if (bits & 1u << input)
            return (int)input;
    }
    return -1;
}

/* The input that asks for service and may have it now, or -1. */
static int winner(const struct pic_pair *pair, unsigned index)
{
    const struct chip *chip = &pair->chips[index];
    int request = first_of(chip, chip->irr & (uint8_t)~chip->imr);
    if (request < 0)
        return -1;
    uint8_t serving = chip->isr;
    if (chip->special_mask)
        serving &= (uint8_t)~chip->imr;
    if (index == 0 && (chip->icw4 & 0x10) && request == CASCADE)
        serving &= (uint8_t) ~(1u << CASCADE); /* special fully nested mode */
    int current = first_of(chip, serving);
    if (current >= 0 && rank(chip, (unsigned)current) <= rank(chip, (unsigned)request))
        return -1;
    return request;
}

/* An edge stays latched when its line drops before the acknowledge: a virtual CPU may be so late
 * that the timer's output has fallen again. Only the cascade follows the slave. */
static void set_line(struct pic_pair *pair, unsigned index, unsigned input, bool level)
{
    struct chip *chip = &pair->chips[index];
    uint8_t bit = (uint8_t)(1u << input);
    if (chip->level_mode & bit || chip->icw1 & 0x08)
        chip->irr = level ? chip->irr | bit : chip->irr & (uint8_t)~bit;
    else if (level && !(chip->lines & bit))
        chip->irr |= bit;
    else if (!level && index == 0 && input == CASCADE)
        chip->irr &= (uint8_t)~bit;
    chip->lines = level ? chip->lines | bit : chip->lines & (uint8_t)~bit;
}

static void update(struct pic_pair *pair)
{
    set_line(pair, 0, CASCADE, winner(pair, 1) >= 0);
    bool level = winner(pair, 0) >= 0;
    if (level != pair->output_level) {
        pair->output_level = level;
        irq_set(pair->output, level);
    }
}

static void set_input(void *receiver, int input, int level)
{
    struct pic_pair *pair = receiver;
    struct chips *chips = pair->device.board->chips;
    if (chips_away(chips)) {
        uint8_t *lines = &pair->chips[input >> 3].lines, bit = (uint8_t)(1u << (input & 7));
        *lines = level ? *lines | bit : *lines & (uint8_t)~bit;
        chips_line(chips, (unsigned)input, level);
        return;
    }
    set_line(pair, (unsigned)input >> 3, (unsigned)input & 7, level);
    update(pair);
}

static void begin_service(struct chip *chip, unsigned input)
{
    uint8_t bit = (uint8_t)(1u << input);
    if (!(chip->level_mode & bit || chip->icw1 & 0x08))
        chip->irr &= (uint8_t)~bit;
    if (chip->icw4 & 0x02) {
        if (chip->rotate_on_auto_eoi)
            chip->lowest = (uint8_t)input;
    } else {
        chip->isr |= bit;
    }
}

static int acknowledge_chip(struct pic_pair *pair, unsigned index)
{
    int input = winner(pair, index);
    if (input >= 0)
        begin_service(&pair->chips[index], (unsigned)input);
    return input;
}

int i8259_acknowledge(struct device *device)
{
    struct pic_pair *pair = (struct pic_pair *)device;
    int input = acknowledge_chip(pair, 0), vector;
    if (input == CASCADE) {
        int second = acknowledge_chip(pair, 1);
        vector = pair->chips[1].vector_base + (second < 0 ? 7 : second);
    } else {
        vector = pair->chips[0].vector_base + (input < 0 ? 7 : input);
    }
    update(pair);
    return vector;
}

bool i8259_pending(const struct device *device)
{
    return ((const struct pic_pair *)device)->output_level;
}

void i8259_connect(struct device *device, struct irq *output)
{
    struct pic_pair *pair = (struct pic_pair *)device;
    pair->output = output;
    for (int i = 0; i < 16; i++)
        pair->inputs[i] = (struct irq){set_input, pair, i};
}

struct irq *i8259_input(struct device *device, unsigned number)
{
    return &((struct pic_pair *)device)->inputs[number & 15];
}

/* ---- registers --------------------------------------------------------------------------- */

static void write_icw1(struct chip *chip, uint8_t value)
{
    chip->icw1 = value;
    chip->icw4 = 0;
    chip->imr = 0;
    chip->isr = 0;
    chip->irr = chip->level_mode & chip->lines;
    chip->lowest = 7;
    chip->special_mask = chip->read_isr = chip->poll = chip->rotate_on_auto_eoi = false;
    chip->init_step = 2;
}

/* Operation command word 2: end of interrupt and rotation. */
static void write_ocw2(struct chip *chip, uint8_t value)
{
    unsigned input = value & 7;
    bool eoi = value & 0x20, specific = value & 0x40, rotate = value & 0x80;
    if (!eoi) {
        if (specific && rotate)
            chip->lowest = (uint8_t)input;
        else if (!specific)
            chip->rotate_on_auto_eoi = rotate;
        return;
    }
    int which = specific ? (int)input : first_of(chip, chip->isr);
    if (which < 0)
        return;
    chip->isr &= (uint8_t) ~(1u << which);
    if (rotate)
        chip->lowest = (uint8_t)which;
}

static void write_ocw3(struct chip *chip, uint8_t value)
{
    if (value & 0x40)
        chip->special_mask = value & 0x20;
    chip->poll = value & 0x04;
    if (value & 0x02)
        chip->read_isr = value & 0x01;
}

static void write_data(struct chip *chip, uint8_t value)
{
    switch (chip->init_step) {
    case 2:
        chip->vector_base = value & 0xf8;
        chip->init_step = chip->icw1 & 0x02 ? (chip->icw1 & 0x01 ? 4 : 0) : 3;
        break;
    case 3:
        chip->init_step = chip->icw1 & 0x01 ? 4 : 0;
        break;
    case 4:
        chip->icw4 = value;
        chip->init_step = 0;
        break;
    default:
        chip->imr = value;
        break;
    }
}

static void chip_write(struct pic_pair *pair, unsigned index, uint16_t offset, uint8_t value)
{
    struct chip *chip = &pair->chips[index];
    if (offset == 1)
        write_data(chip, value);
    else if (value & 0x10)
        write_icw1(chip, value);
    else if (value & 0x08)
        write_ocw3(chip, value);
    else
        write_ocw2(chip, value);
    update(pair);
}

static uint32_t chip_read(struct pic_pair *pair, unsigned index, uint16_t offset)
{
    struct chip *chip = &pair->chips[index];
    if (chip->poll) {
        chip->poll = false;
        int input = acknowledge_chip(pair, index);
        update(pair);
        return input < 0 ? 0 : 0x80u | (unsigned)input;
    }
    if (offset == 1)
        return chip->imr;
    return chip->read_isr ? chip->isr : chip->irr;
}

/* The interpreter, where an engine does the work. */
static uint32_t borrowed_read(struct pic_pair *pair, unsigned index, uint16_t offset)
{
    bool borrowed = chips_borrow(pair->device.board->chips);
    uint32_t value = chip_read(pair, index, offset);
    if (borrowed)
        chips_give_back(pair->device.board->chips);
    return value;
}

static void borrowed_write(struct pic_pair *pair, unsigned index, uint16_t offset, uint8_t value)
{
    bool borrowed = chips_borrow(pair->device.board->chips);
    chip_write(pair, index, offset, value);
    if (borrowed)
        chips_give_back(pair->device.board->chips);
}

static uint32_t master_read(void *opaque, uint16_t offset, unsigned size)
{
    return borrowed_read(opaque, 0, offset);
}

static void master_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    borrowed_write(opaque, 0, offset, (uint8_t)value);
}

static uint32_t slave_read(void *opaque, uint16_t offset, unsigned size)
{
    return borrowed_read(opaque, 1, offset);
}

static void slave_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    borrowed_write(opaque, 1, offset, (uint8_t)value);
}

static uint32_t elcr_read(void *opaque, uint16_t offset, unsigned size)
{
    struct pic_pair *pair = opaque;
    bool borrowed = chips_borrow(pair->device.board->chips);
    uint32_t value = pair->chips[offset].level_mode;
    if (borrowed)
        chips_give_back(pair->device.board->chips);
    return value;
}

static void elcr_write(void *opaque, uint16_t offset, uint32_t value, unsigned size)
{
    /* The timer, keyboard, cascade, RTC and FPU inputs are edge triggered for good. */
    static const uint8_t allowed[2] = {0xf8, 0xde};
    struct pic_pair *pair = opaque;
    bool borrowed = chips_borrow(pair->device.board->chips);
    pair->chips[offset].level_mode = value & allowed[offset];
    update(pair);
    if (borrowed)
        chips_give_back(pair->device.board->chips);
}

static const struct port_ops master_ops = {master_read, master_write, 1};
static const struct port_ops slave_ops = {slave_read, slave_write, 1};
static const struct port_ops elcr_ops = {elcr_read, elcr_write, 1};

/* ---- while an engine does the work (emu/core/chips.h) ------------------------------------ */

static void tell_lines(void *device, struct chips *chips)
{
    const struct pic_pair *pair = device;
    for (unsigned i = 0; i < 16; i++)
        if (i != CASCADE)
            chips_line(chips, i, pair->chips[i >> 3].lines >> (i & 7) & 1);
}

static void leave(void *device, struct chips *chips)
{
    const struct pic_pair *pair = device;
    struct chip_pic images[2];
    void *engine;
    const struct chips_ops *ops = chips_ops(chips, &engine);
    for (unsigned i = 0; i < 2; i++) {
        const struct chip *chip = &pair->chips[i];
        images[i] = (struct chip_pic){.lines = chip->lines,
                                      .irr = chip->irr,
                                      .imr = chip->imr,
                                      .isr = chip->isr,
                                      .level_mode = chip->level_mode,
                                      .vector_base = chip->vector_base,
                                      .next_word = chip->init_step,
                                      .lowest = chip->lowest,
                                      .fourth_word = chip->icw1 & 0x01,
                                      .auto_eoi = chip->icw4 & 0x02,
                                      .special_nested = chip->icw4 & 0x10,
                                      .special_mask = chip->special_mask,
                                      .rotate_on_auto_eoi = chip->rotate_on_auto_eoi,
                                      .read_isr = chip->read_isr,
                                      .poll = chip->poll};
    }
    ops->set_pics(engine, images);
}

/* The lines' levels stay what the devices have told; the kernel may have pulsed the timer's. */
static void enter(void *device, struct chips *chips)
{
    struct pic_pair *pair = device;
    struct chip_pic images[2];
    void *engine;
    chips_ops(chips, &engine)->get_pics(engine, images);
    for (unsigned i = 0; i < 2; i++) {
        const struct chip_pic *image = &images[i];
        struct chip *chip = &pair->chips[i];
        chip->irr = image->irr;
        chip->imr = image->imr;
        chip->isr = image->isr;
        chip->level_mode = image->level_mode;
        chip->vector_base = image->vector_base;
        chip->init_step = image->next_word;
        chip->lowest = image->lowest;
        chip->icw1 = image->fourth_word ? 0x11 : 0x10;
        chip->icw4 = (uint8_t)((image->special_nested ? 0x10 : 0) | (image->auto_eoi ? 0x02 : 0) |
                               (image->fourth_word ? 0x01 : 0));
        chip->special_mask = image->special_mask;
        chip->rotate_on_auto_eoi = image->rotate_on_auto_eoi;
        chip->read_isr = image->read_isr;
        chip->poll = image->poll;
    }
    set_line(pair, 0, CASCADE, winner(pair, 1) >= 0);
    pair->output_level = winner(pair, 0) >= 0; /* the local APICs look by themselves */
}

static const struct chip_model chip_model = {CHIP_PIC, tell_lines, leave, enter};

/* ---- the device -------------------------------------------------------------------------- */

static bool realize(struct device *device, GError **error)
{
    struct port_map *ports = device->board->ports;
    port_add(ports, "pic-master", 0x20, 2, &master_ops, device);
    port_add(ports, "pic-slave", 0xa0, 2, &slave_ops, device);
    port_add(ports, "elcr", 0x4d0, 2, &elcr_ops, device);
    chips_add(device->board->chips, &chip_model, device);
    return true;
}

static void reset(struct device *device)
{
    struct pic_pair *pair = (struct pic_pair *)device;
    for (int i = 0; i < 2; i++) {
        uint8_t lines = pair->chips[i].lines;
        pair->chips[i] = (struct chip){.lines = lines, .lowest = 7, .imr = 0xff};
    }
    update(pair);
}

static const struct state_field chip_state[] = {
    STATE_UINT(struct chip, lines),
    STATE_UINT(struct chip, irr),
    STATE_UINT(struct chip, imr),
    STATE_UINT(struct chip, isr),
    STATE_UINT(struct chip, level_mode),
    STATE_UINT(struct chip, vector_base),
    STATE_UINT(struct chip, init_step),
    STATE_UINT(struct chip, icw1),
    STATE_UINT(struct chip, icw4),
    STATE_UINT(struct chip, lowest),
    STATE_UINT(struct chip, special_mask),
    STATE_UINT(struct chip, rotate_on_auto_eoi),
    STATE_UINT(struct chip, read_isr),
    STATE_UINT(struct chip, poll),
    STATE_END,
};

static const struct state_field state[] = {
    STATE_STRUCTS(struct pic_pair, chips, chip_state),
    STATE_UINT(struct pic_pair, output_level),
    STATE_END,
};

const struct device_ops i8259_ops = {.name = "i8259",
                                     .size = sizeof(struct pic_pair),
                                     .state_version = 1,
                                     .state = state,
                                     .realize = realize,
                                     .reset = reset};

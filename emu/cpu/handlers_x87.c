#include "emu/cpu/interp.h"
const struct handler_row handlers_x87[] = {{0}};

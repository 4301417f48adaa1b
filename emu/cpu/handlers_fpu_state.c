#include "emu/cpu/interp.h"
const struct handler_row handlers_fpu_state[] = {{0}};

#include "emu/cpu/interp.h"
const struct handler_row handlers_sse[] = {{0}};

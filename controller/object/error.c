#include "controller/object/error.h"

G_DEFINE_QUARK(object - error - quark, object_error)

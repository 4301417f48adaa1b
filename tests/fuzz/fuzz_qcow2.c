/*
 * qcow2: header, extensions, both tables, compressed clusters, backing files ("parent.qcow2").
 */
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned bits;

    if (!fuzz_make_file(data, size, 64u << 20, &bits))
        return -1;
    fuzz_use_image(0);
    return 0;
}

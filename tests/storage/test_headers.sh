#!/bin/bash
# storage/ as another project meets it: each header stands alone, and the program in block.h's comment
# is built with what it says, outside of this tree, and works.
set -eu
root=$PWD
cd "$TEST_TMP"
fail() { echo "FAILED: $*" >&2; exit 1; }
cc=${CC:-gcc}

echo "== every header by itself"
for header in "$root"/storage/*.h "$root"/storage/{fsmap,nbd,fuse}/*.h; do
    echo "#include \"${header#"$root"/}\"" >one.c
    # shellcheck disable=SC2046
    $cc -std=gnu17 -D_GNU_SOURCE -Wall -Wextra -Werror -Wno-unused-parameter -Wno-unused-function -fsyntax-only -I"$root" \
        $(pkg-config --cflags glib-2.0) one.c || fail "${header#"$root"/} needs another header before it"
done

echo "== the example in block.h"
sed -n '/^ \*      #include "storage\/block.h"$/,/^ \* A block_device is opened/{s/^ \*      \{0,1\}//p}' "$root/storage/block.h" >example.c
grep -q "int main" example.c || fail "there is no example in block.h any more"
# shellcheck disable=SC2046
$cc -Wall -Wextra -Werror -I"$root" -o example example.c "$BUILD/libstorage.a" \
    $(pkg-config --cflags --libs glib-2.0 liburing zlib libzstd) -lpthread || fail "it does not compile"
./example hello.vhd || fail "it does not work"
"$BUILD/drover-vhd" convert --quiet --type raw hello.vhd - | head -c 5 | grep -qx hello || fail "it did not write hello"
if ./example hello.vhd 2>err; then fail "it made a disk over another"; fi
grep -q "hello.vhd" err || fail "its error names no file"
echo passed

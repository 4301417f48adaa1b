#!/usr/bin/env python3
"""Makes fuzz inputs of files: recipes of their sectors that are not zero (see fuzz.h).

    sparse.py BITS FILE OUT

Runs of more than 40 such sectors are a file's content, not structure, and are cut there."""
import struct
import sys

bits, path, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
data = open(path, "rb").read()
recipe = bytearray(struct.pack("<BI", bits, (len(data) + 511) // 512))
run, empty_until = [], 0


def put():
    piece = data[run[0] * 512:(run[0] + min(len(run), 40)) * 512].rstrip(b"\0")
    recipe.extend(struct.pack("<IH", run[0], len(piece)) + piece)
    run.clear()


zero = bytes(1 << 20)
for sector in range((len(data) + 511) // 512):
    if not run and sector % 2048 == 0 and data[sector * 512:(sector + 2048) * 512] == zero:
        empty_until = sector + 2048
    if sector < empty_until:
        continue
    if data[sector * 512:(sector + 1) * 512].strip(b"\0"):
        run.append(sector)
    elif run:
        put()
if run:
    put()
open(out, "wb").write(recipe)

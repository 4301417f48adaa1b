#!/bin/bash
# Debian's installer, as it is started over the network: iPXE and pxelinux load it by TFTP from its
# netboot package. The text one shows its first question on the serial line, amd64 and i386; the
# graphical one shows its list of languages, which is read from a screendump.
#
# SYSTEM_WAYS chooses some of them: ARCHITECTURE:text or gtk:at-a-stretch or restored.
. "$(dirname "$0")/system_lib.sh"
ways=${SYSTEM_WAYS:-amd64:text:at-a-stretch amd64:gtk:restored i386:text:restored}
for arch in amd64 i386; do
    case $ways in *$arch*) system_package debian-installer-12-netboot-$arch >/dev/null || skip "the installer's package for $arch cannot be had" ;; esac
done

# language_list PNG: is there, on a bright ground, a bar of the installer's blue with the language
# chosen, among rows of text? Prints what it found.
language_list() {
    python3 - "$1" <<'END'
import struct, sys, zlib
data = open(sys.argv[1], "rb").read()
width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
at, raw = 8, b""
while at < len(data):
    length, name = struct.unpack(">I4s", data[at:at + 8])
    if name == b"IDAT": raw += data[at + 8:at + 8 + length]
    at += 12 + length
raw = zlib.decompress(raw)
assert depth == 8 and kind == 2, "not RGB"
stride, before, rows = width * 3, bytearray(width * 3), []
for y in range(height):
    mode, line = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
    for x in range(stride):
        a = line[x - 3] if x >= 3 else 0
        b, c = before[x], before[x - 3] if x >= 3 else 0
        p = a + b - c
        nearest = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
        line[x] = line[x] + (0, a, b, (a + b) // 2, nearest)[mode] & 255
    rows.append(line)
    before = line
def pixel(row, x): return row[3 * x], row[3 * x + 1], row[3 * x + 2]
# The bar: most of a row in one colour that is neither grey nor bright.
bars = 0
text = 0
dark_before = False
for row in rows:
    colours = {}
    for x in range(0, width, 4):
        colours[pixel(row, x)] = colours.get(pixel(row, x), 0) + 1
    (r, g, b), count = max(colours.items(), key=lambda item: item[1])
    bars += count > width / 4 * 0.6 and b > r + 30 and max(r, g, b) < 245
    bright = sum(n for (r, g, b), n in colours.items() if min(r, g, b) > 200)
    dark = sum(n for (r, g, b), n in colours.items() if max(r, g, b) < 110)
    is_text = bright > width / 4 * 0.5 and dark > 2
    text += is_text and not dark_before
    dark_before = is_text
print(f"{width}x{height}, {bars} rows of the bar, {text} lines of text")
sys.exit(0 if bars >= 10 and text >= 10 else 1)
END
}

# steady_picture: waits until the menu is there and stays as it is. A key, whenever it takes the first,
# stops its count of seconds to speech synthesis.
steady_picture() {
    : >"$tmp/before.png"
    for _ in $(seq 100); do
        ctl key home
        sleep 1
        ctl screendump "$tmp/now.png" && cmp -s "$tmp/before.png" "$tmp/now.png" && return
        mv "$tmp/now.png" "$tmp/before.png"
    done
}

# settle: waits until the screen has not changed for two seconds.
settle() {
    : >"$tmp/before.png"
    for _ in $(seq 60); do
        sleep 2
        ctl screendump "$tmp/now.png" && cmp -s "$tmp/before.png" "$tmp/now.png" && return
        mv "$tmp/now.png" "$tmp/before.png"
    done
}

# wider_than PIXELS: waits until the screen is.
wider_than() { wait_until is_wider "$1"; }
is_wider() {
    ctl screendump "$tmp/now.png" && [ $((0x$(od -An -j 18 -N 2 --endian=big -tx2 "$tmp/now.png" | tr -d " "))) -gt "$1" ] && ! ctl text >/dev/null 2>&1
}
shows_graphics() { ctl text 2>&1 | grep -q "shows graphics"; }

# one ARCHITECTURE KIND SAVED
one() {
    local arch=$1 kind=$2 saved=$3 images status=1
    images=$(system_package debian-installer-12-netboot-$arch)/usr/lib/debian-installer/images/12/$arch/$kind
    say "the installer for $arch, $kind, $saved"
    system_start "installer-$arch-$kind-$saved" --memory 1G --boot-order n \
        --net "user,model=virtio,tftp=$images,bootfile=pxelinux.0"
    # The menu is a picture; its first entry boots the installer.
    wait_until shows_graphics || fail "there is no menu"
    steady_picture
    if [ $kind = text ]; then
        # In pieces: the BIOS keeps fifteen keys for a slow menu.
        ctl key tab && settle && for piece in " con" "sole" "=tty" "S0"; do ctl type "$piece" && settle; done
        settle
    fi
    ctl key enter
    # The kernel begins with a larger picture than the menu's. (What TFTP was at is not saved.)
    wider_than 640 || fail "the kernel does not start"
    if [ "$saved" = restored ]; then
        system_save_restore
        wider_than 800 && system_save_restore
    fi
    if [ $kind = text ]; then
        wait_for "Choose the language to be used" && wait_for "English"
        sleep 2
        printf '\r' >&8 # the choice of English; the next question comes
        wait_for "Select your location|continent or region"
    else
        for _ in $(seq 300); do
            ctl screendump "$tmp/$arch.png" && language_list "$tmp/$arch.png" >"$tmp/seen" && status=0 && break
            kill -0 $pid 2>/dev/null || break
            sleep 3
        done
        cat "$tmp/seen"
        [ $status = 0 ] || fail "no list of languages on the screen"
    fi
    ctl quit
    system_kill
}
for way in $ways; do
    IFS=: read -r arch kind saved <<<"$way"
    one "$arch" "$kind" "$saved"
done
end_test "the installer's first screens: $ways"

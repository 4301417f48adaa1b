#!/bin/sh
# Installs the Debian packages Drover builds, runs and tests with. Says what it installs, and does
# nothing (and needs no network) when all of them are there.
set -eu

packages="
build-essential pkg-config
libglib2.0-dev libzydis-dev libevent-dev libnng-dev libprotobuf-c-dev protobuf-c-compiler protobuf-compiler
libjansson-dev libyaml-dev libsqlite3-dev libssl-dev libcurl4-openssl-dev libpng-dev
libslirp-dev liburing-dev libxxhash-dev libseccomp-dev
libvncserver-dev gvncviewer
seabios ipxe-qemu acpica-tools
busybox-static cpio zstd e2fsprogs mtools dosfstools syslinux syslinux-common fdisk
isolinux xorriso grub-pc-bin grub-common
zlib1g-dev libzstd-dev libfuse3-dev fuse3 ntfs-3g libnbd-bin
libcmocka-dev nasm qemu-utils qemu-system-x86 libvhdi-utils prometheus
clang clang-format libclang-rt-dev python3 curl openssl jq procps iproute2 ca-certificates
dmidecode mmdebstrap
nodejs chromium
"

# For `make bench-emu`: programs of a 32-bit guest.
[ "${1:-}" = --bench ] && packages="$packages gcc-multilib"

# Other builds of Node bring npm along, and Debian's does not go with them.
command -v npm >/dev/null || packages="$packages npm"

missing=""
for package in $packages; do
    status=$(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true)
    [ "$status" = "install ok installed" ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "install-deps: these packages are missing, and there is neither root nor sudo to install them:$missing" >&2
        exit 1
    }
    as_root="sudo"
fi

echo "install-deps: installing:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
    echo "install-deps: apt-get failed; its last lines:" >&2
    tail -n 20 "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"

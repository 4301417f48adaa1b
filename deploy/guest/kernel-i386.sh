#!/bin/bash
# Downloads Debian's kernel for i386 for the emulator's benchmark: DIRECTORY/vmlinuz.
#
#   deploy/guest/kernel-i386.sh DIRECTORY
#
# apt gets package lists of its own for it, so this computer's dpkg need not know the architecture.
set -euo pipefail
out=${1:?the directory to put it in}
[ -s "$out/vmlinuz" ] && exit 0
mkdir -p "$out"
lists=$(mktemp -d)
trap 'rm -rf "$lists"' EXIT
chmod 755 "$lists"
mkdir -p "$lists"/{lists,cache/archives}/partial
apt=(-o APT::Architecture=i386 -o APT::Architectures::=i386 -o Dir::State::status=/dev/null
    -o Dir::State::lists="$lists/lists" -o Dir::Cache="$lists/cache" -o APT::Sandbox::User="$(id -un)")
apt-get "${apt[@]}" update >"$lists/log" 2>&1 || true # one list that fails is not all of them
package=$(apt-cache "${apt[@]}" depends linux-image-686 2>/dev/null | sed -n 's/^ *Depends: *\(linux-image-[^ ]*\).*/\1/p' | head -n 1)
[ -n "$package" ] || { echo "guest: apt knows no linux-image-686 for i386: $(tail -n 1 "$lists/log")" >&2; exit 1; }
echo "  GUEST   downloading $package"
(cd "$lists" && apt-get "${apt[@]}" download "$package" >log 2>&1) || { echo "guest: apt-get download $package failed: $(tail -n 1 "$lists/log")" >&2; exit 1; }
dpkg-deb --fsys-tarfile "$lists"/*.deb | tar -xO --wildcards './boot/vmlinuz-*' >"$out/vmlinuz.part"
mv "$out/vmlinuz.part" "$out/vmlinuz"

#!/bin/bash
# Makes a disk (one ext4 file system, no partitions) of a Debian 12 with the programs that
# tests/guest/programs/run.sh runs, and what they compute on this host's processor.
#
#   tests/guest/programs_image.sh OUT.vhd EXPECTED ARCHITECTURE      (BUILD names the build folder)
set -euo pipefail
out=$1 expected=$2 architecture=$3
export PATH=$PATH:/sbin:/usr/sbin LC_ALL=C
work=$(mktemp -d "$(dirname "$out")/programs.XXXXXX")
trap 'rm -rf "$work"' EXIT
packages=nodejs,openjdk-17-jdk-headless,luajit,python3,perl,gcc,libc6-dev,sqlite3,openssl,xz-utils,zstd,bzip2,ruby,ffmpeg,gawk
here=$(dirname "$0")
# Of where apt fetches from, what has every architecture.
archive=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^bookworm //p' | head -n 1)
mmdebstrap --quiet --architecture="$architecture" --mode=root --skip=output/dev --variant=minbase --include=$packages \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in $here/programs /" bookworm "$work/tree.tar" "$archive" >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    exit 1
}
mkdir "$work/tree"
tar -C "$work/tree" -xf "$work/tree.tar"
mkdir -p "$work/tree/dev" "$work/tree/programs"
rm "$work/tree.tar"
truncate -s 3G "$work/root.img"
mke2fs -qF -t ext4 -d "$work/tree" "$work/root.img"
# In namespaces of its own, so that nothing stays mounted.
unshare --mount --pid --fork sh -c 'cd "$1" && mount -t proc proc proc && mount -t tmpfs tmp tmp &&
    mount --rbind /dev dev && exec chroot . /programs/run.sh' sh "$work/tree" >"$work/expected"
grep -q "^end of programs" "$work/expected"
"$BUILD/drover-vhd" convert --quiet "$work/root.img" "$work/root.vhd" --type dynamic
mv "$work/expected" "$expected"
mv "$work/root.vhd" "$out"

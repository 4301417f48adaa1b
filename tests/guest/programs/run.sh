#!/bin/sh
# Runs programs that people use and prints what they compute, a name before each line. What is
# printed does not depend on the machine, as long as it has AVX2 and FMA.
cd "$(dirname "$0")" || exit 1
export HOME=/tmp LC_ALL=C
one() { # NAME COMMAND...
    name=$1
    shift
    "$@" 2>&1 | sed "s|^|$name: |"
}
seq 1 400000 >/tmp/numbers
video="-v error -f lavfi -i testsrc2=size=320x240:rate=25:duration=2 -threads 1"

one sums sh -c 'for sum in md5sum sha1sum sha512sum b2sum cksum; do $sum </tmp/numbers; done'
one xz sh -c 'xz -T1 -6 -c /tmp/numbers | tee /tmp/packed | md5sum; xz -dc /tmp/packed | md5sum
    xz -T4 --block-size=500000 -3 -c /tmp/numbers | md5sum'
one zstd sh -c 'zstd -q -15 -c /tmp/numbers | tee /tmp/packed | md5sum; zstd -dc </tmp/packed | md5sum'
one bzip2 sh -c 'bzip2 -c /tmp/numbers | tee /tmp/packed | md5sum; bzip2 -dc </tmp/packed | md5sum'
one ciphers sh -c 'for cipher in aes-128-cbc aes-256-ctr chacha20 camellia-256-cbc aria-128-ofb sm4-cbc; do
    openssl enc -$cipher -K 000102030405060708090a0b0c0d0e0f -iv 000102030405060708090a0b0c0d0e0f -in /tmp/numbers 2>/dev/null | md5sum; done'
one digests sh -c 'for digest in sha256 sha3-256 blake2b512 ripemd160 sm3; do openssl dgst -$digest /tmp/numbers; done'
one keys sh -c 'for i in 1 2 3; do openssl genrsa -out /tmp/key 1024 2>/dev/null; openssl rsa -in /tmp/key -pubout -out /tmp/public 2>/dev/null
    openssl dgst -sha256 -sign /tmp/key -out /tmp/signature /tmp/numbers; openssl dgst -sha256 -verify /tmp/public -signature /tmp/signature /tmp/numbers
    openssl ecparam -genkey -name prime256v1 -out /tmp/key; openssl ec -in /tmp/key -pubout -out /tmp/public 2>/dev/null
    openssl dgst -sha256 -sign /tmp/key -out /tmp/signature /tmp/numbers; openssl dgst -sha256 -verify /tmp/public -signature /tmp/signature /tmp/numbers; done'
one python python3 compute.py
one perl perl -MDigest::MD5=md5_hex -e '$h{$_ % 1009} += $_ for 1 .. 500000;
    print md5_hex(join(",", map {"$_=$h{$_}"} sort {$a <=> $b} keys %h)), "\n";
    for (1 .. 30) { if (!($p = fork)) { exit $_ } waitpid $p, 0; print $? >> 8, " " } print "\n"'
one gawk gawk 'BEGIN { for (i = 0; i < 1000000; i++) { x = (x * 1103515245 + 12345) % 2147483648; n[x % 97]++; s += sqrt(i) * sin(i) }
    for (i = 0; i < 97; i++) printf "%d ", n[i]; printf "%.17g\n", s }'
one luajit luajit compute.lua
one lua luajit -joff compute.lua
one ruby ruby compute.rb
one node node compute.js
one gcc sh -c 'for options in -O0 -O2 "-O3 -march=haswell" "-O2 -mavx2 -mfma -ffast-math" -Os; do
    gcc $options -S -o - compute.c | md5sum; gcc $options -o /tmp/compute compute.c -lm -lpthread && /tmp/compute; done'
one sqlite sqlite3 :memory: 'with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
    select sum(i * 7 % 13), count(distinct i * i % 1009), total(i / 3.0) from n;'
# x264 has other results with AVX-512, which no model has.
one video sh -c "ffmpeg $video -c:v libx264 -x264-params threads=1:asm=AVX2 -f h264 -y /tmp/video; md5sum </tmp/video
    ffmpeg -v error -threads 1 -i /tmp/video -f rawvideo - | md5sum
    ffmpeg $video -vf scale=640:360,hue=h=90,gblur=2 -pix_fmt yuv420p -f rawvideo - | md5sum"
one sound sh -c 'ffmpeg -v error -f lavfi -i sine=frequency=440:duration=3 -c:a flac -f flac - | md5sum'
one java java -Xmx200m Compute.java
one java-interpreter java -Xint -Xmx200m Compute.java
echo "end of programs"

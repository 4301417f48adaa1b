#!/bin/bash
# The Linux kernel's tests of itself, as Debian builds them as modules: the crypto test manager (tcrypt
# tests every algorithm against vectors and against the generic code), test_bpf, test_user_copy, and
# the checks at load of raid6_pq and xor. They exercise the vector code, so with each CPU model.
#
# SYSTEM_MODELS chooses models.
. "$(dirname "$0")/system_lib.sh"
models=${SYSTEM_MODELS:-x86-64-v2 x86-64-v2,+aes,+pclmulqdq x86-64-v3 x86-64-v3,+aes,+pclmulqdq,+sha}
system_kernel amd64 amd64 >/dev/null || skip "there is no kernel to be had"

# Modules by their dependencies, so all of the kernel's go into the initramfs's own tree.
cat >"$tmp/script" <<'SCRIPT'
mkdir -p /lib/modules
mv /tree /lib/modules/$(uname -r)
echo /bin/modprobe >/proc/sys/kernel/modprobe
echo "model: $(sed -n 's/^flags.*: //p' /proc/cpuinfo | head -n 1)"
# All implementations of what there is; those that the processor has not do not load.
for module in aesni-intel crc32c-intel crc32-pclmul crct10dif-pclmul ghash-clmulni-intel sha1-ssse3 sha256-ssse3 \
    sha512-ssse3 chacha-x86_64 poly1305-x86_64 blake2s-x86_64 camellia-x86_64 camellia-aesni-avx-x86_64 \
    camellia-aesni-avx2 serpent-sse2-x86_64 serpent-avx-x86_64 serpent-avx2 twofish-x86_64 twofish-x86_64-3way \
    twofish-avx-x86_64 blowfish-x86_64 cast5-avx-x86_64 cast6-avx-x86_64 des3_ede-x86_64 nhpoly1305-sse2 \
    nhpoly1305-avx2 curve25519-x86_64 sm3-avx-x86_64 sm4-aesni-avx-x86_64 sm4-aesni-avx2-x86_64 \
    polyval-clmulni aria-aesni-avx-x86_64; do
    modprobe $module 2>/dev/null && echo "loaded $module"
done
# tcrypt does not stay: "Resource temporarily unavailable" is how it says that all passed. Modes of
# one algorithm each; from 200 on they are benchmarks.
for mode in $(seq 1 59) $(seq 100 199); do
    modprobe tcrypt mode=$mode 2>/tmp/error
    grep -q "temporarily unavailable" /tmp/error && passed="$passed $mode" || echo "mode $mode: $(cat /tmp/error)"
done
echo "result modes passed: $(echo $passed | wc -w)"
# What Debian does not build cannot be allocated; all else is a failure.
dmesg | grep "alg: " | grep -vE "passed|No test for|failed to allocate transform for .*: -2|\(rc=-2\)" | sed 's/^/failure /'
dmesg | grep "failed to allocate transform" | sed 's/.*transform for/not built:/' | sort -u
modprobe test_bpf
dmesg | grep -E "test_bpf: .*(Summary|FAIL)" | sed 's/^/bpf /'
modprobe test_user_copy && dmesg | grep -E "test_user_copy|usercopy" | sed 's/^/user_copy /'
modprobe raid6_pq
modprobe xor
dmesg | grep -E "raid6:|xor:" | sed 's/^/result /'
grep -E "^(driver|selftest|name)" /proc/crypto | awk '/^name/ {n=$3} /^driver/ {d=$3} /^selftest/ && $3 != "passed" {print "selftest", d, $3}'
echo "result drivers: $(grep -c '^driver' /proc/crypto)"
dmesg | grep -E "BUG:|Oops|WARNING:|rcu.*stall|soft lockup|general protection|invalid opcode" | sed 's/^/complaint /'
echo "result end: yes"
SCRIPT
# initrd.sh takes modules by name; here all that may be asked for come as a tree for modprobe.
tests/guest/initrd.sh "$tmp/small.gz" "$tmp/script" virtio_pci || exit 1
version=$(basename "$systems"/kernel-amd64/lib/modules/*)
mkdir -p "$tmp/more/tree/kernel"
for dir in crypto lib arch/x86/crypto drivers/char/hw_random arch/x86/lib; do
    [ -d "$systems/kernel-amd64/lib/modules/$version/kernel/$dir" ] || continue
    mkdir -p "$tmp/more/tree/kernel/$dir"
    cp -r "$systems/kernel-amd64/lib/modules/$version/kernel/$dir/." "$tmp/more/tree/kernel/$dir/"
done
cp "$systems/kernel-amd64/lib/modules/$version"/modules.* "$tmp/more/tree/"
(cd "$tmp/more" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -1n >"$tmp/more.gz"
cat "$tmp/small.gz" "$tmp/more.gz" >"$tmp/initrd.gz"

for model in $models; do
    say "the kernel's tests on $model"
    system_start "kernel-$model" --memory 512M --cpu-model "$model" --kernel "$guest/vmlinuz" --initrd "$tmp/initrd.gz" \
        --append "console=ttyS0 panic=-1" --no-reboot
    wait_for "result end: yes"
    system_stop
    tr -d '\r' <"$log" | grep -aE "^(result|failure|selftest|complaint|bpf|user_copy|mode|not built)" | grep -av "bpf.*PASS" | cut -c 1-150
    grep -aq "^failure" "$log" && fail "$model: the crypto tests fail"
    [ "$(sed -n 's/^result modes passed: \([0-9]*\).*/\1/p' "$log")" -ge 120 ] || fail "$model: too few of tcrypt's modes pass"
    grep -aq "^selftest" "$log" && fail "$model: an algorithm has not passed its self-test"
    grep -aqE "^bpf .*Summary: [0-9]+ PASSED, 0 FAILED" "$log" || fail "$model: test_bpf"
    grep -aqE "^bpf .*FAIL[^E]" "$log" && fail "$model: test_bpf fails"
    grep -aq "^user_copy .*tests passed" "$log" || fail "$model: test_user_copy"
    grep -aqE "^result .*raid6: using algorithm" "$log" || fail "$model: raid6"
    grep -aqE "^result .*xor: .*(using|measured)" "$log" || fail "$model: xor"
    grep -aq "^complaint" "$log" && fail "$model: the kernel complains"
done
end_test "tcrypt, test_bpf, test_user_copy, raid6 and xor on $models"

#!/bin/bash
# emu_lib.sh itself, with scripts in place of the emulator: a machine that comes too late, says nothing, ends
# with another status or never ends must fail a test, and one that does well must not.
. "$(dirname "$0")/emu_lib.sh"
cat >"$tmp/emu" <<'END'
#!/bin/bash
for step in "$@"; do
    case $step in
    say:*) echo "${step#say:}" ;;
    wait) sleep 0.2 ;;
    hang) exec sleep 1000 ;;
    hear) read -r word && echo "heard $word" ;;
    end:*) exit "${step#end:}" ;;
    esac
done
END
chmod 755 "$tmp/emu"

# expect WORD COMMANDS [:]: with that, of the real emulator; they are a test of their own, in a shell of its own, and its last line is WORD.
wrong=0
expect() {
    local word=$1 out patience=600
    case $2 in *"start hang"* | *emu=false*) patience=1 ;; esac # for what never comes
    out=$(set +u; export TEST_TMP=$tmp/inner PATIENCE=$patience; rm -rf "$TEST_TMP"; mkdir "$TEST_TMP"
        bash -c ". tests/guest/emu_lib.sh; ${3:-emu=$tmp/emu}; $2
end_test passed" 2>"$tmp/inner.err")
    local ended=$?
    [ "$(head -n 1 <<<"$out")" = "$word" ] && [ $ended -eq "$([ "$word" = passed ] && echo 0 || echo 1)" ] && return
    echo "WRONG: $2: status $ended, \"$out\", not \"$word\""
    wrong=1
}
expect passed 'start wait say:"result a: b" >"$log"; wait_for "$log" "result a"; wait_end; check a b'
expect passed 'start say:early end:3 >"$log"; wait_end 3; wait_for "$log" early'
expect passed 'open_line; start hear <&8 >"$log"; tell hello; wait_for "$log" "heard hello"; wait_end'
expect passed 'start hang; gone && fail "it is there"; end_machine; [ $status -eq 137 ] || fail "status $status"'
expect 'FAIL: a is "b", not "c"' 'start say:"result a: b" >"$log"; wait_end; check a c'
expect 'FAIL: none is "", not "c"' 'start say:"result a: b" >"$log"; wait_end; check none c'
expect 'FAIL: LOG never says "late"' 'log=LOG; cd "$tmp"; start wait say:other >LOG; wait_for LOG late'
expect 'FAIL: LOG never says "late"' 'log=LOG; cd "$tmp"; start hang >LOG; wait_for LOG late'
expect "FAIL: the machine's status is 4" 'start end:4; wait_end'
expect "FAIL: the machine does not end" 'start hang; wait_end 137'
expect 'FAIL: ctl status is never answered' 'emu=false; start; wait_ctl'
expect passed 'has_model x86-64-v2 && ! has_model x86-64-v2,+warp || fail "models"' :
# What began in the background ends with the test.
expect passed 'start hang; echo $pid >'"$tmp/left"
kill -0 "$(cat "$tmp/left")" 2>/dev/null && { echo "WRONG: a machine outlives its test"; wrong=1; }
skipped=$(bash -c '. tests/guest/emu_lib.sh; need_guest no-such-file; echo on')
[ $? -eq 77 ] && [[ $skipped == skipped:*no-such-file* ]] || { echo "WRONG: need_guest: $skipped"; wrong=1; }
[ $wrong -eq 0 ] && echo "the tests' own steps do as they should"
exit $wrong

#!/bin/bash
# Rules that a compiler does not check: banned calls, who includes whom, file lengths, layout.
set -u
cd "$(dirname "$0")/.."
status=0
say() { echo "lint: $*"; status=1; }

sources() { git ls-files "$@" 2>/dev/null || find . -path ./build -prune -o -name "${1:-*}" -print; }
files=$(sources '*.c' '*.h')

banned='\b(strcpy|strcat|sprintf|vsprintf|gets|atoi|atol|strtok|system|popen|alloca)[[:space:]]*\('
hits=$(grep -nE "$banned" $files | grep -vE '^[^:]+:[0-9]+:[[:space:]]*(\*|/\*|//)')
[ -z "$hits" ] || say "banned calls:"$'\n'"$hits"

# GLib's MAX and MIN look at what they return twice, and the clock may have passed a bound by then.
hits=$(grep -nE '\b(MAX|MIN|CLAMP|ABS)\(.*(now|time|timer_count)\(' $files)
[ -z "$hits" ] || say "a clock that MAX or MIN reads twice:"$'\n'"$hits"

# folder -> the folders it may include from (ARCHITECTURE.md)
may_include() {
    case $1 in
    proto) echo proto ;;
    storage) echo storage ;;
    storage/fsmap) echo storage storage/fsmap ;;
    storage/nbd) echo storage storage/nbd ;;
    storage/fuse) echo storage storage/fsmap storage/fuse ;;
    storage/tool) echo storage storage/fsmap storage/fuse storage/nbd storage/tool ;;
    emu/core) echo emu/core ;;
    emu/cpu) echo emu/core emu/cpu ;;
    emu/jit) echo emu/core emu/cpu emu/jit ;;
    emu/kvm) echo emu/core emu/cpu emu/kvm ;;
    emu/net) echo emu/core emu/net ;;
    emu/device) echo emu/core emu/device emu/net storage ;;
    emu/display) echo emu/core emu/device emu/display ;;
    emu/machine) echo emu/core emu/cpu emu/device emu/display emu/machine emu/net storage ;;
    emu/control) echo emu/core emu/device emu/machine emu/control emu/display emu/net proto ;;
    emu/sandbox) echo emu/sandbox ;;
    emu) echo emu/core emu/cpu emu/device emu/display emu/machine emu/control emu/net emu/sandbox emu storage proto ;;
    agent) echo agent proto storage ;;
    controller/object) echo controller/object ;;
    controller/store) echo controller/object controller/store ;;
    controller/scheduler) echo controller/object controller/store controller/scheduler proto ;;
    controller/reconcile) echo controller/object controller/store controller/scheduler controller/reconcile proto ;;
    controller/api) echo controller/object controller/store controller/scheduler controller/reconcile controller/api proto ;;
    controller/cli) echo controller/object controller/cli ;;
    controller) echo controller controller/object controller/store controller/scheduler controller/reconcile controller/api proto ;;
    *) echo '*' ;;
    esac
}
for file in $files; do
    folder=$(dirname "$file")
    allowed=$(may_include "$folder")
    [ "$allowed" != '*' ] || continue
    for header in $(sed -n 's/^#include "\(.*\)"/\1/p' "$file"); do
        case $header in *.pb-c.h) inner=proto ;; *) inner=$(dirname "$header") ;; esac
        case " $allowed " in *" $inner "*) ;; *) say "$file may not include $header" ;; esac
    done
done

for file in $files; do
    lines=$(wc -l <"$file")
    case $file in emu/cpu/opcodes.c) continue ;; esac
    [ "$lines" -le 800 ] || say "$file has $lines lines; 800 are the most"
done

hits=$(git grep -nE '(^|[^a-zA-Z])/(work|farm)/' -- . 2>/dev/null | grep -v '^tests/lint.sh')
[ -z "$hits" ] || say "a path of some machine:"$'\n'"$hits"

if command -v clang-format >/dev/null && [ "${LINT_FORMAT:-yes}" = yes ]; then
    for file in $files; do
        clang-format --dry-run -Werror "$file" >/dev/null 2>&1 || unformatted="${unformatted:-} $file"
    done
    [ -z "${unformatted:-}" ] || say "not as clang-format lays it out (clang-format -i):${unformatted}"
fi
[ $status -ne 0 ] || echo "lint: clean"
exit $status

#!/usr/bin/env python3
"""A sweep over single operations: what takes longer in drover-emu than in QEMU (TCG).

    operations.py [--rounds N] [--no-native] [--no-qemu] [--engine E] [--json FILE] [--list] [OPERATION...]

Instructions, string instructions, calls and other stacks, code that changes, memory, system calls, faults, signals, threads,
processes and files, each in a loop of its own. A figure is the nanoseconds that one operation takes by the clock of whoever
runs it, the best of three; rounds are taken natively, in drover-emu and in QEMU by turns, and medians are printed with the
ratios to native and of QEMU to ours. What gains least stands first, with "<" where we are slower than QEMU; the geometric
means stand last. Names choose some operations only; --list prints all of them.
"""
import argparse, json, os, re, statistics, subprocess, sys, tempfile
import guests

SOURCES = ["operations.c", "operations_integer.c", "operations_data.c", "operations_flow.c", "operations_system.c"]
# assembly that pushes must not meet what the compiler keeps below the stack pointer
FLAGS = ["-msse4.2", "-mpopcnt", "-mavx", "-mno-red-zone"]
FIGURE = re.compile(r"OPERATION (\S+) (\d+\.\d+) ns\b")


def run_native(program, names):
    """Its files lie in memory, as they do in a guest, where the host has a place for that."""
    memory = "/dev/shm"
    with tempfile.TemporaryDirectory(prefix="drover-bench.", dir=memory if os.access(memory, os.W_OK) else None) as folder:
        done = subprocess.run([program, folder, ",".join(names)], capture_output=True, text=True)
    found = {name: float(figure) for name, figure in FIGURE.findall(done.stdout)}
    if done.returncode:
        print(f"natively, status {done.returncode} after {list(found)[-1:]}: {done.stderr.strip()}", file=sys.stderr)
    return found


def run_guest(command):
    found, last = {}, ""
    for line, _, _ in guests.follow(command, 1800):
        found.update((name, float(figure)) for name, figure in FIGURE.findall(line))
        if "OPERATIONS DONE" in line:
            return found
        last = line or last
    raise SystemExit(" ".join(command) + f": the guest ended before its work did; its last line: {last}")


def judge(results, names):
    rows = []
    for name in names:
        figures = {}
        for side, rounds in results.items():
            some = [found[name] for found in rounds if name in found]
            figures[side] = statistics.median(some) if some else None
            if len(some) < len(rounds):
                print(f"{name}: {len(rounds) - len(some)} figures of {side} are missing", file=sys.stderr)
        n, o, q = (figures.get(side) for side in ("native", "ours", "qemu"))
        rows.append({"operation": name, **figures, "slowdown": o / n if o and n else None, "gain": q / o if o and q else None})
    return sorted(rows, key=lambda row: row["gain"] or 0)


def print_table(rows):
    print(f"{'operation, ns':18} {'native':>12} {'ours':>12} {'qemu':>12} {'ours/native':>12} {'qemu/ours':>10}")
    for row in rows:
        figures = " ".join(guests.cell(row.get(side), 12) for side in ("native", "ours", "qemu"))
        slower = row["gain"] is not None and row["gain"] < 1
        print(f"{row['operation']:18} {figures} {guests.cell(row['slowdown'], 12)} {guests.cell(row['gain'], 10)}" + (" <" if slower else ""))
    print(f"{'mean':18} {'':12} {'':12} {'':12} {guests.cell(guests.mean(rows, 'slowdown'), 12)} {guests.cell(guests.mean(rows, 'gain'), 10)}",
          flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, usage=argparse.SUPPRESS, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each side runs (3)")
    parser.add_argument("--engine", default="jit", help="drover-emu's (jit)")
    parser.add_argument("--cpu-model", default="x86-64-v3", help="drover-emu's (x86-64-v3)")
    parser.add_argument("--no-native", action="store_true")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--extra", default="", help="more options for drover-emu")
    parser.add_argument("--json", help="write all figures there, too")
    parser.add_argument("--list", action="store_true", help="print the operations' names, and do nothing else")
    parser.add_argument("operations", nargs="*", metavar="OPERATION")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drover-bench.") as scratch:
        program, error = guests.compile_program(scratch, "operations", SOURCES, *FLAGS)
        if error:
            raise SystemExit(error)
        known = subprocess.run([program, "list"], capture_output=True, text=True, check=True).stdout.split()
        if options.list:
            print("\n".join(known))
            return
        unknown = [name for name in options.operations if name not in known]
        if unknown:
            raise SystemExit("no such operations: " + ", ".join(unknown) + "; --list prints those that there are")
        names = options.operations or known
        chosen = " operations=" + ",".join(names) if options.operations else ""
        guest = (os.path.join(guests.build, "guest/vmlinuz"), guests.initramfs(scratch, "initrd", program),
                 "console=ttyS0 quiet panic=-1" + chosen)
        ours = guests.drover(options, *guest) + ["--cpu-model", options.cpu_model]
        sides = {"ours": lambda: run_guest(ours)}
        if not options.no_native:
            sides["native"] = lambda: run_native(program, names)
        if not options.no_qemu:
            sides["qemu"] = lambda: run_guest(guests.qemu(*guest))
        results = {side: [] for side in sides}
        for number in range(options.rounds):
            for side, run in sides.items():
                results[side].append(run())
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr, flush=True)
    rows = judge(results, names)
    print_table(rows)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"rounds": options.rounds, "engine": options.engine, "operations": rows, "samples": results,
                       "mean_gain": guests.mean(rows, "gain"), "mean_slowdown": guests.mean(rows, "slowdown")}, out, indent=1)


main()

#!/usr/bin/env python3
"""The emulator's benchmark: the same programs natively, in drover-emu and in QEMU (TCG).

    run.py [--rounds N] [--no-native] [--no-qemu] [--engine E] [KIND...]

One guest boots for all kinds; a kind's figure is the processor seconds of the emulator's process
between two lines of the guest's serial output (wall seconds for two-cpus). The sides take turns;
medians are printed, with the ratios to native and of QEMU to ours, and every checksum is compared.
"""
import argparse, math, os, selectors, statistics, subprocess, sys, tempfile, time

build = os.path.realpath(os.environ.get("BUILD", "build"))
WALL = {"two-cpus"}
# what each kind must reach at least, as QEMU's time over ours
BARS = {"integer": 2.5, "sha256": 2.5, "bytecode": 2.5, "recursion": 2.5, "sort": 1.2, "memcpy": 6,
        "rep-movs": 6, "scalar-fp": 8, "vector-fp": 8, "x87": 8, "syscall": 2, "fork": 2,
        "fork-exec": 2, "page-fault": 2, "ping-pong": 2, "boot": 2}


def process_seconds(pid):
    return time.clock_gettime((~pid << 3) | 2)


def follow(command, timeout):
    """Runs an emulator whose console is its standard output; yields (line, cpu seconds, wall)."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT)
    selector = selectors.DefaultSelector()
    selector.register(process.stdout, selectors.EVENT_READ)
    end, rest = time.monotonic() + timeout, b""
    try:
        while time.monotonic() < end:
            if not selector.select(1):
                continue
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                return
            cpu, wall = process_seconds(process.pid), time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace").strip(), cpu, wall
        raise SystemExit(f"{command[0]}: no end after {timeout} s")
    finally:
        process.kill()
        process.wait()


def guest(command, timeout=900):
    figures, sums, begun = {}, {}, {}
    start = time.monotonic()
    for line, cpu, wall in follow(command, timeout):
        words = line.split()
        if "Run /init" in line and "boot" not in figures:
            figures["boot"] = cpu
        if len(words) == 2 and words[0] == "BEGIN":
            begun[words[1]] = (cpu, wall)
        elif len(words) == 3 and words[0] == "END" and words[1] in begun:
            a, b = begun[words[1]]
            figures[words[1]] = wall - b if words[1] in WALL else cpu - a
            sums[words[1]] = words[2]
        elif line == "DONE":
            figures["whole"] = cpu
            break
    return figures, sums


def guests(command, kinds):
    """One guest with one CPU, and one with two for the kinds that want them."""
    figures, sums = guest(command("1", [kind for kind in kinds if kind not in WALL]))
    two = [kind for kind in kinds if kind in WALL]
    if two:
        more = guest(command("2", two))
        figures.update({kind: more[0][kind] for kind in two if kind in more[0]})
        sums.update(more[1])
    return figures, sums


def native(program, kinds):
    figures, sums = {}, {}
    for kind in kinds:
        before, start = os.times(), time.monotonic()
        output = subprocess.run([program, kind], capture_output=True, text=True).stdout
        after = os.times()
        wall = time.monotonic() - start
        used = sum(after[2:4]) - sum(before[2:4])
        figures[kind] = wall if kind in WALL else used
        sums[kind] = output.split()[-1] if output else "?"
    return figures, sums


def build_guest(scratch):
    here = os.path.dirname(os.path.abspath(__file__))
    program = os.path.join(scratch, "kinds")
    subprocess.run(["gcc", "-O2", "-fno-math-errno", "-static", "-pthread", "-o", program,
                    os.path.join(here, "kinds.c")], check=True)
    root = os.path.join(scratch, "root")
    os.makedirs(os.path.join(root, "dev"))
    os.link(program, os.path.join(root, "init"))
    if os.getuid() == 0:
        subprocess.run(["mknod", os.path.join(root, "dev/console"), "c", "5", "1"], check=True)
    image = os.path.join(scratch, "initrd")
    with open(image, "wb") as out:
        subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=root, stdout=out, check=True)
    return program, image


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default="jit")
    parser.add_argument("--no-native", action="store_true")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--extra", default="", help="more options for drover-emu")
    parser.add_argument("kinds", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drover-bench.") as scratch:
        program, image = build_guest(scratch)
        every = subprocess.run([program, "list"], capture_output=True, text=True).stdout.split()
        kinds = options.kinds or every
        kernel = os.path.join(build, "guest/vmlinuz")
        append = "console=ttyS0 kinds="

        def ours(cpus, kinds):
            return [os.path.join(build, "drover-emu"), "--engine", options.engine, "--cpus", cpus,
                    "--memory", "512M", "--kernel", kernel, "--initrd", image, "--append",
                    append + ",".join(kinds), "--serial", "stdio", "--no-reboot"] + options.extra.split()

        def peer(cpus, kinds):
            return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", cpus,
                    "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel,
                    "-initrd", image, "-append", append + ",".join(kinds), "-serial", "stdio"]

        sides = {"ours": lambda: guests(ours, kinds)}
        if not options.no_native:
            sides["native"] = lambda: native(program, kinds)
        if not options.no_qemu:
            sides["qemu"] = lambda: guests(peer, kinds)
        results = {side: [] for side in sides}
        for _ in range(options.rounds):
            for side, run in sides.items():
                results[side].append(run())
        table(results, ["boot"] + kinds)


def table(results, kinds):
    def median(side, kind):
        values = [figures[kind] for figures, _ in results.get(side, []) if kind in figures]
        return statistics.median(values) if values else None

    print(f"{'kind':12} {'native':>8} {'ours':>8} {'qemu':>8} {'ours/native':>12} {'qemu/ours':>10} {'bar':>5}")
    gains, slowdowns, bad = [], [], []
    for kind in kinds:
        n, o, q = (median(side, kind) for side in ("native", "ours", "qemu"))
        sums = {sums.get(kind) for side in results.values() for _, sums in side if kind != "boot"}
        cell = lambda value, width: f"{value:>{width}.2f}" if value is not None else f"{'-':>{width}}"
        slow = o / n if o and n else None
        gain = q / o if o and q else None
        if gain:
            gains.append(gain)
        if slow:
            slowdowns.append(slow)
        bar = BARS.get(kind, 1)
        mark = "" if gain is None or gain >= bar else " <"
        if len(sums) > 1:
            bad.append(kind)
            mark += " checksums differ: " + " ".join(map(str, sums))
        print(f"{kind:12} {cell(n, 8)} {cell(o, 8)} {cell(q, 8)} {cell(slow, 12)} {cell(gain, 10)} {bar:>5}{mark}", flush=True)
    mean = lambda values: math.exp(sum(map(math.log, values)) / len(values)) if values else float("nan")
    print(f"{'mean':12} {'':8} {'':8} {'':8} {mean(slowdowns):>12.2f} {mean(gains):>10.2f} {3:>5}")
    if bad:
        raise SystemExit("checksums differ: " + ", ".join(bad))


main()

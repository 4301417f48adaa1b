#!/usr/bin/env python3
"""The emulator's benchmark: the same programs natively, in drover-emu and in QEMU (TCG).

    run.py [--rounds N] [--no-native] [--no-qemu] [--engine E] [--json FILE] [--check] [KIND...]

A kind's figure is the processor seconds of the emulator's process between two lines of the guest's
serial output (wall seconds for those that say so). Guests with one CPU: for programs, for disks and the network,
for Debian's programs, for nothing but to power off, in real mode, and with a 32-bit kernel; and one with two CPUs. The sides take turns; medians are printed,
with the ratios to native and of QEMU to ours, "<" where a bar is missed, and every checksum is
compared. --check fails where a bar is missed.
"""
import argparse, json, os, resource, statistics, subprocess, sys, tempfile, time
import guests

build = guests.build
TWO = ["one-thread", "two-cpus"]  # wall seconds, in a guest with two CPUs
IO = [f"disk-{bus}-{what}" for bus in ("virtio", "ide") for what in ("read", "write", "random")] + ["net-send", "net-receive"]
AS_32 = [kind + "-32" for kind in ("integer", "bytecode", "sort", "sha256", "recursion", "chase", "memcpy", "scalar-fp", "x87",
                                   "syscall", "fork-exec", "page-fault")]
I386 = ["boot-i386"] + [kind + "-i386" for kind in ("integer", "recursion", "syscall", "fork-exec", "page-fault", "ping-pong")]
PROGRAMS = ["exec-dynamic", "compile"]  # Debian's own, with all that they are linked with
BOOTS = ["boot", "power-off"]
REAL = ["real-mode"]  # in a boot sector
MEGABYTES = {"disk-virtio-read": 512, "disk-virtio-write": 256, "disk-ide-read": 512, "disk-ide-write": 256,
             "disk-virtio-random": 62.5, "disk-ide-random": 62.5, "net-send": 192, "net-receive": 192}
# what each kind must reach at least, as QEMU's time over ours; 1 where nothing is said
BARS = {"integer": 2.5, "sha256": 2.5, "bytecode": 2.5, "recursion": 2.5, "sort": 1.2, "memcpy": 6,
        "rep-movs": 6, "scalar-fp": 8, "vector-fp": 8, "x87": 8, "fast-math": 8, "syscall": 2, "fork": 2,
        "fork-exec": 2, "page-fault": 2, "ping-pong": 2, "boot": 2}
MEAN_BAR, SCALING_BAR = 3, 1.8


class Result:
    """Of one side in one round: by kind, processor and wall seconds, and the checksum."""

    def __init__(self):
        self.cpu, self.wall, self.sums = {}, {}, {}

    def add(self, kind, cpu, wall, checksum=None):
        self.cpu[kind], self.wall[kind] = cpu, wall
        if checksum is not None:
            self.sums[kind] = checksum


def run_guest(command, result, boot=None, timeout=1800):
    begun, start = {}, time.monotonic()
    for line, cpu, wall in guests.follow(command, timeout):
        words = line.split()
        if boot and "Run /init" in line and boot not in result.cpu:
            result.add(boot, cpu, wall - start)
        if len(words) == 2 and words[0] == "BEGIN":
            begun[words[1]] = (cpu, wall)
        elif len(words) == 3 and words[0] == "END" and words[1] in begun:
            a, b = begun[words[1]]
            result.add(words[1], cpu - a, wall - b, words[2])
        elif line == "DONE":
            return
    raise SystemExit(" ".join(command) + ": the guest ended before its work did")


def run_to_end(command, result):
    """From nothing to power-off, everything that the process used."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=900, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    result.add("power-off", used, time.monotonic() - start)


def run_native(program, program_32, kinds, result, folder):
    for kind in kinds:
        which = program_32 if kind.endswith("-32") else program
        if which is None or kind in IO + I386 + BOOTS + REAL:
            continue
        before, start = os.times(), time.monotonic()
        output = subprocess.run([which, kind], capture_output=True, text=True, cwd=folder).stdout
        after, wall = os.times(), time.monotonic() - start
        result.add(kind, sum(after[2:4]) - sum(before[2:4]), wall, output.split()[-1] if output else "?")


class Side:
    """One emulator: its command for a guest."""

    def __init__(self, options, images, scratch, peer):
        self.options, self.images, self.scratch, self.peer = options, images, scratch, peer

    def guest(self, kinds, cpus=1, image="all", io=False):
        kernel, initrd = self.images[image]
        append = "console=ttyS0 kinds=" + ",".join(kinds) + (f" net={self.peer.port}" if io else "")
        return self.command(kernel, initrd, append, cpus, [os.path.join(self.scratch, disk) for disk in ("virtio.img", "ide.img")] if io else [])

    def run(self, kinds):
        result = Result()
        one = [kind for kind in kinds if kind not in TWO + IO + I386 + PROGRAMS + BOOTS + REAL]
        if one or "boot" in kinds:
            run_guest(self.guest(one or ["nothing"]), result, "boot" if "boot" in kinds else None)
        if "real-mode" in kinds:
            run_guest(self.floppy(guests.make_floppy(self.scratch)), result)
        if "power-off" in kinds:
            run_to_end(self.guest(["nothing"]), result)
        for group, options in ((TWO, {"cpus": 2}), (IO, {"io": True})):
            some = [kind for kind in kinds if kind in group]
            if some:
                for disk in ("virtio.img", "ide.img") if options.get("io") else ():
                    guests.make_disk(self.scratch, disk)
                run_guest(self.guest(some, **options), result)
                self.check_disks(some, result)
        some = [kind for kind in kinds if kind in PROGRAMS]
        if some:
            run_guest(self.guest(some, image="programs"), result)
        some = [kind for kind in kinds if kind in I386]
        if some and "i386" in self.images:
            run_guest(self.guest([kind for kind in some if kind != "boot-i386"] or ["nothing"], image="i386"), result,
                      "boot-i386" if "boot-i386" in some else None)
        return result

    def check_disks(self, kinds, result):
        """What was written last must be what is in the files."""
        for bus in ("virtio", "ide"):
            kind = f"disk-{bus}-write"
            if kind in kinds and result.sums.get(kind) != guests.disk_sum(os.path.join(self.scratch, bus + ".img")):
                result.sums[kind] = str(result.sums.get(kind)) + "-but-not-on-disk"


class Ours(Side):
    def floppy(self, image):
        return [os.path.join(build, "drover-emu"), "--engine", self.options.engine, "--memory", "64M", "--floppy", image,
                "--serial", "stdio"] + self.options.extra.split()

    def command(self, kernel, initrd, append, cpus, disks):
        command = guests.drover(self.options, kernel, initrd, append, cpus)
        for disk, bus in zip(disks, ("virtio", "ide")):
            command += ["--disk", f"file={disk},bus={bus},format=raw"]
        return command + (["--net", "user,model=virtio"] if disks else [])


class Qemu(Side):
    def floppy(self, image):
        return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "64", "-nodefaults", "-display", "none",
                "-drive", f"file={image},if=floppy,format=raw", "-serial", "stdio"]

    def command(self, kernel, initrd, append, cpus, disks):
        command = guests.qemu(kernel, initrd, append, cpus)
        for disk, bus in zip(disks, ("virtio", "ide")):
            command += ["-drive", f"file={disk},if={bus},format=raw"]
        return command + (["-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"] if disks else [])


# ---- the table ---------------------------------------------------------------------------------


def median(rounds, kind, wall=False):
    values = [(r.wall if wall else r.cpu)[kind] for r in rounds if kind in r.cpu]
    return statistics.median(values) if values else None


def judge(results, kinds):
    rows = []
    for kind in kinds:
        wall = kind in TWO
        figures = {side: median(rounds, kind, wall) for side, rounds in results.items()}
        n, o, q = (figures.get(side) for side in ("native", "ours", "qemu"))
        sums = {r.sums[kind] for rounds in results.values() for r in rounds if kind in r.sums}
        row = {"kind": kind, "unit": "wall seconds" if wall else "processor seconds", **figures,
               "slowdown": o / n if o and n else None, "gain": q / o if o and q else None,
               "bar": BARS.get(kind, 1), "checksums": sorted(sums)}
        row["missed"] = row["gain"] is not None and row["gain"] < row["bar"]
        if kind in MEGABYTES:
            for side in results:
                seconds = median(results[side], kind, True)
                row[side + "_MBs"] = MEGABYTES[kind] / seconds if seconds else None
        rows.append(row)
    return rows


def scaling(results):
    """How much of the work of two that one CPU does in the same time two CPUs do."""
    found = {}
    for side, rounds in results.items():
        one, two = median(rounds, "one-thread", True), median(rounds, "two-cpus", True)
        if one and two:
            found[side] = 2 * one / two
    return found


def print_table(rows, scales):
    print(f"{'kind':18} {'native':>8} {'ours':>8} {'qemu':>8} {'ours/native':>12} {'qemu/ours':>10} {'bar':>5}    MB/s ours, qemu")
    for row in rows:
        marks = (" <" if row["missed"] else "") + (" checksums differ: " + " ".join(row["checksums"]) if len(row["checksums"]) > 1 else "")
        speed = f"{guests.cell(row['ours_MBs'], 10, 0)}{guests.cell(row.get('qemu_MBs'), 8, 0)}" if row.get("ours_MBs") else ""
        print(f"{row['kind']:18} {guests.cell(row.get('native'), 8)} {guests.cell(row['ours'], 8)} {guests.cell(row.get('qemu'), 8)} "
              f"{guests.cell(row['slowdown'], 12)} {guests.cell(row['gain'], 10)} {row['bar']:>5} {marks:2} {speed}".rstrip())
    gain = guests.mean(rows, "gain")
    print(f"{'mean':18} {'':8} {'':8} {'':8} {guests.cell(guests.mean(rows, 'slowdown'), 12)} {guests.cell(gain, 10)} {MEAN_BAR:>5}"
          + (" <" if gain and gain < MEAN_BAR else ""))
    if scales:
        print(f"{'scaling to 2 CPUs':18} {guests.cell(scales.get('native'), 8)} {guests.cell(scales.get('ours'), 8)} {guests.cell(scales.get('qemu'), 8)} "
              f"{'':12} {'':10} {SCALING_BAR:>5}" + (" <" if scales.get("ours", 9) < SCALING_BAR else ""), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default="jit")
    parser.add_argument("--no-native", action="store_true")
    parser.add_argument("--no-qemu", action="store_true")
    parser.add_argument("--extra", default="", help="more options for drover-emu")
    parser.add_argument("--json", help="write all figures there, too")
    parser.add_argument("--check", action="store_true", help="fail where a bar is missed")
    parser.add_argument("kinds", nargs="*")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drover-bench.") as scratch:
        program = guests.compile_kinds(scratch, "kinds")
        program_32 = guests.compile_kinds(scratch, "kinds32", "-m32", "-msse2")
        plain = [kind for kind in subprocess.run([program, "list"], capture_output=True, text=True).stdout.split()
                 if kind not in TWO + IO]
        kinds = options.kinds or BOOTS + REAL + plain + TWO + AS_32 + IO + I386
        images = {"all": (os.path.join(build, "guest/vmlinuz"), guests.initramfs(
            scratch, "initrd", program, ["/bin/busybox"] + ([program_32] if program_32 else []), guests.MODULES if set(kinds) & set(IO) else []))}
        if not program_32:
            print("no 32-bit kinds: gcc -m32 -static does not work here (deploy/install-deps.sh --bench)", file=sys.stderr)
            kinds = [kind for kind in kinds if kind not in AS_32 + I386]
        elif set(kinds) & set(I386):
            kernel = guests.i386_kernel()
            if kernel:
                images["i386"] = (kernel, guests.initramfs(scratch, "initrd-i386", program_32))
            else:
                print("no i386 kinds: that kernel cannot be downloaded", file=sys.stderr)
                kinds = [kind for kind in kinds if kind not in I386]
        if set(kinds) & set(PROGRAMS):
            images["programs"] = (images["all"][0], guests.initramfs(scratch, "initrd-programs", program, programs=True))
        peer = guests.Peer()
        sides = {"ours": Ours(options, images, scratch, peer).run}
        if not options.no_native:
            def in_process(kinds):
                result = Result()
                run_native(program, program_32, kinds, result, scratch)
                return result
            sides["native"] = in_process
        if not options.no_qemu:
            sides["qemu"] = Qemu(options, images, scratch, peer).run
        results = {side: [] for side in sides}
        for number in range(options.rounds):
            for side, run in sides.items():
                results[side].append(run(kinds))
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr, flush=True)
    rows, scales = judge(results, kinds), scaling(results)
    print_table(rows, scales)
    if options.json:
        with open(options.json, "w") as out:
            json.dump({"rounds": options.rounds, "engine": options.engine, "kinds": rows, "scaling": scales,
                       "mean_gain": guests.mean(rows, "gain"), "mean_slowdown": guests.mean(rows, "slowdown"),
                       "samples": {side: [{"cpu": r.cpu, "wall": r.wall} for r in rounds] for side, rounds in results.items()}},
                      out, indent=1)
    bad = [row["kind"] for row in rows if len(row["checksums"]) > 1]
    missed = [row["kind"] for row in rows if row["missed"]]
    if bad:
        raise SystemExit("checksums differ: " + ", ".join(bad))
    if options.check and (missed or (guests.mean(rows, "gain") or 9) < MEAN_BAR or scales.get("ours", 9) < SCALING_BAR):
        raise SystemExit("bars missed: " + ", ".join(missed))


main()

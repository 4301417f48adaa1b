#!/usr/bin/env python3
"""What a guest costs that does nothing, and what memory the emulator takes beside the guest's.

    idle.py [--seconds N] [--cpus N] [--extra OPTIONS] [--viewer] [--check]

The demo's guest boots from its disk, and then waits at its prompt. Printed are the processor time of the process meanwhile,
as a part of one core, and its proportional memory by what it is for, with the code cache counted as if it were full; the
bars are 0.5 % and 40 MiB beyond the RAM that the guest has touched. --check fails where one is missed. With --viewer a VNC
viewer is connected all the time.
"""
import argparse, os, re, shutil, subprocess, sys, tempfile, threading, time
import guests

CPU_BAR, MEMORY_BAR = 0.5, 40


def memory(pid):
    """Proportional KiB of the process, by kind of mapping. The code cache is mapped twice, to write and to run."""
    kinds, kind = {"code cache": 0}, None
    for line in open(f"/proc/{pid}/smaps"):
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ (\S+) \S+ \S+ \d+ *(.*)", line)
        if head:
            name = head[2]
            kind = ("guest RAM" if "memfd:drover-ram" in name or "memfd:guest" in name
                    else "code cache" if name.startswith("/dev/zero") or "drover-code" in name
                    else "libraries and program" if name.startswith("/") and "memfd" not in name
                    else "heap, stacks, tables")
        elif line.startswith("Size:") and kind == "code cache":
            kinds[kind] += int(line.split()[1]) / 2
        elif line.startswith("Pss:") and kind != "code cache":
            kinds[kind] = kinds.get(kind, 0) + int(line.split()[1])
    return kinds


def watch(place, updates):
    """Sees the screen, and asks for what changes, as a viewer does."""
    names = {"__name__": "vnc"}
    source = open(os.path.join(os.path.dirname(__file__), "../../guest/vnc.py")).read()
    exec(source.replace("\nmain()\n", "\n"), names)
    viewer = names["Viewer"]("unix:" + place)
    viewer.socket.settimeout(None)
    try:
        while True:
            viewer.update(True)
            updates.append(f"{viewer.width}x{viewer.height}")
    except (OSError, AssertionError):
        pass  # the emulator is gone


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--cpus", default="1")
    parser.add_argument("--extra", default="", help="more options for drover-emu")
    parser.add_argument("--viewer", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drover-bench.") as scratch:
        disk = os.path.join(scratch, "hello.vhd")
        shutil.copy(os.path.join(guests.build, "guest/hello.vhd"), disk)
        place = os.path.join(scratch, "vnc")
        command = [os.path.join(guests.build, "drover-emu"), "--memory", "512M", "--cpus", options.cpus, "--serial", "stdio",
                   "--disk", f"file={disk},bus=ide", "--net", "user", "--no-reboot"] + options.extra.split()
        if options.viewer:
            command += ["--vnc", f"unix:{place}"]
        process, updates = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE), []
        try:
            if not any(line.startswith(b"hello from drover") for line in process.stdout):
                raise SystemExit("the guest did not come up")
            if options.viewer:
                threading.Thread(target=watch, args=(place, updates), daemon=True).start()
            time.sleep(5)  # what the kernel still does on the side
            updates.clear()
            before, start = guests.process_seconds(process.pid), time.monotonic()
            time.sleep(options.seconds)
            share = 100 * (guests.process_seconds(process.pid) - before) / (time.monotonic() - start)
            kinds = memory(process.pid)
        finally:
            process.kill()
            process.wait()
    beyond = sum(size for kind, size in kinds.items() if kind != "guest RAM") / 1024
    print(f"idle: {share:.2f} % of a core over {options.seconds} s (bar {CPU_BAR}){' <' if share >= CPU_BAR else ''}")
    if options.viewer:
        print(f"  {len(updates)} updates of the viewer's screen, {updates[0] if updates else 'none'}")
    for kind, size in sorted(kinds.items()):
        print(f"  {kind:24} {size / 1024:8.1f} MiB")
    print(f"memory beyond the guest's RAM: {beyond:.1f} MiB (bar {MEMORY_BAR}){' <' if beyond > MEMORY_BAR else ''}")
    if options.check and (share >= CPU_BAR or beyond > MEMORY_BAR):
        sys.exit(1)


main()

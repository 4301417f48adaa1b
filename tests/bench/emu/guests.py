"""What the emulator's benchmarks share. Guests are made of programs, initramfs images, kernels, disks, a peer; they run in
an emulator that is followed line by line; and figures go into tables."""
import math, os, re, selectors, shutil, socket, subprocess, threading, time

here = os.path.dirname(os.path.abspath(__file__))
root = os.path.realpath(os.path.join(here, "../../.."))
build = os.path.realpath(os.environ.get("BUILD", "build"))
MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "ata_piix", "sd_mod"]
DISK_BYTES = 64 << 20
SOURCES = ["kinds.c", "kinds_io.c", "kinds_programs.c"]


def compile_program(scratch, name, sources, *flags):
    """The program's path and what the compiler said against it, if anything."""
    program = os.path.join(scratch, name)
    done = subprocess.run(["gcc", "-O2", "-fno-math-errno", "-D_GNU_SOURCE", "-static", "-pthread", "-I", root,
                           *flags, "-o", program, *(os.path.join(here, file) for file in sources), "-lm"],
                          capture_output=True, text=True)
    return program, done.stderr if done.returncode else None


def compile_kinds(scratch, name, *flags):
    """The program, or None where this compiler cannot make it."""
    program, error = compile_program(scratch, name, SOURCES, *flags)
    if error and not flags:
        raise SystemExit(error)
    return None if error else program


def module_files(names):
    """Files of Debian's kernel modules, each after what it depends on."""
    base = os.path.join(build, "guest/kernel/lib/modules")
    base = os.path.join(base, os.listdir(base)[0])
    needs, found = {}, []
    with open(os.path.join(base, "modules.dep")) as lines:
        for line in lines:
            path, rest = line.split(":")
            needs[path] = rest.split()

    def add(path):
        for need in needs[path]:
            add(need)
        if path not in found:
            found.append(path)

    for name in names:
        pattern = re.compile(r"(.*/)?" + name.replace("_", "[-_]") + r"\.ko")
        add(next(path for path in needs if pattern.fullmatch(path)))
    return [os.path.join(base, path) for path in found]


def initramfs(scratch, name, init, others=(), modules=(), programs=False):
    tree, image = os.path.join(scratch, name + ".tree"), os.path.join(scratch, name)
    for folder in ("dev", "modules"):
        os.makedirs(os.path.join(tree, folder))
    os.link(init, os.path.join(tree, "init"))
    for program in others:
        subprocess.run(["cp", program, os.path.join(tree, os.path.basename(program))], check=True)
    for number, path in enumerate(module_files(modules) if modules else []):
        subprocess.run(["cp", path, os.path.join(tree, f"modules/{number:03}-{os.path.basename(path)}")], check=True)
    if programs:
        add_programs(tree, scratch)
    if os.getuid() == 0:
        subprocess.run(["mknod", os.path.join(tree, "dev/console"), "c", "5", "1"], check=True)
    with open(image, "wb") as out:
        subprocess.run("find . | cpio -o -H newc --quiet", shell=True, cwd=tree, stdout=out, check=True)
    return image


def program_files():
    """What /usr/bin/ls and a compilation need: programs, the loader, libraries."""
    tools = [subprocess.run(["gcc", "-print-prog-name=" + name], capture_output=True, text=True).stdout.strip() for name in ("cc1", "as")]
    found = ["/usr/bin/ls", "/usr/bin/gcc", *(shutil.which(tool) for tool in tools)]
    for program in list(found):
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True).stdout
        found += re.findall(r"(/\S+) \(0x", libraries)
    return sorted(set(found))


def copy_as_is(path, tree):
    """Into the tree at the same path; links on the way remain links."""
    while True:
        folder, name = os.path.split(path)
        parts, real = folder.strip("/").split("/"), "/"
        for number, part in enumerate(parts):
            here = os.path.join(real, part)
            if os.path.islink(here):
                if not os.path.lexists(tree + here):
                    os.symlink(os.readlink(here), tree + here)
                return copy_as_is(os.path.join(real, os.readlink(here), *parts[number + 1:], name), tree)
            real = here
            os.makedirs(tree + real, exist_ok=True)
        if os.path.lexists(tree + path):
            return
        if not os.path.islink(path):
            shutil.copy(path, tree + path)
            return
        os.symlink(os.readlink(path), tree + path)
        path = os.path.normpath(os.path.join(folder, os.readlink(path)))


def add_programs(tree, scratch):
    """Debian's programs from this host; and what is compiled, this benchmark's own source."""
    compiled = os.path.join(scratch, "compiled.i")
    subprocess.run(["gcc", "-E", "-P", "-D_GNU_SOURCE", "-I", root, "-o", compiled, os.path.join(here, "kinds_io.c")], check=True)
    shutil.copy(compiled, tree)
    for path in program_files():
        copy_as_is(path, tree)


def make_floppy(scratch):
    """The program for real mode, as a disk of 1.44 MB."""
    path = os.path.join(scratch, "real.img")
    subprocess.run(["nasm", "-f", "bin", "-o", path, os.path.join(here, "real.asm")], check=True)
    os.truncate(path, 1440 << 10)
    return path


def make_disk(scratch, name):
    """64 MiB, every page of it different."""
    path = os.path.join(scratch, name)
    with open(path, "wb") as disk:
        for page in range(DISK_BYTES >> 12):
            disk.write((page * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little") * 512)
    return path


def disk_sum(path):
    """As kinds_io.c sums: a word in each page."""
    total = 0
    with open(path, "rb") as disk:
        for page in range(DISK_BYTES >> 12):
            disk.seek(page << 12)
            total += int.from_bytes(disk.read(8), "little")
    return f"{total % 2**64:016x}"


class Peer:
    """The host's end of the network kinds: takes a stream and answers with its sum, or sends one."""

    PIECE = bytes((i * 7 + (i >> 8)) & 255 for i in range(65536))

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection:
            request = connection.recv(9, socket.MSG_WAITALL)
            length, at, total = int.from_bytes(request[1:9], "little"), 0, 0
            if request[:1] == b"R":
                while at < length:
                    connection.sendall(self.PIECE)
                    at += len(self.PIECE)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
                return
            while at < length:
                data = connection.recv(1 << 20)
                if not data:
                    return
                total += sum(data[-at % 64::64])
                at += len(data)
            connection.sendall(total.to_bytes(8, "little"))


def i386_kernel():
    """Debian's kernel for i386, downloaded once; None where that cannot be."""
    folder = os.path.join(build, "guest-i386")
    done = subprocess.run([os.path.join(root, "deploy/guest/kernel-i386.sh"), folder], stdout=subprocess.DEVNULL)
    return os.path.join(folder, "vmlinuz") if done.returncode == 0 else None


# ---- running -----------------------------------------------------------------------------------


def drover(options, kernel, initrd, append, cpus=1):
    """Our emulator's command for a guest whose console is its standard output; engine and extra are among the options."""
    return [os.path.join(build, "drover-emu"), "--engine", options.engine, "--cpus", str(cpus),
            "--memory", "512M", "--kernel", kernel, "--initrd", initrd, "--append", append,
            "--serial", "stdio", "--no-reboot"] + options.extra.split()


def qemu(kernel, initrd, append, cpus=1):
    return ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(cpus),
            "-m", "512", "-nodefaults", "-display", "none", "-no-reboot", "-kernel", kernel,
            "-initrd", initrd, "-append", append, "-serial", "stdio"]


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


# ---- tables ------------------------------------------------------------------------------------


def mean(rows, what):
    """The geometric one of those that there are."""
    values = [row[what] for row in rows if row[what]]
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def cell(value, width, digits=2):
    return f"{value:>{width}.{digits}f}" if value is not None else f"{'-':>{width}}"

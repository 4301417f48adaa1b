#!/usr/bin/env python3
"""A small VNC viewer for tests: connects to a unix socket or a port, does what it is told, and says
what it saw.

    vnc.py WHERE COMMAND...       commands: size, sum, key:KEYSYM, point:X:Y:BUTTONS, wait:WIDTHxHEIGHT,
                                  update (waits for a change and prints its squares), png:FILE
"""
import hashlib
import socket
import struct
import sys
import zlib


class Viewer:
    def __init__(self, where):
        if where.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(where[5:])
        else:
            host, port = where.rsplit(":", 1)
            self.socket = socket.create_connection((host, int(port)))
        self.socket.settimeout(60)
        assert self.read(12) == b"RFB 003.008\n"
        self.socket.sendall(b"RFB 003.008\n")
        kinds = self.read(self.read(1)[0])
        assert 1 in kinds, kinds
        self.socket.sendall(b"\x01")
        assert self.read(4) == b"\0\0\0\0"
        self.socket.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.read(4))
        self.read(16)
        self.name = self.read(struct.unpack(">I", self.read(4))[0]).decode()
        # 32 bits, red in the lowest byte; raw, and the screen's size when it changes.
        self.socket.sendall(struct.pack(">BxxxBBBBHHHBBBxxx", 0, 32, 24, 0, 1, 255, 255, 255, 0, 8, 16))
        self.socket.sendall(struct.pack(">BxHii", 2, 2, 0, -223))
        self.pixels = bytearray(self.width * self.height * 4)
        self.update(False)

    def read(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            assert piece, "the server hangs up"
            data += piece
        return data

    def rectangle(self):
        x, y, w, h, encoding = struct.unpack(">HHHHi", self.read(12))
        if encoding == -223:
            self.width, self.height = w, h
            self.pixels = bytearray(w * h * 4)
            return None
        assert encoding == 0, encoding
        data = self.read(w * h * 4)
        for row in range(h):
            at = ((y + row) * self.width + x) * 4
            self.pixels[at:at + w * 4] = data[row * w * 4:(row + 1) * w * 4]
        return (x, y, w, h)

    def receive(self):
        """One update; the rectangles that it had."""
        while True:
            kind = self.read(1)[0]
            if kind == 0:
                break
            if kind == 3:
                self.read(3)
                self.read(struct.unpack(">I", self.read(4))[0])
        count = struct.unpack(">xH", self.read(3))[0]
        rectangles = [self.rectangle() for _ in range(count)]
        # A new size comes ahead of the answer to the request.
        return self.receive() if None in rectangles else rectangles

    def update(self, incremental):
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        return self.receive()

    def rgb(self):
        """Three bytes a pixel, as pictures have them."""
        out = bytearray(self.width * self.height * 3)
        for i in range(3):
            out[i::3] = self.pixels[i::4]
        return bytes(out)

    def png(self, path):
        rows = b""
        for y in range(self.height):
            row = self.pixels[y * self.width * 4:(y + 1) * self.width * 4]
            out = bytearray(self.width * 3)
            for i in range(3):
                out[i::3] = row[i::4]
            rows += b"\0" + bytes(out)

        def chunk(kind, data):
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        with open(path, "wb") as out:
            out.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)) +
                      chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def main():
    viewer = Viewer(sys.argv[1])
    for command in sys.argv[2:]:
        name, *arguments = command.split(":")
        if name == "size":
            print(f"{viewer.width}x{viewer.height}")
        elif name == "sum":
            print(hashlib.md5(viewer.rgb()).hexdigest())
        elif name == "key":
            for down in (1, 0):
                viewer.socket.sendall(struct.pack(">BBxxI", 4, down, int(arguments[0], 0)))
        elif name == "point":
            x, y, buttons = map(int, arguments)
            viewer.socket.sendall(struct.pack(">BBHH", 5, buttons, x, y))
        elif name == "wait":
            while f"{viewer.width}x{viewer.height}" != arguments[0]:
                viewer.update(True)
            viewer.update(False)
        elif name == "update":
            print(viewer.update(True))
        elif name == "png":
            viewer.png(arguments[0])
        else:
            sys.exit(f"vnc.py: no command {name}")


main()

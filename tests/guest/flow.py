"""The other end of test_emu_flow.sh's connections: flow.py FOLDER.

At port 7077 it sends 24 MiB and takes what comes, at the same time; it makes FOLDER/third when a third is sent, and
sends the last third when FOLDER/restored is there, so that the machine is saved in between. Then it writes both sums to
FOLDER/sums. At port 7078 it answers each line.
"""
import hashlib, os, random, socket, sys, threading, time

folder = sys.argv[1]
data = random.Random(7).randbytes(24 << 20)


def listen(port, host):
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.listen()
    return server


def echo(server):
    while True:
        connection = server.accept()[0]
        try:
            while line := connection.recv(100):
                connection.sendall(b"answer to " + line)
        except OSError:
            pass


def send(connection):
    third = len(data) // 3
    connection.sendall(data[:third])
    open(folder + "/third", "w").close()
    connection.sendall(data[third:2 * third])
    while not os.path.exists(folder + "/restored"):
        time.sleep(0.05)
    connection.sendall(data[2 * third:])
    connection.shutdown(socket.SHUT_WR)


server = listen(7077, "10.77.0.1")
threading.Thread(target=echo, args=(listen(7078, "127.0.0.1"),), daemon=True).start()
open(folder + "/listening", "w").close()
connection = server.accept()[0]
sender = threading.Thread(target=send, args=(connection,))
sender.start()
received = hashlib.sha256()
while piece := connection.recv(65536):
    received.update(piece)
sender.join()
with open(folder + "/sums", "w") as out:
    out.write(f"{received.hexdigest()} {hashlib.sha256(data).hexdigest()}\n")

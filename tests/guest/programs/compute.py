"""Work for Python and its libraries in C: processes, databases, compression, numbers."""
import bz2
import decimal
import hashlib
import json
import lzma
import math
import multiprocessing
import random
import re
import sqlite3
import struct
import zlib


def digest(data):
    return hashlib.sha256(data if isinstance(data, bytes) else str(data).encode()).hexdigest()


random.seed(5)
print("sort", digest(sorted(random.random() for _ in range(100000))))
decimal.getcontext().prec = 400
print("decimal", digest(decimal.Decimal(2).sqrt()), digest(decimal.Decimal(3).ln()))
table = {str(i): [i, i * i, {"x": i / 7}] for i in range(30000)}
text = json.dumps(table)
print("json", digest(text), json.loads(text) == table)
for pack in (zlib.compress, bz2.compress, lzma.compress):
    print("pack", digest(pack(text[:600000].encode())))
print("search", len(re.findall(r'(\d+), (\d+), \{"x": (\d+\.\d+)', text)))
print("power", pow(3, 2**2000 - 1, 2**521 - 1) % 10**20, math.factorial(2000) % (10**9 + 7))


def work(results, number):
    results.put((number, digest(bytes(range(256)) * 4000 * (number + 1))))


results = multiprocessing.Queue()
workers = [multiprocessing.Process(target=work, args=(results, i)) for i in range(6)]
for worker in workers:
    worker.start()
print("processes", sorted(results.get() for _ in workers))
for worker in workers:
    worker.join()

db = sqlite3.connect(":memory:")
db.execute("create table t (a integer primary key, b, c)")
db.executemany("insert into t values (?, ?, ?)", ((i, i * 7919 % 10007, str(i) * 3) for i in range(60000)))
db.execute("create index x on t (b)")
print("sql", db.execute("select sum(a), count(distinct b), max(c) from t where b between 100 and 5000").fetchall())
functions = (math.sin, math.tan, math.exp, math.log1p, math.gamma, math.erf)
print("floats", [struct.pack("<d", f(x / 13)).hex() for f in functions for x in (1, 7, 29)])

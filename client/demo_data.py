#!/usr/bin/python3
"""The demo's data as safetensors on standard output: points p of the plane, bits x, and what came out, y: x, flipped where p lies in a ring.

Nobody tells the network about rings: it sees p, x and y. Usage: demo_data.py ROWS SEED
"""
import array
import json
import random
import sys

rows, source = int(sys.argv[1]), random.Random(int(sys.argv[2]))
points = [(source.uniform(-1, 1), source.uniform(-1, 1)) for _ in range(rows)]
bits = [source.randrange(2) for _ in range(rows)]
inside = [0.15 < a * a + b * b < 0.6 for a, b in points]
columns = {
    "p": ("F32", [rows, 2], array.array("f", [v for point in points for v in point])),
    "x": ("U8", [rows], array.array("B", bits)),
    "y": ("U8", [rows], array.array("B", [bit ^ flip for bit, flip in zip(bits, inside)])),
}
header, at = {}, 0
for name, (dtype, shape, data) in columns.items():
    size = len(data) * data.itemsize
    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + size]}
    at += size
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
sys.stdout.buffer.write(len(text).to_bytes(8, "little") + text + b"".join(data.tobytes() for _, _, data in columns.values()))

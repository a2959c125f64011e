#!/usr/bin/python3
"""Files that numpy itself writes, sent to a running service ($CAJAL_URL) by /eval and by /datasets: every dtype it has for numbers, in each byte order
and order of axes, all versions of npy, npz stored, compressed and streamed; and safetensors of every dtype. What comes back is what numpy holds.

/usr/bin/python3, which has Debian's python3-numpy; without it the tests are skipped."""
import http.client
import io
import itertools
import json
import os
import struct
import sys
import urllib.parse
import zipfile

try:
    import numpy as np
except ImportError:
    print("numpy_files: needs numpy: apt-get install python3-numpy", file=sys.stderr)
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

FLOATS = ["f2", "f4", "f8"]
INTEGERS = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
SHAPES = [(1,), (5,), (2, 3), (3, 1), (1, 4), (2, 3, 4), (2, 1, 3, 2)]
# The name in safetensors, and what makes its bytes of numbers; BF16 is the upper half of f4.
SAFETENSORS = {"BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4", "U64": "<u8", "I64": "<i8",
               "F16": "<f2", "BF16": None, "F32": "<f4", "F64": "<f8"}
BOOLEANS = np.array([[0, 1], [1, 0]])  # the basis vectors of false and true
CASES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases")


class Service:
    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=120)
        self.programs = {}

    def ask(self, method, path, body=None, **headers):
        self.connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        response = self.connection.getresponse()
        return response.status, response.read()

    def json(self, method, path, body=None, **headers):
        status, answer = self.ask(method, path, body, **headers)
        answer = json.loads(answer)
        if status not in (200, 201):
            raise AssertionError(f"{status}: {answer['detail']}")
        return answer

    def program(self, source):
        if source not in self.programs:
            body = json.dumps({"source": source})
            self.programs[source] = self.json("POST", "/compile", body, Content_Type="application/json")["program"]
        return self.programs[source]

    def eval(self, source, body, kind, options=""):
        """The f64 tensor that the program gives for a file as its argument."""
        path = f"/eval?program={self.program(source)}&dtype=f64{options}"
        status, answer = self.ask("POST", path, body, Content_Type=kind, Accept="application/x-npy")
        if status != 200:
            raise AssertionError(f"{status}: {json.loads(answer)['detail']}")
        return np.load(io.BytesIO(answer))

    def put(self, body, query=""):
        """The columns, row by row, of a data set made of the file."""
        record = self.json("PUT", "/datasets/numpy" + query, body)
        rows = self.json("GET", "/datasets/numpy/rows?count=1000")["columns"]
        self.ask("DELETE", "/datasets/numpy")
        return {column["name"]: (column["dtype"], rows[column["name"]]) for column in record["columns"]}


def example(dtype, shape):
    """Numbers of the dtype that show their bytes and their places; its ends are among them."""
    dtype, n = np.dtype(dtype), int(np.prod(shape, dtype=int))
    if dtype.kind == "b":
        return (np.arange(n) % 3 == 1).reshape(shape)
    if dtype.kind == "f":
        numbers = np.arange(n) * 1.25 - 3
        numbers[-1:] = 2.0 ** -20
        return numbers.astype(dtype).reshape(shape)
    ends = np.iinfo(dtype)
    numbers = [i * 7 + 1 for i in range(n)]
    numbers[-1] = min(int(ends.max), 2**63 - 1)
    numbers[0] = int(ends.min)
    return np.array(numbers, dtype).reshape(shape)


def becomes(array):
    """The dtype and the numbers that the service has of it."""
    kind = array.dtype.kind
    if kind == "f":
        return ("f64" if array.dtype.itemsize == 8 else "f32"), array.astype("f8")
    if kind == "b" or array.dtype == np.uint8:
        return "u8", array.astype("u1")
    return "i64", array.astype("i8")


def npy(array, version=(1, 0)):
    out = io.BytesIO()
    np.lib.format.write_array(out, array, version=version)
    return out.getvalue()


def expect_column(got, array):
    dtype, numbers = becomes(array)
    read = np.array(got[1], "f4") if dtype == "f32" else np.array(got[1], numbers.dtype)
    if got[0] != dtype or read.shape != numbers.shape or not np.array_equal(read, numbers):
        raise AssertionError(f"{got} instead of {dtype}, {numbers.tolist()}")


def expect_tensor(got, array):
    want = array.astype("f8")
    if got.shape != want.shape or not np.array_equal(got, want):
        raise AssertionError(f"{got} instead of {want}")


def floats_by_eval(service):
    for dtype, order, layout, shape in itertools.product(FLOATS, "<>", "CF", SHAPES + [(2, 1, 1)]):
        array = np.array(example(order + dtype, shape), order=layout)
        source = f"λx:R[{','.join(map(str, shape))}]. x"
        for version in [(1, 0), (2, 0), (3, 0)] if shape == (2, 3) else [(1, 0)]:
            yield f"eval {array.dtype.str} {layout} {shape} {version}", lambda: expect_tensor(
                service.eval(source, npy(array, version), "application/x-npy"), array)


def integers_by_eval(service):
    """One basis vector a row."""
    for dtype, order in itertools.product(INTEGERS + ["?"], "<>"):
        rows = np.array([1, 0, 1] if dtype == "?" else [5, 0, 6, 3], np.dtype(dtype).newbyteorder(order))
        source, basis = ("λx:2. x", BOOLEANS) if dtype == "?" else ("λx:N[7]. x", np.eye(7))
        yield f"eval {rows.dtype.str}", lambda: expect_tensor(
            service.eval(source, npy(rows), "application/x-npy"), basis[rows.astype(int)])


def npy_by_dataset(service):
    for dtype, order in itertools.product(FLOATS + INTEGERS + ["?"], "<>"):
        shape = SHAPES[(len(dtype) + INTEGERS.index(dtype) if dtype in INTEGERS else 2) % len(SHAPES)]
        array = np.asfortranarray(example(np.dtype(dtype).newbyteorder(order), shape))
        yield f"npy {array.dtype.str} {shape}", lambda: expect_column(service.put(npy(array), "?column=x")["x"], array)


class Pipe(io.RawIOBase):
    """A file that cannot be gone back in: zipfile puts sizes behind the data."""

    def __init__(self):
        super().__init__()
        self.bytes = b""

    def writable(self):
        return True

    def write(self, data):
        self.bytes += bytes(data)
        return len(data)


def npz_of(arrays, how):
    if how == "streamed":
        out = Pipe()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                archive.writestr(name + ".npy", npy(array))
        return out.bytes
    out = io.BytesIO()
    (np.savez_compressed if how == "compressed" else np.savez)(out, **arrays)
    return out.getvalue()


def expect_columns(got, arrays):
    if set(got) != set(arrays):
        raise AssertionError(f"{sorted(got)} instead of {sorted(arrays)}")
    for name, array in arrays.items():
        expect_column(got[name], array)


def npz_by_dataset(service):
    """All dtypes, orders and row shapes in one archive."""
    for how, layout in itertools.product(["stored", "compressed", "streamed"], "CF"):
        arrays = {}
        for dtype, order, row in itertools.product(FLOATS + INTEGERS + ["?"], "<>", [(), (3,), (2, 2), (2, 1, 3)]):
            name = f"{np.dtype(dtype).newbyteorder(order).str[1:]}.{'le' if order == '<' else 'be'}.{len(row)}"
            arrays[name] = np.array(example(np.dtype(dtype).newbyteorder(order), (3,) + row), order=layout)
        yield f"npz {how} {layout}", lambda: expect_columns(service.put(npz_of(arrays, how)), arrays)
    large = {"x": np.arange(600000, dtype="<f8").reshape(-1, 600), "y": np.arange(1000, dtype=">u4")}
    yield "npz large", lambda: expect_columns(service.put(npz_of(large, "compressed")), large)


def safetensors_of(arrays):
    header, data = {}, b""
    for name, (dtype, array) in arrays.items():
        raw = (array.view("<u4") >> 16).astype("<u2") if dtype == "BF16" else array
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + raw.nbytes]}
        data += raw.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def safetensors_by_both(service):
    arrays = {}
    for dtype, made in SAFETENSORS.items():
        array = example(made or "<f4", (2, 3))
        if dtype == "BF16":
            array = (array.view("<u4") & 0xFFFF0000).view("<f4")
        arrays[dtype] = (dtype, array)
        if array.dtype.kind == "f":
            yield f"eval {dtype}", lambda: expect_tensor(
                service.eval("λx:R[2,3]. x", safetensors_of({"args.0": (dtype, array)}), "application/vnd.safetensors"), array)
        else:
            rows = np.array([1, 0, 1], array.dtype)
            yield f"eval {dtype}", lambda: expect_tensor(
                service.eval("λx:2. x", safetensors_of({"args.0": (dtype, rows)}), "application/vnd.safetensors"), BOOLEANS[rows.astype(int)])
    yield "safetensors of all dtypes", lambda: expect_columns(service.put(safetensors_of(arrays)), {name: array for name, (_, array) in arrays.items()})


def read_case(name):
    with open(os.path.join(CASES, name), "rb") as f:
        return f.read()


def kept_files(service):
    for name in ["forder.npy", "bigendian.npy", "python2.npy"]:
        array = np.load(os.path.join(CASES, name), allow_pickle=False)
        yield f"eval {name}", lambda: expect_tensor(service.eval("λx:R[2,3]. x", read_case(name), "application/x-npy"), array)
        yield f"dataset {name}", lambda: expect_column(service.put(read_case(name), "?column=x")["x"], array)
    labels = np.load(os.path.join(CASES, "labels_i4.npy"))
    yield "eval labels_i4.npy", lambda: expect_tensor(
        service.eval("λx:N[3]. x", read_case("labels_i4.npy"), "application/x-npy"), np.eye(3)[labels])
    for name in ["F16", "BF16", "I32"]:
        yield f"dataset {name}.safetensors", lambda: expect_column(
            service.put(read_case(name + ".safetensors"))["x"], np.zeros(4, "f4" if name != "I32" else "i4"))
    yield "dataset columns.npz", lambda: expect_columns(service.put(read_case("columns.npz")), dict(np.load(os.path.join(CASES, "columns.npz"))))
    yield "dataset labels-idx1-ubyte.gz", lambda: expect_column(
        service.put(read_case("labels-idx1-ubyte.gz"), "?column=y")["y"], np.array([1, 2, 3, 4], "u1"))


def main():
    service = Service(os.environ["CAJAL_URL"])
    passed = failed = 0
    for group in [kept_files, floats_by_eval, integers_by_eval, npy_by_dataset, npz_by_dataset, safetensors_by_both]:
        for name, check in group(service):
            try:
                check()
                passed += 1
            except AssertionError as error:
                failed += 1
                print(f"{name}: {error}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())

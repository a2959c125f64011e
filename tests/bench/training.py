"""Training steps of the paper's three models, beside the same models in PyTorch: forward, backward, clip and Adam, from the same weights on the
same data, with two threads each."""
import array
import json
import os
import random
import statistics
import subprocess

from service import Wrong

HERE = os.path.dirname(os.path.abspath(__file__))
SPECS = os.path.join(os.path.dirname(os.path.dirname(HERE)), "client", "experiments", "specs")
MODELS = {"D": ("iterate-d.json", 4.0), "I": ("iterate-i.json", 1.5), "T": ("iterate-t10.json", 1.5)}  # specification; times PyTorch's speed
BATCHES = (32, 128)
ROUNDS = 5
STEPS = {32: 10, 128: 4}  # of each side and round
CHECKED = 5               # steps whose losses are compared first
TOLERANCE = 1e-4
PLACES = 28 * 28
SEED = 20251124


class Side:
    """A program that takes steps when asked (train.c, train_torch.py)."""

    def __init__(self, *command, **settings):
        environment = {**os.environ, **settings}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        self.first = self.line()

    def line(self):
        text = self.process.stdout.readline()
        if not text:
            raise Wrong(f"{self.process.args[0]} came to an end")
        return text

    def steps(self, count):
        """Milliseconds and losses."""
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        numbers = [float(word) for word in self.line().split()]
        return numbers[0::2], numbers[1::2]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def core():
    """What a worker tells an OpenBLAS that is older than this CPU (settle_libraries in worker/main.c), for both sides."""
    with open("/proc/cpuinfo", encoding="utf-8") as info:
        flags = set(next((line for line in info if line.startswith("flags")), "").split())
    name = "SkylakeX" if {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"} <= flags else "Haswell" if {"avx2", "fma"} <= flags else ""
    return {"OPENBLAS_CORETYPE": name} if name else {}


def write_run(folder, model, batch):
    """The experiment's specification for one batch of noise, and that; the paths, and the program as text."""
    with open(os.path.join(SPECS, MODELS[model][0]), encoding="utf-8") as file:
        spec = json.load(file)
    spec.update(data={"train": "noise"}, batch_size=batch, clip_norm=1.0)
    for unneeded in ("evaluate", "checkpoint"):
        spec.pop(unneeded, None)
    context = ", ".join(f"{name} : {kind}" for name, kind in sorted(spec["program"]["context"].items()))
    paths = [os.path.join(folder, f"{model}{batch}.{kind}") for kind in ("json", "data", "weights")]
    with open(paths[0], "w", encoding="utf-8") as file:
        json.dump(spec, file)
    draw = random.Random(SEED)
    with open(paths[1], "wb") as file:
        array.array("f", (draw.uniform(-1, 1) for _ in range(2 * batch * PLACES))).tofile(file)
    return paths, f"{context} |- {spec['program']['source']}"


def compare(model, batch, ours, beside):
    for step, (a, b) in enumerate(zip(ours.steps(CHECKED)[1], beside.steps(CHECKED)[1])):
        if not abs(a - b) <= TOLERANCE * abs(b):
            raise Wrong(f"{model} at batch {batch}: the loss of step {step} is {a}, PyTorch has {b}")


def measure_one(table, build, folder, model, batch):
    (spec, data, weights), program = write_run(folder, model, batch)
    title = f"training step {model}, batch {batch}"
    with Side(os.path.join(build, "bench", "train"), spec, program, str(batch), data, weights, "2", OMP_WAIT_POLICY="passive",
              **core()) as ours, \
            Side("/usr/bin/python3", "-B", os.path.join(HERE, "train_torch.py"), model, str(batch), data, weights, **core()) as beside:
        about = json.loads(beside.first)
        if "missing" in about:
            table.add(title, f"{statistics.median(ours.steps(STEPS[batch])[0]):.1f} ms", "not installed (python3-torch)")
            return None
        compare(model, batch, ours, beside)
        times = ([], [])
        for _ in range(ROUNDS):
            for side, said in zip((ours, beside), times):
                said.append(statistics.median(side.steps(STEPS[batch])[0]))
        mine, theirs = (statistics.median(said) for said in times)
        reach = MODELS[model][1]
        table.add(title, f"{mine:.1f} ms", f"PyTorch {theirs:.1f} ms", theirs / mine, f">= {reach:g}", theirs / mine >= reach)
        return about["version"]


def measure_training(table, build, folder):
    version = None
    for model in MODELS:
        for batch in BATCHES:
            version = measure_one(table, build, folder, model, batch) or version
    if version:
        table.remarks.append(f"training: ratios are PyTorch's time over ours; PyTorch {version}, two threads, per-row kernels by grouped conv2d; "
                             f"the first {CHECKED} losses agree to {TOLERANCE:g}")

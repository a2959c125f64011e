#!/usr/bin/python3
"""The paper's three models as a PyTorch user writes them, trained on one batch: train_torch.py MODEL ROWS DATA WEIGHTS. Starts from the weights that
train.c wrote, on its data, with two threads. First prints {"version"}, or {"missing": why} without PyTorch; then, for each line "N" of its
input, takes N steps and prints a line of "MILLISECONDS LOSS" for each, one after the other."""
import json
import struct
import sys
import time

SIDE = 28


def read_weights(torch, path):
    """A checkpoint's tensors by name."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header, data = json.loads(file.read(length)), bytearray(file.read())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or name.startswith("optimizer."):
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = torch.frombuffer(data, dtype=torch.float32, count=(end - begin) // 4, offset=begin).reshape(entry["shape"]).clone()
    return tensors


def models(torch):
    nn, F = torch.nn, torch.nn.functional

    def trunk():
        return [nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3), nn.Flatten()]

    class Direct(nn.Module):
        names = {"counter.0": "nets.counter.1", "counter.2": "nets.counter.3", "counter.6": "nets.counter.7",
                 "dilator.0": "nets.dilator.w.1", "dilator.2": "nets.dilator.w.3", "dilator.6": "nets.dilator.w.7"}

        def __init__(self):
            super().__init__()
            self.counter = nn.Sequential(*trunk(), nn.Linear(1296, 10))
            self.dilator = nn.Sequential(*trunk(), nn.Linear(1296, 169), nn.Tanh())

        def dilate(self, y):
            """A kernel a row: rows become channels of one image, each a group of its own."""
            n = y.shape[0]
            kernels = self.dilator(y).view(n, 1, 13, 13)
            padded = F.pad(y.view(1, n, SIDE, SIDE), (6, 6, 6, 6), value=-1.0)
            return F.conv2d(padded, kernels, groups=n).view(n, 1, SIDE, SIDE)

        def forward(self, x):
            count = self.counter(x)
            state, out = x, count[:, 0].view(-1, 1, 1, 1) * x
            for i in range(1, 10):
                state = self.dilate(state)
                out = out + count[:, i].view(-1, 1, 1, 1) * state
            return out

    class Indirect(nn.Module):
        names = {"first": "nets.indirect.2", "second": "nets.indirect.5", "third": "nets.indirect.8"}

        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = nn.Conv2d(1, 6, 13), nn.Conv2d(6, 6, 13), nn.Conv2d(6, 1, 13)

        def forward(self, x):
            def pad(x):
                return F.pad(x, (6, 6, 6, 6), value=-1.0)

            return self.third(pad(F.relu(self.second(pad(F.relu(self.first(pad(x))))))))

    class Typed(nn.Module):
        names = {"counter.0": "nets.counter.1", "counter.2": "nets.counter.3", "counter.6": "nets.counter.7"}

        def __init__(self):
            super().__init__()
            self.counter = nn.Sequential(*trunk(), nn.Linear(1296, 10))
            self.post = nn.Linear(7840, 784)

        def forward(self, x):
            n = x.shape[0]
            pair = torch.einsum("ni,nj->nij", self.counter(x), x.view(n, -1)).reshape(n, -1)
            return self.post(pair).view(n, 1, SIDE, SIDE)

    return {"D": Direct, "I": Indirect, "T": Typed}


def load(torch, model, kind, weights):
    state = {}
    for ours, theirs in model.names.items():
        for part in ("weight", "bias"):
            state[f"{ours}.{part}"] = weights[f"{theirs}.{part}"]
    if kind == "T":
        state["post.weight"] = weights["bind.f"].reshape(784, 784, 10).permute(0, 2, 1).reshape(784, 7840)
        state["post.bias"] = weights["nets.bias.0.bias"].reshape(784)
    model.load_state_dict(state)


def main():
    try:
        import torch
    except ImportError as why:
        print(json.dumps({"missing": str(why)}), flush=True)
        return
    torch.set_num_threads(2)
    kind, rows, data, weights = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    model = models(torch)[kind]()
    load(torch, model, kind, read_weights(torch, weights))
    with open(data, "rb") as file:
        x, y = torch.frombuffer(bytearray(file.read()), dtype=torch.float32).reshape(2, rows, 1, SIDE, SIDE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        said = []
        for _ in range(int(line)):
            began = time.perf_counter()
            optimizer.zero_grad()
            loss = torch.nn.functional.l1_loss(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            said.append(f"{1e3 * (time.perf_counter() - began):.6f} {loss.item():.9g}")
        print(" ".join(said), flush=True)


if __name__ == "__main__":
    main()

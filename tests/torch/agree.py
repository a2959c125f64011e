#!/usr/bin/python3
"""Runs against PyTorch: forward, gradients and ten optimiser steps of every layer, loss, optimiser and schedule, and of networks in programs,
through a running service.

Each case is a small run over one batch (all rows, so that shuffling changes nothing but the order of sums), with a checkpoint after every
step. PyTorch starts from the run's initial weights and must go the same way: forward values, input gradients, each step's loss and
weights, to 1e-5 of the largest element (f64: 1e-9); in f32 steps amplify rounding, so twice PyTorch's own distance from f64 is allowed on top.
Usage: agree.py [--url URL] [CASE...]; ends with "N passed, N failed". The seed is printed.
"""
import argparse
import json
import os
import sys
import time
import urllib.error
import urllib.request

import numpy as np
import torch
import torch.nn.functional as F

KINDS = {"F32": np.float32, "F64": np.float64, "U8": np.uint8, "I64": np.int64}
NAMES = {np.dtype(v): k for k, v in KINDS.items()}


def pack(columns):
    header, at = {}, 0
    for name, a in columns.items():
        header[name] = {"dtype": NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(np.ascontiguousarray(a).tobytes() for a in columns.values())


def unpack(data):
    n = int.from_bytes(data[:8], "little")
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            out[name] = np.frombuffer(data[8 + n + a:8 + n + b], KINDS[t["dtype"]]).reshape(t["shape"])
    return out


class Service:
    def __init__(self, url):
        self.url = url

    def ask(self, method, path, body=None, kind="application/json", accept="application/json"):
        data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
        request = urllib.request.Request(self.url + path, data, {"Content-Type": kind, "Accept": accept}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                got = answer.read()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()[:600]}") from None
        return json.loads(got) if accept == "application/json" and got else got

    def train(self, spec):
        run = self.ask("POST", "/runs", spec)["id"]
        for _ in range(600):
            record = self.ask("GET", f"/runs/{run}")
            if record["state"] in ("done", "failed", "cancelled"):
                assert record["state"] == "done", record
                return run
            time.sleep(0.05)
        raise AssertionError("the run does not end")

    def weights(self, run, step):
        return unpack(self.ask("GET", f"/runs/{run}/weights?step={step}", accept="application/vnd.safetensors"))


# A case: the network (layers or let form), the row shape of x and of the output, what PyTorch does with x and the weights w(name).
LAYERS = {
    "linear": ([{"linear": {"out": 5}}], (7,), (5,), lambda x, w: F.linear(x, w("0.weight"), w("0.bias"))),
    "linear, no bias": ([{"linear": {"out": 5, "bias": False}}], (7,), (5,), lambda x, w: F.linear(x, w("0.weight"))),
    "bias": (["bias"], (3, 4), (3, 4), lambda x, w: x + w("0.bias")),
    "conv2d": ([{"conv2d": {"out": 4, "kernel": 3}}], (2, 7, 6), (4, 5, 4), lambda x, w: F.conv2d(x, w("0.weight"), w("0.bias"))),
    "conv2d, pad": ([{"conv2d": {"out": 3, "kernel": [5, 3], "pad": [2, 1]}}], (2, 9, 8), (3, 9, 8),
                    lambda x, w: F.conv2d(x, w("0.weight"), w("0.bias"), padding=(2, 1))),
    "conv2d, stride": ([{"conv2d": {"out": 3, "kernel": 3, "stride": 2, "pad": 1, "bias": False}}], (2, 9, 8), (3, 5, 4),
                       lambda x, w: F.conv2d(x, w("0.weight"), stride=2, padding=1)),
    "conv2d, 13×13": ([{"pad2d": {"pad": 6, "value": -1}}, {"conv2d": {"out": 2, "kernel": 13}}], (1, 28, 28), (2, 28, 28),
                      lambda x, w: F.conv2d(F.pad(x, (6,) * 4, value=-1), w("1.weight"), w("1.bias"))),
    "conv2d, 1×1": ([{"conv2d": {"out": 6, "kernel": 1}}], (3, 4, 5), (6, 4, 5), lambda x, w: F.conv2d(x, w("0.weight"), w("0.bias"))),
    "max_pool2d": ([{"conv2d": {"out": 2, "kernel": 3, "pad": 1}}, {"max_pool2d": {"kernel": 3}}], (1, 10, 11), (2, 3, 3),
                   lambda x, w: F.max_pool2d(F.conv2d(x, w("0.weight"), w("0.bias"), padding=1), 3)),
    "max_pool2d, stride, pad": ([{"conv2d": {"out": 2, "kernel": 3, "pad": 1}}, {"max_pool2d": {"kernel": 3, "stride": 2, "pad": 1}}],
                                (1, 10, 11), (2, 5, 6),
                                lambda x, w: F.max_pool2d(F.conv2d(x, w("0.weight"), w("0.bias"), padding=1), 3, 2, 1)),
    "avg_pool2d": ([{"conv2d": {"out": 2, "kernel": 3, "pad": 1}}, {"avg_pool2d": {"kernel": 2, "stride": 2, "pad": 1}}], (1, 8, 9), (2, 5, 5),
                   lambda x, w: F.avg_pool2d(F.conv2d(x, w("0.weight"), w("0.bias"), padding=1), 2, 2, 1)),
    "pad2d": ([{"conv2d": {"out": 2, "kernel": 3}}, {"pad2d": {"pad": [1, 2], "value": 0.5}}], (1, 6, 6), (2, 6, 8),
              lambda x, w: F.pad(F.conv2d(x, w("0.weight"), w("0.bias")), (2, 2, 1, 1), value=0.5)),
    "flatten, reshape": ([{"conv2d": {"out": 2, "kernel": 2}}, "flatten", {"linear": {"out": 6}}, {"reshape": [2, 3]}], (1, 4, 4), (2, 3),
                         lambda x, w: F.linear(F.conv2d(x, w("0.weight"), w("0.bias")).flatten(1), w("2.weight"), w("2.bias")).reshape(-1, 2, 3)),
}
for name, f in {
    "relu": F.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "softplus": F.softplus, "hardtanh": F.hardtanh, "leaky_relu": F.leaky_relu,
    "gelu": F.gelu,
    "softmax": lambda x: F.softmax(x, -1), "log_softmax": lambda x: F.log_softmax(x, -1),
}.items():
    LAYERS[name] = ([{"linear": {"out": 6}}, name], (5,), (6,), lambda x, w, f=f: f(F.linear(x, w("0.weight"), w("0.bias"))))
LAYERS["leaky_relu 0.2"] = ([{"linear": {"out": 6}}, {"leaky_relu": {"slope": 0.2}}], (5,), (6,),
                            lambda x, w: F.leaky_relu(F.linear(x, w("0.weight"), w("0.bias")), 0.2))
LAYERS["softplus β 2"] = ([{"linear": {"out": 6}}, {"softplus": {"beta": 2, "threshold": 1}}], (5,), (6,),
                          lambda x, w: F.softplus(F.linear(x, w("0.weight"), w("0.bias")), 2, 1))
LAYERS["hardtanh ±½"] = ([{"linear": {"out": 6}}, {"hardtanh": {"min": -0.5, "max": 0.25}}], (5,), (6,),
                         lambda x, w: F.hardtanh(F.linear(x, w("0.weight"), w("0.bias")), -0.5, 0.25))


def by_kernel(x, w):
    """The kernel of each row is computed from the row."""
    n = x.shape[0]
    k = torch.tanh(F.linear(x.flatten(1), w("w.1.weight"), w("w.1.bias"))).reshape(n, 1, 5, 5)
    padded = F.pad(x.reshape(n, 1, 8, 8), (2,) * 4, value=-1)
    return F.conv2d(padded.reshape(1, n, 12, 12), k, groups=n).reshape(n, 8, 8)


LAYERS["conv2d_by"] = ({"inputs": ["y"], "out": "z",
                        "let": [["w", {"layers": ["flatten", {"linear": {"out": 25}}, "tanh", {"reshape": [1, 5, 5]}], "of": "y"}],
                                ["z", {"conv2d_by": {"pad": 2, "pad_value": -1}, "of": ["y", "w"]}]]}, (8, 8), (8, 8), by_kernel)



def iterated(count, base, step):
    """Σ count[k] · step^k(base), the terms as rows"""
    states = [base]
    for _ in range(count.shape[1] - 1):
        states.append(step(states[-1]))
    return sum(count[:, k].reshape(-1, 1, 1) * s for k, s in enumerate(states))


def stepped(y, w):
    return torch.tanh(F.linear(y.flatten(1), w("nets.step.1.weight"), w("nets.step.1.bias"))).reshape(-1, 3, 4)


def counted(x, w):
    return F.linear(x.flatten(1), w("nets.counter.1.weight"), w("nets.counter.1.bias"))


def conditional(x, w):
    even = F.linear(x.flatten(1), w("nets.judge.1.weight"), w("nets.judge.1.bias"))
    other = iterated(counted(x, w), x, lambda y: stepped(y, w))
    return even[:, 0].reshape(-1, 1, 1) * x + even[:, 1].reshape(-1, 1, 1) * other


STEP = {"layers": ["flatten", {"linear": {"out": 12}}, "tanh", {"reshape": [3, 4]}]}
COUNTER = {"layers": ["flatten", {"linear": {"out": 4}}]}
JUDGE = {"layers": ["flatten", {"linear": {"out": 2}}]}
STEP_TYPE = "!(!R[3,4] -o R[3,4])"
# A case: members of the specification, the row shape of x and of the output, what PyTorch does with x and the weights w(name).
PROGRAMS = {
    "iterated network": ({"program": {"source": "iter {base | y -> step y} (count)",
                                      "context": {"base": "!R[3,4]", "step": STEP_TYPE, "count": "N[4]"}},
                          "nets": {"step": STEP, "counter": COUNTER},
                          "bind": {"base": {"column": "x"}, "step": {"net": "step"}, "count": {"net": "counter", "of": ["x"]}}},
                         (3, 4), (3, 4), lambda x, w: iterated(counted(x, w), x, lambda y: stepped(y, w))),
    "trained base": ({"program": {"source": "iter {base | y -> step y} (count)",
                                  "context": {"base": "!R[3,4]", "step": STEP_TYPE, "count": "!N[4]"}},
                      "nets": {"step": STEP}, "bind": {"base": {"weights": {}}, "step": {"net": "step"}, "count": {"column": "x"}}},
                     (4,), (3, 4), lambda x, w: iterated(x, w("bind.base").expand(len(x), 3, 4), lambda y: stepped(y, w))),
    "conditional": ({"program": {"source": "if even then base else iter {base | y -> step y} (count)",
                                 "context": {"base": "!R[3,4]", "step": STEP_TYPE, "count": "!N[4]", "even": "2"}},
                     "nets": {"step": STEP, "counter": COUNTER, "judge": JUDGE},
                     "bind": {"base": {"column": "x"}, "step": {"net": "step"}, "count": {"net": "counter", "of": ["x"]},
                              "even": {"net": "judge", "of": ["x"]}}},
                    (3, 4), (3, 4), conditional),
}

LINEAR = ([{"linear": {"out": 4}}], (6,), (4,), lambda x, w: F.linear(x, w("0.weight"), w("0.bias")))
SIGMOID = ([{"linear": {"out": 4}}, "sigmoid"], (6,), (4,), lambda x, w: torch.sigmoid(F.linear(x, w("0.weight"), w("0.bias"))))
LOGS = ([{"linear": {"out": 4}}, "log_softmax"], (6,), (4,), lambda x, w: F.log_softmax(F.linear(x, w("0.weight"), w("0.bias")), -1))
LOSSES = {
    "l1": (LINEAR, "real", lambda y, t: F.l1_loss(y, t)), "mse": (LINEAR, "real", lambda y, t: F.mse_loss(y, t)),
    "cross_entropy": (LINEAR, "class", lambda y, t: F.cross_entropy(y, t)),
    "nll": (LOGS, "class", lambda y, t: F.nll_loss(y, t)), "bce": (SIGMOID, "unit", lambda y, t: F.binary_cross_entropy(y, t)),
}
OPTIMIZERS = {
    "sgd": ({"sgd": {"lr": 0.1}}, lambda p: torch.optim.SGD(p, 0.1)),
    "sgd momentum": ({"sgd": {"lr": 0.1, "momentum": 0.9}}, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
    "sgd nesterov, decay": ({"sgd": {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}},
                            lambda p: torch.optim.SGD(p, 0.1, momentum=0.8, nesterov=True, weight_decay=0.01)),
    "adam": ({"adam": {"lr": 0.01}}, lambda p: torch.optim.Adam(p, 0.01)),
    "adam, betas, decay": ({"adam": {"lr": 0.01, "betas": [0.8, 0.95], "eps": 1e-6, "weight_decay": 0.1}},
                           lambda p: torch.optim.Adam(p, 0.01, (0.8, 0.95), 1e-6, 0.1)),
    "adamw": ({"adamw": {"lr": 0.01}}, lambda p: torch.optim.AdamW(p, 0.01)),
}
SCHEDULES = {
    "step": ({"step": {"every": 3, "gamma": 0.5}}, lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "cosine": ({"cosine": {}}, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 10)),
    "constant": ({"constant": {}}, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda k: 1)),
}


class Case:
    def __init__(self, name, net, loss="mse", optimizer="adam", schedule=None, clip=0.0, dtype="f64"):
        self.name, self.net, self.loss, self.optimizer, self.schedule, self.clip, self.dtype = name, net, loss, optimizer, schedule, clip, dtype

    def target(self, random, rows):
        kind = LOSSES[self.loss][1]
        if kind == "class":
            return random.integers(0, self.net[2][-1], rows)
        y = random.random((rows, *self.net[2]))
        return y if kind == "unit" else 2 * y - 1

    prefix = "nets.n."  # of the names that the network's weights have
    variable = "x"      # bound to column x

    def linked(self):
        layers, shape, out, _ = self.net
        net = layers if isinstance(layers, dict) else {"layers": layers}
        kind = "!(!R[%s] -o R[%s])" % (",".join(map(str, shape)), ",".join(map(str, out)))
        return {"program": {"source": "f x", "context": {"f": kind, "x": "!R[%s]" % ",".join(map(str, shape))}}, "nets": {"n": net},
                "bind": {"x": {"column": "x"}, "f": {"net": "n"}}}

    def spec(self, data):
        spec = {"name": self.name, **self.linked(), "data": {"train": data}, "loss": {self.loss: {"target": "y"}},
                "optimizer": OPTIMIZERS[self.optimizer][0], "batch_size": 6, "steps": 10, "seed": 5, "dtype": self.dtype,
                "checkpoint": {"every": 1, "keep": 20}}
        if self.schedule:
            spec["schedule"] = SCHEDULES[self.schedule][0]
        if self.clip:
            spec["clip_norm"] = self.clip
        return spec

    def near(self, what, got, want, rounded=None):
        """rounded: what PyTorch itself makes of it in the run's dtype; twice its own error is allowed on top, for steps amplify
        what is rounded."""
        got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
        assert got.shape == want.shape, f"{what}: shape {got.shape} instead of {want.shape}"
        scale = max(np.abs(want).max(initial=0), 1e-3)
        off, own = np.abs(got - want).max(initial=0) / scale, 0 if rounded is None else np.abs(np.asarray(rounded) - want).max(initial=0) / scale
        assert off <= (1e-9 if self.dtype == "f64" else 1e-5) + 2 * own, f"{what} is off by {off:.2g}, PyTorch by {own:.2g}"

    def run(self, service, random):
        real = np.float64 if self.dtype == "f64" else np.float32
        x, y = random.standard_normal((6, *self.net[1])).astype(real), self.target(random, 6)
        service.ask("PUT", "/datasets/agree", pack({"x": x, "y": y if y.dtype == np.int64 else y.astype(real)}), "application/vnd.safetensors")
        run = service.train(self.spec("agree"))
        start = service.weights(run, 0)
        exact, rounded = (self.twin(start, x, y if y.dtype == np.int64 else y.astype(real), kind) for kind in (np.float64, real))
        params, tx, out, loss = exact
        self.check_call(service, run, x, tx, out, random)
        if params:
            self.check_steps(service, run, [(params, loss), (rounded[0], rounded[3])])

    def twin(self, start, x, y, kind):
        """The case in PyTorch: weights, input, output, and the loss as a function of the weights as they are then."""
        params = {k: torch.tensor(v.astype(kind), requires_grad=True) for k, v in start.items()}
        w = lambda name: params[self.prefix + name]  # noqa: E731
        tx, ty = torch.tensor(x.astype(kind), requires_grad=True), torch.tensor(y if y.dtype == np.int64 else y.astype(kind))
        return params, tx, self.net[3](tx, w), lambda: LOSSES[self.loss][2](self.net[3](tx, w), ty)

    def steps(self, params, loss):
        """Ten steps: each one's loss and the weights after it."""
        optimizer = OPTIMIZERS[self.optimizer][1](list(params.values()))
        scheduler = SCHEDULES[self.schedule][1](optimizer) if self.schedule else None
        for _ in range(10):
            optimizer.zero_grad()
            now = loss()
            now.backward()
            if self.clip:
                torch.nn.utils.clip_grad_norm_(list(params.values()), self.clip)
            optimizer.step()
            if scheduler:
                scheduler.step()
            yield now.detach(), {name: p.detach() for name, p in params.items()}

    def check_call(self, service, run, x, tx, out, random):
        cotangent = random.standard_normal(out.shape)
        got = service.ask("POST", "/grad", {"run": run, "step": 0, "columns": {"x": x.tolist()}, "cotangent": cotangent.tolist(), "dtype": self.dtype})
        self.near("forward", got["output"]["data"], out.detach())
        out.backward(torch.tensor(cotangent), retain_graph=True)
        self.near("input gradient", got["grads"]["inputs"]["x"]["data"], tx.grad)

    def check_steps(self, service, run, twins):
        points = service.ask("GET", f"/runs/{run}/metrics?keys=train.loss")["metrics"]["train.loss"]["values"]
        assert len(points) == 10, f"{len(points)} losses"
        for step, ((loss, params), (loss_rounded, rounded)) in enumerate(zip(*(self.steps(*twin) for twin in twins))):
            self.near(f"loss {step}", points[step], loss, loss_rounded)
            got = service.weights(run, step + 1)
            for name, p in params.items():
                self.near(f"{name} after step {step + 1}", got[name], p, rounded[name])


class Program(Case):
    prefix = ""

    def linked(self):
        return self.net[0]


def cases():
    for dtype in ("f64", "f32"):
        for name, net in LAYERS.items():
            yield Case(f"layer {name}, {dtype}", net, dtype=dtype, optimizer="sgd")
        for name, net in PROGRAMS.items():
            yield Program(f"program {name}, {dtype}", net, dtype=dtype)
    for name, (net, _, _) in LOSSES.items():
        yield Case(f"loss {name}", net, loss=name)
    for name in OPTIMIZERS:
        yield Case(f"optimizer {name}", LINEAR, optimizer=name)
        yield Case(f"optimizer {name}, f32", LINEAR, optimizer=name, dtype="f32")
    for name in SCHEDULES:
        yield Case(f"schedule {name}", LINEAR, optimizer="sgd", schedule=name)
    yield Case("clipping", LINEAR, optimizer="sgd", clip=0.05)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--url", default=os.environ.get("CAJAL_URL", "http://127.0.0.1:8420"))
    p.add_argument("--seed", type=int, default=int(time.time()))
    p.add_argument("cases", nargs="*", help="parts of names")
    options = p.parse_args()
    print(f"seed {options.seed}, PyTorch {torch.__version__}")
    service, passed, failed = Service(options.url), 0, 0
    for case in cases():
        if options.cases and not any(part in case.name for part in options.cases):
            continue
        try:
            case.run(service, np.random.default_rng(options.seed))
            passed += 1
        except (AssertionError, KeyError) as error:
            failed += 1
            print(f"FAILED {case.name}: {error if isinstance(error, AssertionError) else repr(error)}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())

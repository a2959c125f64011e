#!/usr/bin/python3
"""The published Python implementation's way, written afresh: a program becomes a tree of closures over PyTorch tensors, vectorised over
the batch. First prints {"version"}, or {"missing": why} without PyTorch; then for each line "NAME BATCH" of its input {"us"}: the median of some
runs, with one thread or with two, whichever is less."""
import json
import statistics
import sys
import time

SECONDS = 0.1  # of runs, for each line and number of threads


def closures(torch):
    """The constructors: each gives a closure from an environment to a value, a tensor [batch, n] or a function of values."""

    def var(name):
        return lambda env: env[name]

    def boolean(index):
        one = torch.eye(2)[index : index + 1]
        return lambda env: one

    def choose(c, a, b):
        if callable(a):
            return lambda v: choose(c, a(v), b(v))
        return c[:, 0:1] * a + c[:, 1:2] * b

    def cond(c, a, b):
        return lambda env: choose(c(env), a(env), b(env))

    def fun(name, body):
        return lambda env: lambda v: body({**env, name: v})

    def app(f, *args):
        def run(env):
            value = f(env)
            for a in args:
                value = value(a(env))
            return value

        return run

    def iterate(base, name, step, count):
        def run(env):
            n = count(env)
            state = base(env)
            total = n[:, 0:1] * state
            for i in range(1, n.shape[1]):
                state = step({**env, name: state})
                total = total + n[:, i : i + 1] * state
            return total

        return run

    return var, boolean, cond, fun, app, iterate


def table(torch, tensor):
    """A batch of values of type 2 -o 2 -o 2, [batch, 4, 2], as a function."""
    return lambda x: lambda y: torch.einsum("boi,bi->bo", torch.einsum("boi,bi->bo", tensor, x.expand(tensor.shape[0], 2)).view(-1, 2, 2),
                                            y.expand(tensor.shape[0], 2))


def programs(torch):
    """name: (program, random environment of a batch, the answer by hand)"""
    var, boolean, cond, fun, app, iterate = closures(torch)
    tt, ff, a, b = boolean(0), boolean(1), var("a"), var("b")
    second = fun("x", fun("y", cond(var("x"), var("y"), var("y"))))
    test = app(var("g"), tt, ff)
    church = app(fun("g", cond(test, fun("h", var("h")), fun("g", cond(test, second, second)))), var("f"), var("r"), tt, ff)

    def two(batch):
        return {"a": torch.rand(batch, 2), "b": torch.rand(batch, 2)}

    def two_tables(batch):
        f, r = torch.rand(batch, 4, 2), torch.rand(batch, 4, 2)
        return {"f": table(torch, f), "r": table(torch, r), "f.data": f, "r.data": r}

    def xor_by_hand(env):
        p, q = env["a"], env["b"]
        return torch.stack((p[:, 0] * q[:, 1] + p[:, 1] * q[:, 0], p[:, 0] * q[:, 0] + p[:, 1] * q[:, 1]), 1)

    def parity_by_hand(env):
        return torch.stack((env["n"][:, 0::2].sum(1), env["n"][:, 1::2].sum(1)), 1)

    def church_by_hand(env):
        f, r = env["f.data"], env["r.data"]
        return torch.stack((f[:, 1, 0] * r[:, 1, 0], f[:, 1, 0] * r[:, 3, 0] + f[:, 3, 0] * (r[:, 1, 0] + r[:, 3, 0])), 1)

    return {
        "xor": (cond(a, cond(b, ff, tt), b), two, xor_by_hand),
        "parity": (iterate(tt, "y", cond(var("y"), ff, tt), var("n")), lambda batch: {"n": torch.rand(batch, 10)}, parity_by_hand),
        "church-and": (church, two_tables, church_by_hand),
    }


def microseconds(torch, program, env, threads):
    torch.set_num_threads(threads)
    samples, until = [], time.perf_counter() + SECONDS
    while len(samples) < 3 or time.perf_counter() < until:
        began = time.perf_counter()
        program(env)
        samples.append(1e6 * (time.perf_counter() - began))
    return statistics.median(samples)


def say(**fields):
    print(json.dumps(fields), flush=True)


def main():
    try:
        import torch
    except ImportError as why:
        say(missing=str(why))
        return
    torch.manual_seed(20251124)
    say(version=torch.__version__)
    known = programs(torch)
    for line in sys.stdin:
        name, batch = line.split()
        program, draw, by_hand = known[name]
        env = draw(int(batch))
        with torch.no_grad():
            if not torch.allclose(program(env), by_hand(env), atol=1e-4):
                sys.exit(f"{name}: wrong")
            say(us=min(microseconds(torch, program, env, threads) for threads in (1, 2)))


if __name__ == "__main__":
    main()

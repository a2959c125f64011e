"""A small /eval while a run trains: the direct model takes both cores at low priority, and answers must not wait for it."""
import array
import json
import os
import random
import time

from service import SAFETENSORS, Wrong, ask, expect, post_json
from training import PLACES, SEED, SPECS

ROWS, CONNECTIONS, SECONDS, RUN_STEPS = 256, 4, 5.0, 1_000_000
PATIENCE = 60


def data_set():
    draw = random.Random(SEED)
    header, data = {}, b""
    for name in ("x", "y"):
        piece = array.array("f", (draw.uniform(-1, 1) for _ in range(ROWS * PLACES))).tobytes()
        header[name] = {"dtype": "F32", "shape": [ROWS, 28, 28], "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def start_run(port):
    status, answer = ask(port, "PUT", "/datasets/noise", data_set(), {"Content-Type": SAFETENSORS})
    expect(f"data set: {answer[:300]}", status, 201)
    with open(os.path.join(SPECS, "iterate-d.json"), encoding="utf-8") as file:
        spec = json.load(file)
    for unneeded in ("epochs", "evaluate", "checkpoint"):
        del spec[unneeded]
    spec.update(data={"train": "noise"}, steps=RUN_STEPS)
    status, answer = ask(port, "POST", "/runs", json.dumps(spec), {"Content-Type": "application/json"})
    expect(f"run: {answer[:300]}", status, 202)
    return json.loads(answer)["id"]


def record(port, run):
    status, answer = ask(port, "GET", f"/runs/{run}")
    expect(f"run: {answer[:300]}", status, 200)
    return json.loads(answer)


def wait_for(port, run, state, step):
    until = time.monotonic() + PATIENCE
    while (now := record(port, run))["state"] != state or now["step"] < step:
        if time.monotonic() > until or now["state"] == "failed":
            raise Wrong(f"the run does not come to {state}, step {step}: {now['state']} {now.get('reason')}")
        time.sleep(0.02)
    return now["step"]


def measure_beside(table, build, service, exchange):
    alone = exchange.load(build, service.port, CONNECTIONS, seconds=SECONDS)
    run = start_run(service.port)
    first = wait_for(service.port, run, "running", 3)
    loaded = exchange.load(build, service.port, CONNECTIONS, seconds=SECONDS)
    last = wait_for(service.port, run, "running", first)
    began = time.monotonic()
    post_json(service.port, f"/runs/{run}/cancel", None)
    wait_for(service.port, run, "cancelled", 0)
    ms = 1000 * (time.monotonic() - began)
    table.add("p99 of a small /eval beside a running D", f"{loaded['p99_us'] / 1000:.2f} ms", f"alone {alone['p99_us'] / 1000:.2f} ms", None, "< 20 ms",
              loaded["p99_us"] < 20000)
    table.add("a cancel, until the run is over", f"{ms:.0f} ms", "", None, "≤ 200 ms", ms <= 200)
    table.remarks.append(f"beside a run: {CONNECTIONS} connections, {loaded['per_second']:,.0f} answers/s, {alone['per_second']:,.0f} without it; "
                         f"it took {last - first} steps meanwhile.")

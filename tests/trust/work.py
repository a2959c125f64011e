"""What keeps workers busy for as long as a row needs, whatever the machine; and what can be seen of their processes."""
import json, os, socket, struct, time

WAIT = 120  # seconds; only against hanging

# A hundred thousand million multiplications, each of which needs the one before: no machine ends it while a row runs.
ENDLESS = {"source": "f : !(R[1] -o R[1]), x : R[1], k : !N[5001] |- iter {x | y -> iter {y | z -> iter {z | w -> f w} (k)} (k)} (k)",
           "inputs": {"f": [[1]], "x": [1], "k": 5000}}


def begin(daemon, path, body, **headers):
    """A request on a connection of its own, which is returned; its answer is not waited for."""
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    head += "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in headers.items())
    s = socket.create_connection(("127.0.0.1", daemon.port), timeout=WAIT)
    s.sendall(head.encode() + b"\r\n" + data)
    return s


def begin_run(daemon, steps=10**12, **more):
    """A training run on a data set of its own making; its id. The default never ends."""
    rows = b"".join(struct.pack("<8f", *(((i * 7 + k) % 11 - 5) / 5 for k in range(8))) for i in range(64))
    header = json.dumps({n: {"dtype": "F32", "shape": [64, 4], "data_offsets": [at, at + 1024]} for n, at in (("x", 0), ("y", 1024))}).encode()
    daemon.ask("PUT", "/datasets/toy", struct.pack("<Q", len(header)) + header + rows, Content_Type="application/octet-stream")
    spec = {"program": {"source": "f : !(R[4] -o R[4]), x : R[4] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}}, "data": {"train": "toy"},
            "loss": {"mse": {"target": "y"}}, "optimizer": {"adam": {"lr": 0.001}}, "batch_size": 16, "steps": steps, "seed": 7} | more
    made = daemon.post("/runs", spec)
    if made.status != 202:
        raise RuntimeError(f"the run was refused: {made.body[:400]}")
    return made.json()["id"]


def wait_for(what, true, pause=0.002):
    until = time.monotonic() + WAIT
    while not (value := true()):
        if time.monotonic() > until:
            raise RuntimeError(f"it did not come to this: {what}")
        time.sleep(pause)
    return value


def run_is(daemon, run, state, step=0):
    """The run has come to the state, and so far."""
    now = daemon.get(f"/runs/{run}").json()
    return now["state"] == state and now["step"] >= step


def workers(daemon):
    return daemon.get("/workers").json()["workers"]


def busy(daemon):
    return sum(w["state"] == "busy" for w in workers(daemon))


def metric(daemon, name):
    text = daemon.get("/metrics").body.decode()
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.split("\n") if line.split("{")[0].split(" ")[0] == name)


def ended(pid):
    """It is gone, or only waits for somebody to read how it ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


def trainer(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return b"--background" in f.read()
    except OSError:
        return False

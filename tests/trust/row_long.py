"""One request after the other that is as long as it may be: identifiers, lines, lists, trees and answers of megabytes. A user beside them is answered, and
how long the event loop heard nobody is noted: aimed at is 20 ms, whatever is sent."""
import json
from crowd import User, put_toy, settled

TITLE = "requests as long as they may be"
ROOM = 8 * 1024 * 1024 - 4096  # of a JSON body


def cases(d, spec):
    """(what, status wanted, what is asked)"""
    name = "a" * (ROOM // 2 - 100)
    long_name = {"source": f"\\{name}:2. {name}"}
    hash = lambda: d.post("/compile", long_name).json()["program"]
    variables = ",".join(f"x{i}:!R[1]" for i in range(16000)) + " |- x5"
    commented = spec(3, 3)
    commented["program"]["source"] = "-- " + "c" * (ROOM - 2000) + "\n" + commented["program"]["source"]
    yield "an identifier of 4 MB", 200, lambda: d.post("/compile", long_name)
    yield "again", 200, lambda: d.post("/compile", long_name)
    yield "its record", 200, lambda: d.get(f"/programs/{hash()}")
    yield "the list with it", 200, lambda: d.get("/programs")
    yield "evaluated inline", 200, lambda: d.post("/eval", long_name | {"args": [True]})
    yield "an unbound name of 8 MB", 422, lambda: d.post("/compile", {"source": "x" * ROOM})
    yield "a line of 8 MB that does not parse", 422, lambda: d.post("/compile", {"source": "(" * 10 + "x" * ROOM})
    yield "a string without an end", 400, lambda: d.ask("POST", "/compile", b'{"source":"' + b"x" * ROOM)
    yield "a key of 8 MB", 400, lambda: d.post("/compile", {"x" * ROOM: 1})
    yield "16,000 variables", 200, lambda: d.post("/compile", {"source": variables})
    yield "16,000 inputs", 200, lambda: d.post("/eval", {"source": variables, "inputs": {f"x{i}": [1.0] for i in range(16000)}})
    yield "400,000 arguments", 422, lambda: d.post("/compile", {"term": {"app": ["f"] + ["x"] * 400000}, "context": {"f": "2 -o 2", "x": "!2"}})
    yield "a million places in wrt", 200, lambda: d.post("/grad", {"source": "\\x:!R[1]. x", "args": [[1]], "wrt": [0] * 1000000})
    yield "a million numbers", 200, lambda: d.post("/eval", {"source": "\\x:!R[1000]. x", "args": [[[1.5] * 1000] * 1000]})
    matrix = d.post("/compile", {"source": "\\x:R[2000]. x"}).json()["program"]
    yield "a matrix of 4,000,000 numbers", 200, lambda: d.get(f"/programs/{matrix}/matrix")
    yield "a data set of 64 MB", 201, lambda: d.ask("PUT", "/datasets/large", large())
    yield "a run with a specification of 8 MB", 202, lambda: d.post("/runs", commented)
    last = lambda: d.get("/runs?limit=1").json()["runs"][0]["id"]
    yield "its record", 200, lambda: d.get(f"/runs/{last()}")
    yield "a fork of it", 202, lambda: d.post(f"/runs/{last()}/fork", {"seed": 3})
    yield "its end", 204, lambda: (settled(d, last()), d.ask("DELETE", f"/runs/{last()}"))[1]


def large(rows=1 << 20):
    head = json.dumps({"x": {"dtype": "F32", "shape": [rows, 16], "data_offsets": [0, rows * 64]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(rows * 64)


def run(trust, row):
    d = trust.daemon("--workers", "1").start()
    spec = put_toy(d)
    user = User(d, row)
    user.start()
    passes = []
    for _ in range(trust.pick(5, 1)):
        for what, status, ask in cases(d, spec):
            d.longest_pass()
            answer = ask()
            passes.append((d.longest_pass(), what))
            row.faults += 1
            row.check(what, answer.status in (status, 200 if status == 201 else status), f"{answer.status} {answer.body[:300]}")
            for made in [answer.json().get("id")] if answer.status == 202 else []:
                settled(d, made)
    user.stop()
    passes.sort(reverse=True)
    row.note("the loop's longest passes: " + ", ".join(f"{ms:.0f} ms {what}" for ms, what in passes[:4])
             + f"; longest /livez {max(user.worst('livez'), user.worst('new')):.0f} ms")
    row.check("ends well", d.stop() == 0, d.log()[-500:])

"""Two clients whose requests hardly end, within every limit of the service, beside a client with small ones, and then two who have left theirs: its answers are right
and never wait for them; what was left ends. Its p99 alone and beside them is noted."""
import time

import work

TITLE = "two monsters beside a small client"
SMALL = {"source": "\\x:2. if x then false else true", "args": [[0.25, 0.75]]}


def answers(d, row, right, seconds):
    """The small client's answers for so long; its p99 in ms."""
    client, took = d.client(), []
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(took) < 50:
        began = time.monotonic()
        a = client.post("/eval", SMALL, X_Forwarded_For="192.0.2.3")
        took.append(1000 * (time.monotonic() - began))
        row.asked += 1
        row.lost += a.status != 200
        row.wrong += a.status == 200 and a.body != right
    return sorted(took)[len(took) * 99 // 100]


def run(trust, row):
    d = trust.daemon("--workers", "2", "--trust-proxy", "127.0.0.1").start()
    right = d.post("/eval", SMALL).body
    seconds = trust.pick(10, 2)
    alone = answers(d, row, right, seconds)
    for leave in (False, True):
        begun = [work.begin(d, "/eval", work.ENDLESS, X_Deadline_Ms=86400000, X_Forwarded_For=f"192.0.2.{1 + i % 2}") for i in range(4)]
        row.faults += len(begun)
        work.wait_for("a monster is at work", lambda: work.busy(d))
        if leave:
            for s in begun:
                s.close()
        beside = answers(d, row, right, seconds)
        row.note(f"{'who have left' if leave else 'who stay'}: p99 {alone:.1f} ms alone, {beside:.1f} ms beside them")
        ready = d.get("/readyz")
        row.check("ready beside them", ready.status == 200, ready.body[:200])
        for s in begun:
            s.close()
        work.wait_for("what was left ends", lambda: work.busy(d) == 0, 0.05)

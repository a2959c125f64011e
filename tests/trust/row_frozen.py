"""A run's process, and a worker in the midst of a request, are stopped (SIGSTOP) and stay: the run goes on from its checkpoint, the request is answered."""
import os, signal, threading

import work

TITLE = "trainer and worker stopped for good"
SLOW = {"source": "f:!(R[64] -o R[64]), x:R[64], n:N[4001] |- iter {x | y -> f y} (n)",
        "inputs": {"f": [[float(i == (k + 1) % 64) for k in range(64)] for i in range(64)], "x": [float(i == 0) for i in range(64)], "n": 4000}}


def run(trust, row):
    if trust.short:
        trust.skip("it takes half a minute until a process counts as frozen: only in the full form")
    d = trust.daemon("--workers", "1").start()
    right = d.post("/eval", SLOW).body
    run_id = work.begin_run(d, steps=3000, checkpoint={"every": 500})
    trainer = work.wait_for("a run trains", lambda: next(filter(work.trainer, d.children()), None))
    work.wait_for("it has begun", lambda: work.run_is(d, run_id, "running", 1) or work.run_is(d, run_id, "done"))
    os.kill(trainer, signal.SIGSTOP)
    worker = work.workers(d)[0]["pid"]
    os.kill(worker, signal.SIGSTOP)
    row.faults += 2
    answers = []
    asker = threading.Thread(target=lambda: answers.append(d.post("/eval", SLOW, X_Deadline_Ms="600000")))
    asker.start()
    work.wait_for("the run is done", lambda: work.run_is(d, run_id, "done", 3000), 0.2)
    asker.join()
    row.asked += 2
    row.wrong += answers[0].status != 200 or answers[0].body != right
    record = d.get(f"/runs/{run_id}").json()
    row.check("the record says why", "did nothing" in str(record["attempts"]), record["attempts"])

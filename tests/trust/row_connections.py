"""Thousands of connections that are silent, slow, half gone, do not read, or have streams without an end: a user beside them is answered, and rightly.

Full: 10,000, as far as descriptors allow; short: 500. The longest /livez and the loop's longest pass are noted: aimed at is 50 ms."""
from crowd import Crowd, User, put_toy, raise_limit

TITLE = "slow, silent, unread and half-gone connections"


def run(trust, row):
    limit = raise_limit()
    wanted = trust.pick(10000, 500)
    count = min(wanted, limit - 1200)
    if count < 100:
        trust.skip(f"{limit} open files are too few")
    if count < wanted:
        row.note(f"{count} connections: the limit of open files is {limit}")
    d = trust.daemon("--workers", "1", "--max-connections", str(count + 100)).start()
    spec = put_toy(d)
    endless = d.post("/runs", spec(10**9, 10**9)).json()["id"]
    matrix = d.post("/compile", {"source": "\\x:R[400]. x"}).json()["program"]
    before = d.descriptors()
    user = User(d, row)
    user.start()
    user.rounds_more(trust.pick(500, 100))
    alone = {kind: user.worst(kind) for kind in user.times}
    d.longest_pass()
    crowd = Crowd(d, trust.rng, f"/runs/{endless}/events", f"/programs/{matrix}/matrix")
    while crowd.made < count:
        crowd.open(min(100, count - crowd.made))
        crowd.dribble()
        row.faults = crowd.made
    user.rounds_more(trust.pick(2000, 200), crowd.dribble)
    user.stop()
    row.note(f"longest /livez {user.worst('livez'):.1f} ms over a kept connection, {user.worst('new'):.1f} ms over a new one, evaluation {user.worst('eval'):.1f} ms"
             f" (alone {alone['livez']:.1f}, {alone['new']:.1f}, {alone['eval']:.1f}); the loop's longest pass {d.longest_pass():.1f} ms")
    crowd.close()
    # Whoever is gone has left nothing.
    for _ in range(6000):
        left = d.descriptors() - before
        if left <= 8:
            break
        d.get("/livez")
    row.check("descriptors are given back", left <= 8, f"{left} more than before")
    row.check("the run goes on", d.get(f"/runs/{endless}").json()["state"] == "running", "")
    row.check("ends well", d.stop() == 0, d.log()[-500:])

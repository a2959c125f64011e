"""The daemon is killed between two requests, and started again: what it had answered is there."""
TITLE = "daemon killed between requests"


def run(trust, row):
    d = trust.daemon("--workers", "1").start()
    for i in range(trust.pick(20, 4)):
        made = d.post("/compile", {"source": f"n:N[{i + 2}], x:2 |- iter {{x | y -> if y then ff else tt}} (n)"})
        row.asked += 1
        if not row.check("compiled", made.status == 200, made.body[:200]):
            continue
        d.kill()
        row.faults += 1
        d.start()
        row.asked += 1
        row.missing += d.get(f"/programs/{made.json()['program']}").status != 200

"""Requests that take more memory than a worker may have fail alone, while others are answered and the daemon lives: with a cap given by flag, and where a
control group can be made, in one of 512 MiB, which daemon and workers share."""
import os, threading

import work

TITLE = "requests beyond a worker's memory"
GROUPS = "/sys/fs/cgroup/memory"
PROXY = ("--trust-proxy", "127.0.0.1")  # so that who asks for much and who asks for little are two clients
SMALL = {"source": "\\x:2. if x then false else true", "args": [[0.25, 0.75]]}


def small_group(trust):
    """A group of 512 MiB, as a command that runs in it; None where none can be made."""
    try:
        with open("/proc/self/cgroup", encoding="utf-8") as f:
            own = next(line.strip().split(":", 2)[2] for line in f if line.split(":")[1] == "memory")
        folder = f"{GROUPS}{own}/cajal-trust-{os.getpid()}"
        os.mkdir(folder)
        with open(f"{folder}/memory.limit_in_bytes", "w", encoding="utf-8") as f:
            f.write(str(512 << 20))
    except (OSError, StopIteration):
        return None, None
    return folder, ["sh", "-c", f'echo $$ >{folder}/cgroup.procs && exec "$@"', "sh"]


def flood(trust, row, d, what):
    """Large requests beside small ones; every small one must be right, large ones may only fail as their own."""
    right = d.post("/eval", SMALL).body
    programs = [d.post("/compile", {"source": f"\\x:R[{n}]. x"}).json()["program"] for n in (8192, 4096)]
    over, problems, said = threading.Event(), [], {}

    def large():
        for i in range(trust.pick(12, 2)):
            a = d.get(f"/programs/{programs[i % 2]}/matrix", Accept="application/x-npy", X_Deadline_Ms="60000", X_Forwarded_For="192.0.2.1")
            row.faults += 1
            said[a.code() or a.status] = said.get(a.code() or a.status, 0) + 1
            if a.status == 200 or a.code() in ("too_large", "worker_crash", "queue_full", "quota", "quarantined"):
                continue
            problems.append(f"{a.status} {a.body[:300]}")
    threads = [threading.Thread(target=large) for _ in range(4)]

    def small():
        while not over.is_set():
            a = d.post("/eval", SMALL, X_Forwarded_For="192.0.2.2")
            row.asked += 1
            row.wrong += a.status == 200 and a.body != right
            row.lost += a.status != 200
    other = threading.Thread(target=small)
    for t in [*threads, other]:
        t.start()
    for t in threads:
        t.join()
    over.set()
    other.join()
    row.check(f"{what}: large ones fail as their own", not problems, problems[:2])
    row.check(f"{what}: the daemon lives", d.running() and d.get("/livez").status == 200)
    row.check(f"{what}: and goes on", d.post("/eval", SMALL).body == right)
    row.note(f"{what}: {work.metric(d, 'cajal_worker_deaths_total'):.0f} workers died, large ones were answered {said}; the daemon takes {d.resident() >> 20} MiB")
    return said


def run(trust, row):
    d = trust.daemon("--worker-memory", "64M", *PROXY).start()
    said = flood(trust, row, d, "by flag")
    row.check("by flag: what is too large is told so", set(said) == {"too_large"}, said)
    d.stop()
    folder, wrap = small_group(trust)
    if not folder:
        row.note("no control group could be made: that part was skipped")
        return
    try:
        d = trust.daemon(*PROXY, wrap=wrap).start()
        flood(trust, row, d, "in a group of 512 MiB")
        d.stop()
    finally:
        d.release()
        work.wait_for("the group is empty", lambda: not open(f"{folder}/cgroup.procs", encoding="utf-8").read())
        os.rmdir(folder)

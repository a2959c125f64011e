"""Small requests by the hundred thousand while every worker gets SIGKILL every second: each answer right, no program set aside."""
import json, os, signal, subprocess, threading, time

import work

TITLE = "all workers killed every second under load"
CONNECTIONS = 32
# name: source, arguments; they differ in program, in shape, and in whether they can be merged
PROGRAMS = [
    ("\\x:2. if x then false else true", [[0.25, 0.75]]),
    ("\\x:R[3]. x", [[1, 2.5, -3]]),
    ("\\n:N[10]. iter {true | y -> if y then false else true} (n)", [7]),
    ("\\x:!2. if x then (if x then false else true) else x", [[0.5, 0.5]]),
]


def exchanges(trust, d):
    """Files with a request and the answer that it had when nothing was killed, by pairs."""
    names = []
    for i, (source, args) in enumerate(PROGRAMS):
        for route in ("/eval", "/grad") if i == 3 else ("/eval",):
            made = d.post("/compile", {"source": source})
            body = json.dumps({"program": made.json()["program"], "args": args}).encode()
            answer = d.ask("POST", route, body)
            if answer.status != 200:
                raise RuntimeError(f"{route} {source}: {answer.body[:300]}")
            head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            for kind, content in (("request", head.encode() + body), ("answer", answer.body)):
                names.append(os.path.join(trust.folder, f"{i}{route[1:]}.{kind}"))
                with open(names[-1], "wb") as f:
                    f.write(content)
    return names


def run(trust, row):
    load = os.path.join(trust.build, "bench", "load")
    if not os.path.exists(load):
        trust.skip("build/bench/load is not built (make trust-programs)")
    d = trust.daemon().start()
    files = exchanges(trust, d)
    wanted, over = trust.pick(1_000_000, 30_000), threading.Event()
    pause = trust.pick(1.0, 0.25)

    def kill_all():
        while not over.wait(pause):
            for pid in d.children():
                try:
                    os.kill(pid, signal.SIGKILL)
                    row.faults += 1
                except ProcessLookupError:
                    pass

    killer = threading.Thread(target=kill_all)
    killer.start()
    began = time.monotonic()
    try:
        done = subprocess.run([load, str(d.port), str(CONNECTIONS), str(wanted), "0", *files], capture_output=True, text=True, timeout=3600, check=False)
    finally:
        over.set()
        killer.join()
    row.check("every answer is right", done.returncode == 0, done.stderr[-500:])
    if done.returncode == 0:
        said = json.loads(done.stdout)
        row.asked += said["answers"]
        row.lost += wanted - said["answers"]
        row.note(f"{said['per_second']:,.0f} answers/s, p50 {said['p50_us'] / 1000:.1f} ms, p99 {said['p99_us'] / 1000:.1f} ms in {time.monotonic() - began:.0f} s; "
                 f"{work.metric(d, 'cajal_jobs_retried_total'):,.0f} jobs done again")
    row.check("workers were killed", row.faults > 1, row.faults)
    for source, args in PROGRAMS:
        now = d.post("/eval", {"source": source, "args": args})
        row.check("nothing is set aside", now.status == 200, now.body[:200])

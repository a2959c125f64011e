"""More distinct programs are compiled than --memory has room for: what the daemon holds stays within the budget, and what it counts is what it holds."""
import re, threading

TITLE = "300,000 distinct programs, --memory 512M"
MIB = 1 << 20
OWN = 4 * MIB  # what else grows meanwhile, whatever the budget: the database's page caches


def program(i):
    """The i-th of many small programs, all different."""
    return {"source": f"x:N[{2 + i % 500}] |- iter {{{'ff' if i // 500 % 2 else 'tt'} | y -> if y then {'tt' if i // 1000 % 2 else 'ff'} else y}} (x)",
            "nat": {"dim": 2 + i // 2000}}


def counted(daemon):
    text = daemon.get("/metrics").body.decode()
    return int(re.search(r"^cajal_graph_bytes (\d+)", text, re.M).group(1))


def compile_all(trust, row, daemon, first, last):
    """Two clients, which share them out."""
    lock = threading.Lock()

    def work(start):
        client = daemon.client()
        for i in range(start, last, 2):
            answer = client.post("/compile", program(i))
            with lock:
                row.asked += 1
                row.lost += answer.status != 200
        client.close()

    threads = [threading.Thread(target=work, args=(first + k,)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def run(trust, row):
    budget, programs = trust.pick((512, 300_000), (4, 1_800))
    d = trust.daemon("--workers", "2", "--memory", f"{budget}M").start()
    warm = programs // 20
    compile_all(trust, row, d, 0, warm)
    base = d.resident() - counted(d)
    step = programs // trust.pick(20, 3)
    most = 0
    for at in range(warm, programs, step):
        compile_all(trust, row, d, at, min(at + step, programs))
        row.faults += 1
        held, says = d.resident() - base, counted(d)
        most = max(most, held)
        row.check("counted within the budget", says <= budget * MIB, says)
        row.check("held within a fifth of the budget", held <= 1.2 * budget * MIB + OWN, f"{held / MIB:.1f} MiB of {budget}, {says / MIB:.1f} counted")
    row.check("the budget was reached", counted(d) > 0.9 * budget * MIB, counted(d))
    row.note(f"{programs} programs: at most {most / MIB:.1f} MiB held with a budget of {budget} MiB, beside {base / MIB:.1f} MiB of its own")

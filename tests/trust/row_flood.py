"""A client that floods (as many requests as it can, long bodies, programs never seen before) beside a user who works: whose answers are all right, and none
refused for the other's sake.

The two are two by their addresses, once by those of their connections, once by what a trusted proxy says of them (X-Forwarded-For). The user's p99 alone
and beside is noted, as are both of a machine that others use, too."""
import json, threading
from crowd import NOT, User

TITLE = "a client that floods beside one that works"


class Flood:
    """Threads that ask as fast as they are answered, whatever the answer is; and one in which many requests are on their way at a time."""

    def __init__(self, daemon, rng, source, forwarded):
        self.daemon, self.source, self.ended = daemon, source, threading.Event()
        self.headers = {"X_Forwarded_For": forwarded} if forwarded else {}
        self.answers, self.fresh = 0, rng.randrange(10**9) * 1000
        self.lock = threading.Lock()
        numbers = json.dumps([[1.5] * 1000] * 300)
        large = ('{"source": "\\\\x:!R[1000]. x", "args": [' + numbers + "]}").encode()
        kinds = [lambda: ("/eval", NOT), lambda: ("/eval", NOT), lambda: ("/eval", large), self.new_program, self.new_program,
                 lambda: ("/compile", b'{"source": "' + b"x" * 4_000_000)]
        self.threads = [threading.Thread(target=self.go, args=(kind,), daemon=True) for kind in kinds * 2]
        for t in self.threads:
            t.start()

    def new_program(self):
        with self.lock:
            self.fresh += 1
            n = self.fresh
        bits = "".join(f"if y then {'true' if n >> i & 1 else 'false'} else " for i in range(40))
        return "/compile", {"source": "\\y:!2. " + bits + "y"}

    def go(self, kind):
        client = self.daemon.client(self.source)
        while not self.ended.is_set():
            path, body = kind()
            try:
                client.post(path, body, **self.headers)
            except Exception:
                client.close()  # refused, and its connection ended: again
            with self.lock:
                self.answers += 1
        client.close()

    def stop(self):
        self.ended.set()
        for t in self.threads:
            t.join()


class Forwarded(User):
    """Who comes through the proxy, too."""

    def __init__(self, daemon, row):
        super().__init__(daemon, row, source="127.0.0.1")

    def ask(self, kind, client, method, path, body, right):
        plain = client.ask
        client.ask = lambda *args, **more: plain(*args, X_Forwarded_For="192.0.2.7", **more)
        try:
            super().ask(kind, client, method, path, body, right)
        finally:
            client.ask = plain


def beside(trust, row, what, user, flood):
    rounds = trust.pick(1000, 60)
    user.start()
    user.rounds_more(rounds)
    alone = user.quantile("eval", 0.99)
    for times in user.times.values():
        times.clear()
    other = flood()
    user.rounds_more(rounds)
    user.stop()
    other.stop()
    row.faults += other.answers
    row.note(f"{what}: p99 of a small evaluation {alone:.1f} ms alone, {user.quantile('eval', 0.99):.1f} ms beside {other.answers} requests of the other;"
             f" longest {user.worst('eval'):.1f} ms, /livez {max(user.worst('livez'), user.worst('new')):.1f} ms")


def run(trust, row):
    d = trust.daemon("--workers", "2", "--max-inflight", "16").start()
    d.post("/eval", NOT)
    beside(trust, row, "by address", User(d, row), lambda: Flood(d, trust.rng, "127.0.0.3", None))
    row.check("ends well", d.stop() == 0, d.log()[-500:])
    d = trust.daemon("--workers", "2", "--max-inflight", "16", "--trust-proxy", "127.0.0.1").start()
    d.post("/eval", NOT)
    beside(trust, row, "behind a proxy", Forwarded(d, row), lambda: Flood(d, trust.rng, "127.0.0.1", "192.0.2.66"))
    row.check("ends well", d.stop() == 0, d.log()[-500:])

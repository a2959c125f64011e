"""Who disturbs, and who is disturbed: connections that are slow, silent or half gone, and a user beside them whose answers are looked at.

The user comes from an address of its own (127.0.0.2), as the others do: shares and caps are counted by it."""
import errno, json, random, resource, socket, struct, threading, time

NOT = {"source": "\\x:2. if x then false else true", "args": [True]}


def raise_limit():
    """Open files that this process may have."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class User(threading.Thread):
    """Asks until it is stopped: /livez over a kept and over a new connection, a small evaluation over a kept one. Right is: 200, and the right value."""

    def __init__(self, daemon, row, source="127.0.0.2"):
        super().__init__(daemon=True)
        self.service, self.row, self.source = daemon, row, source
        self.ended = threading.Event()
        self.times = {"livez": [], "new": [], "eval": []}
        self.rounds = 0

    def ask(self, kind, client, method, path, body, right):
        began = time.monotonic()
        try:
            answer = client.ask(method, path, body)
        except Exception as e:
            self.row.lost += 1
            self.row.problems.append(f"{kind}: {e}")
            return
        self.times[kind].append(1e3 * (time.monotonic() - began))
        self.row.asked += 1
        if answer.status != 200:
            self.row.lost += 1
            self.row.problems.append(f"{kind}: {answer.status} {answer.body[:200]}")
        else:
            self.row.wrong += not right(answer.json())

    def one(self, kept):
        fresh = self.service.client(self.source)
        self.ask("livez", kept, "GET", "/livez", None, lambda a: a == {"live": True})
        self.ask("new", fresh, "GET", "/livez", None, lambda a: a == {"live": True})
        self.ask("eval", kept, "POST", "/eval", NOT, lambda a: a["data"] == [0, 1])
        fresh.close()
        self.rounds += 1

    def run(self):
        kept = self.service.client(self.source)
        while not self.ended.is_set():
            self.one(kept)
        kept.close()

    def rounds_more(self, n, meanwhile=lambda: time.sleep(0.01)):
        """Until it has gone round n times more."""
        until = self.rounds + n
        while self.rounds < until and self.is_alive():
            meanwhile()

    def stop(self):
        self.ended.set()
        self.join()

    def worst(self, kind):
        return max(self.times[kind], default=0)

    def quantile(self, kind, q):
        times = sorted(self.times[kind])
        return times[min(len(times) - 1, int(q * len(times)))] if times else 0


class Crowd:
    """Connections that nobody would miss, of every sort in turn, from fifty addresses."""

    def __init__(self, daemon, rng, stream, large):
        """stream: the path of one without an end. large: that of an answer of many bytes."""
        self.daemon, self.rng = daemon, rng
        head = f"Host: 127.0.0.1:{daemon.port}\r\n"
        get = lambda path, more="": f"GET {path} HTTP/1.1\r\n{head}{more}\r\n".encode()
        self.sorts = [b"",                                                                                  # silent
                      get("/livez")[:12],                                                                   # half a head
                      f"POST /eval HTTP/1.1\r\n{head}Content-Length: 100000\r\n\r\n".encode(),              # a body that dribbles
                      get(large),                                                                           # an answer that is not read
                      get(stream, "Accept: text/event-stream\r\n"), get(stream, "Accept: application/x-ndjson\r\n"),
                      get("/livez"),                                                                        # idle, its answer unread
                      None]                                                                                 # asks, and is gone
        self.all, self.made = [], 0

    def open(self, n):
        """n more. Those that the service ends are not replaced."""
        for _ in range(n):
            sort = self.made % len(self.sorts)
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            s.bind((f"127.0.0.{10 + self.made % 50}", 0))
            s.setblocking(False)
            self.made += 1
            if s.connect_ex(("127.0.0.1", self.daemon.port)) not in (0, errno.EINPROGRESS):
                s.close()
                continue
            if self.sorts[sort] is None:
                self.send(s, self.sorts[3])
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                s.close()
                continue
            self.send(s, self.sorts[sort])
            self.all.append((s, sort))

    @staticmethod
    def send(s, data):
        try:
            if data:
                s.send(data)
        except OSError:
            pass

    def dribble(self, n=50):
        """A byte more of some."""
        for s, sort in self.rng.sample(self.all, min(n, len(self.all))):
            if sort in (1, 2):
                self.send(s, b"x" if sort == 1 else b" ")

    def close(self):
        for s, _ in self.all:
            s.close()
        self.all = []


def tensors(columns):
    """A safetensors file: {name: (shape of a row, [numbers])}, as f32."""
    head, data = {}, b""
    for name, (shape, numbers) in columns.items():
        rows = len(numbers)
        for d in shape:
            rows //= d
        piece = struct.pack(f"<{len(numbers)}f", *numbers)
        head[name] = {"dtype": "F32", "shape": [rows, *shape], "data_offsets": [len(data), len(data) + len(piece)]}
        data += piece
    text = json.dumps(head).encode()
    return struct.pack("<Q", len(text)) + text + data


def put_toy(daemon):
    """The data set "toy", and a run's specification on it."""
    rng = random.Random(7)
    x = [rng.uniform(-1, 1) for _ in range(64 * 4)]
    made = daemon.ask("PUT", "/datasets/toy", tensors({"x": ([4], x), "y": ([4], [2 * v for v in x])}))
    assert made.status in (200, 201), made.body
    return lambda steps, every: {"program": {"source": "f : !(R[4] -o R[4]), x : R[4] |- f x"}, "bind": {"x": {"column": "x"}, "f": {"weights": {}}},
                                 "data": {"train": "toy"}, "loss": {"mse": {"target": "y"}}, "optimizer": {"sgd": {"lr": 0.1}}, "batch_size": 16,
                                 "steps": steps, "checkpoint": {"every": every}}


def settled(daemon, run, states=("done", "failed", "cancelled"), source="127.0.0.2"):
    """The run's record, once it is in one of these states."""
    client = daemon.client(source)
    while True:
        record = client.get(f"/runs/{run}").json()
        if record["state"] in states:
            client.close()
            return record
        time.sleep(0.02)

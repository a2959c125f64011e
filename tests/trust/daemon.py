"""A daemon for the rows of trust.py: started, killed, started again on the same data; asked over HTTP."""
import http.client, json, os, signal, subprocess, time

WAIT = 120  # seconds; only against hanging


class Died(Exception):
    """The connection ended before the answer: the daemon was killed, or is not there."""


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def code(self):
        """The error code of a problem, else ''."""
        try:
            return self.json().get("code", "")
        except (ValueError, AttributeError):
            return ""


class Client:
    """One kept connection; a thread has its own. source: the address that it comes from, by which the service tells who asks."""

    def __init__(self, daemon, source="127.0.0.1"):
        self.daemon, self.source, self.http = daemon, source, None

    def ask(self, method, path, body=None, timeout=WAIT, **headers):
        """body: bytes, or what is sent as JSON. headers: Content_Type="…". Raises Died."""
        head = {"Content-Type": "application/json"} if body is not None else {}
        head.update({k.replace("_", "-"): v for k, v in headers.items()})
        if body is not None and not isinstance(body, (bytes, bytearray, memoryview)):
            body = json.dumps(body).encode()
        for attempt in (0, 1):
            kept = self.http is not None
            try:
                if not kept:
                    self.http = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=timeout, source_address=(self.source, 0))
                self.http.timeout = timeout
                if self.http.sock:
                    self.http.sock.settimeout(timeout)
                self.http.request(method, path, body, head)
                r = self.http.getresponse()
                return Answer(r.status, r.headers, r.read())
            except (OSError, http.client.HTTPException) as e:
                self.close()
                # A kept connection may have been closed while nothing was under way.
                if not (kept and attempt == 0 and isinstance(e, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError))):
                    raise Died(f"{type(e).__name__}: {e}") from e

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body, **more):
        return self.ask("POST", path, body, **more)

    def stream(self, path, **headers):
        """The lines of an answer as they come, until its end; close() leaves it. Raises Died."""
        self.close()
        try:
            self.http = http.client.HTTPConnection("127.0.0.1", self.daemon.port, timeout=WAIT)
            self.http.request("GET", path, None, headers)
            r = self.http.getresponse()
            while line := r.readline():
                if not line.endswith(b"\n"):
                    raise Died("cut off")
                yield line
        except (OSError, http.client.HTTPException) as e:
            raise Died(f"{type(e).__name__}: {e}") from e
        finally:
            self.close()

    def close(self):
        if self.http:
            self.http.close()
        self.http = None


class Daemon:
    def __init__(self, build, *options, data, env=None, wrap=()):
        """env: added to the environment. wrap: a command put in front ("taskset", …)."""
        self.build, self.options, self.data, self.wrap = build, list(options), data, list(wrap)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("CAJAL_")} | {"OMP_WAIT_POLICY": "passive", "CAJAL_RESERVE": "1M"} | (env or {})
        self.logfile = data.rstrip("/") + ".log"
        self.process, self.port = None, 0

    def start(self, ready=True):
        """Returns self once it is ready; ready=False: it may refuse to start; see wait()."""
        self.port = 0
        at = os.path.getsize(self.logfile) if os.path.exists(self.logfile) else 0
        with open(self.logfile, "ab") as log:
            self.process = subprocess.Popen([*self.wrap, os.path.join(self.build, "cajald"), "--listen", "127.0.0.1:0", "--data", self.data, *self.options],
                                            stdout=log, stderr=log, env=self.env, start_new_session=True)
        until = time.monotonic() + WAIT
        while time.monotonic() < until:
            with open(self.logfile, "rb") as log:
                log.seek(at)
                text = log.read()
            where = text.find(b"ready on http://")
            if where >= 0 and b"\n" in text[where:]:
                self.port = int(text[where:].split()[2].rsplit(b":", 1)[1].split(b"/")[0])
                return self
            if self.process.poll() is not None:
                if ready:
                    raise RuntimeError(f"the daemon ended with {self.process.returncode}: {text.decode(errors='replace')[-2000:]}")
                return self
            time.sleep(0.005)
        raise RuntimeError("the daemon is not ready")

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def client(self, source="127.0.0.1"):
        return Client(self, source)

    def ask(self, method, path, body=None, **more):
        """One request on a connection of its own."""
        c = Client(self)
        try:
            return c.ask(method, path, body, **more)
        finally:
            c.close()

    def get(self, path, **more):
        return self.ask("GET", path, **more)

    def post(self, path, body, **more):
        return self.ask("POST", path, body, **more)

    def children(self):
        """Process ids of its workers, trainers among them."""
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/children") as f:
                    found += [int(p) for p in f.read().split()]
            except OSError:
                pass
        return found

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def longest_pass(self):
        """Milliseconds of the loop's longest pass since this was last asked for."""
        text = self.get("/metrics").body.decode()
        return 1e3 * float(next(line.split()[1] for line in text.splitlines() if line.startswith("cajal_loop_longest_seconds ")))

    def resident(self):
        """Bytes of memory of the daemon itself."""
        with open(f"/proc/{self.pid}/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def kill(self, sig=signal.SIGKILL):
        if self.running():
            self.process.send_signal(sig)
        return self.process.wait(WAIT)

    def stop(self):
        return self.kill(signal.SIGTERM)

    def log(self):
        with open(self.logfile, errors="replace") as f:
            return f.read()

    def release(self):
        if self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except OSError:
                pass
            for pid in self.children() if self.running() else []:
                try:
                    os.kill(pid, signal.SIGKILL)
                except OSError:
                    pass
            self.process.kill()
            self.process.wait()
            self.process = None

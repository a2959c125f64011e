"""What the bench starts and asks: the daemon, the bare server, the load program, plain requests; and what /proc says of them."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

READY_SECONDS = 30
TICK = os.sysconf("SC_CLK_TCK")
SAFETENSORS = "application/vnd.safetensors"


class Wrong(Exception):
    """Something that is to be timed does not do what it should."""


def expect(what, got, want):
    if got != want:
        raise Wrong(f"{what}: {str(got)[:300]} instead of {str(want)[:300]}")


def wait_for_line(process, pattern):
    """The first line of its output; a process that says nothing is the caller's `with` to end."""
    found = re.search(pattern, process.stdout.readline())
    if not found:
        raise Wrong(f"{process.args[0]} does not start")
    return int(found.group(1))


@contextlib.contextmanager
def started(args, ready, errors=None):
    """A process that says its port when it is ready; ended on leaving, by force after a while."""
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        process.port = wait_for_line(process, ready)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextlib.contextmanager
def daemon(build, *options, data=None):
    """cajald with two workers of one thread; without `data`, a directory that is kept, its data in one of its own."""
    folder = data or tempfile.mkdtemp(prefix="cajal-bench-")
    args = [f"{build}/cajald", "--listen", "127.0.0.1:0", "--data", folder, "--workers", "2", "--threads", "1", "--log-level", "warn", *options]
    try:
        with started(args, r"ready on http://127\.0\.0\.1:(\d+)") as process:
            until = time.monotonic() + READY_SECONDS
            while ask(process.port, "GET", "/readyz")[0] != 200 or len(family(process.pid)) < 3:
                if time.monotonic() > until:
                    raise Wrong("the daemon does not get ready")
                time.sleep(0.005)
            yield process
    finally:
        if not data:
            shutil.rmtree(folder)


def bare(build, answer, kind):
    return started([f"{build}/bench/bare", answer, kind], r"ready on (\d+)")


def ask(port, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def post_json(port, path, value):
    status, answer = ask(port, "POST", path, json.dumps(value), {"Content-Type": "application/json"})
    expect(f"{path}: {answer[:300]}", status, 200)
    return json.loads(answer)


def request_bytes(path, body, kind="application/json", accept=None):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    if accept:
        head += f"Accept: {accept}\r\n"
    return (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body


class Exchange:
    """A request and the only right answer to it, as files for the load program."""

    def __init__(self, folder, name, request, answer):
        self.request, self.answer = os.path.join(folder, name + ".request"), os.path.join(folder, name + ".answer")
        for path, content in ((self.request, request), (self.answer, answer)):
            with open(path, "wb") as out:
                out.write(content)

    def load(self, build, port, connections, requests=0, seconds=0.0):
        """The load program's figures; every answer is compared."""
        args = [f"{build}/bench/load", str(port), str(connections), str(requests), str(seconds), self.request, self.answer]
        done = subprocess.run(args, capture_output=True, text=True, timeout=600)
        expect(f"load: {done.stderr.strip()}", done.returncode, 0)
        return json.loads(done.stdout)


# ---- /proc ----


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def family(pid):
    """The process and its children."""
    return [pid] + [int(child) for child in read(f"/proc/{pid}/task/{pid}/children").split()]


def memory(pids):
    """MB: resident pages, those shared counted in each; and their share (PSS)."""
    rollups = [read(f"/proc/{pid}/smaps_rollup") for pid in pids]
    return [sum(int(re.search(rf"^{kind}: +(\d+) kB", text, re.M).group(1)) for text in rollups) / 1024 for kind in ("Rss", "Pss")]


def on_cpu(pids):
    """Seconds on a CPU so far, to the nanosecond."""
    return sum(int(read(f"/proc/{pid}/task/{task}/schedstat").split()[0]) for pid in pids for task in os.listdir(f"/proc/{pid}/task")) / 1e9


def used(pids):
    """Seconds in user and in system mode, and context switches, so far."""
    user = system = switches = 0
    for pid in pids:
        fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        user, system = user + int(fields[11]) / TICK, system + int(fields[12]) / TICK
        for task in os.listdir(f"/proc/{pid}/task"):
            switches += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", read(f"/proc/{pid}/task/{task}/status"))))
    return user, system, switches

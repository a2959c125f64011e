#!/usr/bin/python3
"""proxies.py BUILD: the service behind nginx and HAProxy with the configuration that deploy/ ships, and spoken to by clients that people use
(requests, urllib3, Node's fetch, curl). Each proxy and the daemon are this test's own, on free ports of loopback.

What a machine lacks is skipped, and named."""
import json, os, re, shutil, socket, struct, subprocess, sys, tempfile, time

try:
    import requests, urllib3
except ImportError:
    requests = urllib3 = None

build, here = os.path.abspath(sys.argv[1]), os.path.dirname(os.path.abspath(__file__))
TOKEN = {"Authorization": "Bearer secret"}
WAIT = 60  # seconds; only against hanging
passed, failed, skipped, processes = 0, 0, 0, []


def check(what, ok, said=""):
    global passed, failed
    passed, failed = passed + bool(ok), failed + (not ok)
    if not ok:
        print(f"proxies: {what}: {said}"[:600])


def skip(what, why):
    global skipped
    skipped += 1
    print(f"proxies: skipped: {what}: {why}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(command, port, **more):
    p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **more)
    processes.append(p)
    for _ in range(WAIT * 20):
        if p.poll() is not None:
            raise SystemExit(f"proxies: {command[0]} ended with {p.returncode}: {p.stderr.read().decode()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return p
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"proxies: {command[0]} does not listen")


def shipped(name, *changes):
    """A file of deploy/ with this test's ports and paths in place of the shipped ones, each of which has to be there."""
    with open(os.path.join(here, "..", "deploy", name)) as f:
        text = f.read()
    for old, new in changes:
        if old not in text:
            raise SystemExit(f"proxies: deploy/{name} does not say {old}")
        text = text.replace(old, new)
    return text


def curl(*args, **more):
    done = subprocess.run(["curl", "-sSk", "--max-time", str(WAIT), *args], capture_output=True, **more)
    return done.stdout, done.stderr.decode()


def status(url, *args, **more):
    out, said = curl("-o", os.devnull, "-w", "%{http_code}", *args, url, **more)
    return int(out or 0), said


def authorized():
    return ["-H", "Authorization: Bearer secret"]


def post(url, path, body):
    out, said = curl(*authorized(), "-H", "Content-Type: application/json", "--data-binary", json.dumps(body), url + path)
    try:
        return json.loads(out)
    except ValueError:
        return {"said": said, "out": out[:200].decode("latin1")}


def safetensors(name, shape, data):
    head = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": [0, len(data)]}}).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


EVAL = {"source": "\\x:2. if x then false else true", "args": [[0.25, 0.75]]}


def endless_run(url):
    """A run that trains until it is cancelled and says nothing while it does."""
    name = f"quiet-{time.time_ns()}"
    path = os.path.join(work, "set.safetensors")
    with open(path, "wb") as f:
        f.write(safetensors("x", [64, 8], bytes(2048)))
    code, said = status(f"{url}/datasets/{name}", *authorized(), "-T", path)
    check("a data set goes through", code == 201, f"{code} {said}")
    spec = {"program": {"source": "f : !(R[8] -o R[8]), x : R[8] |- f x"}, "bind": {"f": {"weights": {}}, "x": {"column": "x"}},
            "data": {"train": name}, "loss": {"mse": {"target": "x"}}, "optimizer": {"sgd": {"lr": 1e-9}}, "batch_size": 32,
            "steps": 10**11, "checkpoint": {"every": 10**11}}
    return post(url, "/runs", spec).get("id")


def quiet_stream(url, what):
    """Events of a run that says nothing more: the answer's head has to come all the same, and what there is."""
    run = endless_run(url)
    check(f"{what}: a run", run, run)
    for accept, sign in (("text/event-stream", b"event: state"), ("application/x-ndjson", b'"event":"state"')):
        p = subprocess.Popen(["curl", "-sSkN", "--max-time", str(WAIT), *authorized(), "-H", f"Accept: {accept}", f"{url}/runs/{run}/events"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        got = b""
        while sign not in got:
            more = os.read(p.stdout.fileno(), 65536)
            if not more:
                break
            got += more
        p.kill()
        check(f"{what}: {accept} opens", sign in got, got + p.stderr.read())
        p.wait()
        p.stdout.close(), p.stderr.close()
    post(url, f"/runs/{run}/cancel", {})


def through(url, what):
    check(f"{what}: /livez needs no token", status(f"{url}/livez")[0] == 200)
    check(f"{what}: no token is 401", status(f"{url}/version")[0] == 401)
    check(f"{what}: what watches the service stays inside", status(f"{url}/metrics", *authorized())[0] == 403)
    answer = post(url, "/eval", EVAL)
    check(f"{what}: /eval", answer.get("data") == [0.75, 0.25], answer)
    # 4 MB in, 4 MB out, as bytes
    record = post(url, "/compile", {"source": "\\x:R[256]. x"})
    rows, path = 4096, os.path.join(work, "rows.safetensors")
    data = os.urandom(0) + struct.pack("<f", 1.5) * (rows * 256)
    with open(path, "wb") as f:
        f.write(safetensors("args.0", [rows, 256], data))
    out, said = curl(*authorized(), "-H", "Content-Type: application/vnd.safetensors", "-H", "Accept: application/vnd.safetensors",
                     "--data-binary", "@" + path, f"{url}/eval?program={record.get('program')}")
    check(f"{what}: bulk", out.endswith(data) and len(out) < len(data) + 400, f"{len(out)} bytes {said}")
    # A refusal arrives though the upload goes on.
    large = os.path.join(work, "large")
    with open(large, "wb") as f:
        f.truncate(40 << 20)
    code, said = status(f"{url}/datasets/x", "-T", large)
    check(f"{what}: 401 of an upload", code == 401, f"{code} {said}")
    with open(large, "rb") as f:
        code, said = status(f"{url}/datasets/x", "-H", "Transfer-Encoding: chunked", "-T", "-", stdin=f)
    check(f"{what}: 401 of a chunked upload", code == 401, f"{code} {said}")
    code, said = status(f"{url}/nothing/here", *authorized(), "-T", large)
    check(f"{what}: 404 of an upload", code == 404, f"{code} {said}")
    quiet_stream(url, what)


def own_quotas(url, what, count):
    """Clients behind the proxy have quotas of their own: one fills its, the other is served."""
    def half_request(source):
        p = subprocess.Popen(["curl", "-sSk", "--http1.1", "--interface", source, "--max-time", str(WAIT), *authorized(), "-T", "-",
                              "-H", "Expect:", f"{url}/datasets/half"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdin.write(b"x")
        p.stdin.flush()
        return p
    halves = [half_request("127.0.0.2") for _ in range(count)]
    for _ in range(WAIT * 20):
        full = status(f"{url}/version", "--interface", "127.0.0.2", *authorized())[0] == 429
        if full:
            break
        time.sleep(0.05)
    check(f"{what}: a client's quota is full", full)
    code, said = status(f"{url}/version", "--interface", "127.0.0.3", *authorized())
    check(f"{what}: another's is not", code == 200, f"{code} {said}")
    for p in halves:
        p.kill()
        p.communicate()


def proxies(daemon_port, quota):
    key, cert, both = (os.path.join(work, name) for name in ("key.pem", "cert.pem", "both.pem"))
    if not shutil.which("openssl"):
        return skip("nginx and HAProxy", "no openssl to make a certificate with")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "1", "-subj", "/CN=localhost"],
                   check=True, capture_output=True)
    with open(both, "w") as f:
        f.write(open(cert).read() + open(key).read())
    nginx, haproxy = shutil.which("nginx") or shutil.which("/usr/sbin/nginx"), shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
    if nginx:
        port, path = free_port(), os.path.join(work, "nginx.conf")
        site = shipped("nginx.conf", ("server 127.0.0.1:8420;", f"server 127.0.0.1:{daemon_port};"), ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
                       ("/etc/ssl/certs/cajal.pem", cert), ("/etc/ssl/private/cajal.key", key))
        paths = "".join(f"{kind}_temp_path {work}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        with open(path, "w") as f:
            f.write(f"daemon off; pid {work}/nginx.pid; error_log {work}/nginx.log; events {{}} http {{ access_log off; {paths}\n{site}\n}}\n")
        start([nginx, "-p", work, "-c", path, "-e", f"{work}/nginx.log"], port)
        through(f"https://127.0.0.1:{port}", "nginx")
        own_quotas(f"https://127.0.0.1:{port}", "nginx", quota)
    else:
        skip("nginx", "it is not installed")
    if haproxy:
        port, path = free_port(), os.path.join(work, "haproxy.cfg")
        with open(path, "w") as f:
            f.write(shipped("haproxy.cfg", ("server local 127.0.0.1:8420", f"server local 127.0.0.1:{daemon_port}"), ("bind :443 ssl", f"bind 127.0.0.1:{port} ssl"),
                            ("/etc/ssl/private/cajal.pem", both)))
        start([haproxy, "-db", "-f", path], port)
        through(f"https://127.0.0.1:{port}", "HAProxy")
        own_quotas(f"https://127.0.0.1:{port}", "HAProxy", quota)
    else:
        skip("HAProxy", "it is not installed")


def python_clients(url):
    if not requests:
        return skip("requests and urllib3", "they are not installed")
    with requests.Session() as s:
        s.headers.update(TOKEN)
        for _ in range(5):
            check("requests: /eval", s.post(url + "/eval", json=EVAL, timeout=WAIT).json()["data"] == [0.75, 0.25])
        check("requests: gzip is told what is taken", s.post(url + "/eval", data=b"x", headers={"Content-Encoding": "gzip"}, timeout=WAIT).status_code == 415)
    refused = requests.put(url + "/datasets/x", data=(bytes(65536) for _ in range(640)), timeout=WAIT)
    check("requests: 401 of a chunked upload", refused.status_code == 401 and refused.json()["code"] == "unauthorized", refused.status_code)
    pool = urllib3.PoolManager(headers=TOKEN)
    got = pool.request("POST", url + "/eval", body=json.dumps(EVAL).encode(), timeout=WAIT, retries=False)
    check("urllib3: /eval", got.status == 200 and json.loads(got.data)["data"] == [0.75, 0.25], got.data)
    got = urllib3.PoolManager().request("PUT", url + "/datasets/x", body=iter([bytes(65536)] * 640), timeout=WAIT, retries=False, chunked=True) \
        if urllib3.__version__ >= "2" else urllib3.PoolManager().request("PUT", url + "/datasets/x", body=bytes(40 << 20), timeout=WAIT, retries=False)
    check("urllib3: 401 of an upload", got.status == 401, got.status)


NODE = """
const url = process.argv[1], ok = (what, good, said) => console.log(JSON.stringify([what, Boolean(good), String(said)]));
const headers = {authorization: 'Bearer secret', 'content-type': 'application/json'};
const answer = await fetch(url + '/eval', {method: 'POST', headers, body: process.argv[2]});
const body = await answer.json();
ok('fetch: /eval', JSON.stringify(body.data) === '[0.75,0.25]', JSON.stringify(body));
async function* pieces() { for (let i = 0; i < 640; i++) yield new Uint8Array(65536); }
try {
    const refused = await fetch(url + '/datasets/x', {method: 'PUT', body: pieces(), duplex: 'half'});
    ok('fetch: 401 of an upload', refused.status === 401, refused.status);
} catch (e) { ok('fetch: 401 of an upload', false, e.cause ?? e); }
"""


def node_client(url):
    node = shutil.which("node") or shutil.which("nodejs")
    if not node:
        return skip("Node's fetch", "no node")
    done = subprocess.run([node, "--input-type=module", "-e", NODE, "--", url, json.dumps(EVAL)], capture_output=True, text=True, timeout=WAIT)
    lines = done.stdout.splitlines()
    check("fetch: both requests were made", len(lines) == 2, done.stderr)
    for line in lines:
        check(*json.loads(line))


def main():
    quota, port = 4, free_port()
    environment = dict(os.environ, CAJAL_TOKEN="secret")
    start([os.path.join(build, "cajald"), "--listen", f"127.0.0.1:{port}", "--data", os.path.join(work, "data"), "--trust-proxy", "127.0.0.1", "--reserve", "1M",
           "--max-inflight", str(quota), "--log-level", "warn"], port, env=environment)
    url = f"http://127.0.0.1:{port}"
    python_clients(url)
    node_client(url)
    proxies(port, quota)


work = tempfile.mkdtemp()
os.chmod(work, 0o755)  # nginx's workers have another user
try:
    main()
finally:
    for p in reversed(processes):
        p.terminate()
    for p in processes:
        try:
            p.communicate(timeout=WAIT)
        except subprocess.TimeoutExpired:
            p.kill()
    shutil.rmtree(work, ignore_errors=True)
print(f"{passed} passed, {failed} failed, {skipped} skipped")
sys.exit(failed > 0)

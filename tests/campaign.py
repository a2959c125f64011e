#!/usr/bin/python3
"""The experiments' campaign (client/experiments): that it goes on where it ended, keeps what came out, and tells it right. By a pretended service, and
by the running one ($CAJAL_URL) on twenty images.

/usr/bin/python3, which has Debian's python3-numpy; without it the tests are skipped."""
import http.server
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import xml.dom.minidom

if not importlib.util.find_spec("numpy"):
    print("campaign: needs numpy: apt-get install python3-numpy", file=sys.stderr)
    print("0 passed, 0 failed, 1 skipped")
    sys.exit(0)

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "client", "experiments"))
sys.dont_write_bytecode = True
import numpy as np  # noqa: E402
import experiments  # noqa: E402
import mnist  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402


class Pretended:
    """A service whose runs end at the second look; `stop`: at the looks after so many ends the user interrupts. `bad`: seeds whose runs fail."""

    def __init__(self, stop=None, bad=()):
        self.stop, self.bad, self.runs, self.posted, self.cancelled, self.most = stop, bad, {}, [], [], 0

    def ask(self, method, path, body=None, kind=None, patience=0):
        parts = path.split("?")[0].strip("/").split("/")
        if (method, path) == ("POST", "/runs"):
            spec = json.loads(body)
            self.posted.append(spec)
            self.runs[f"r-{len(self.posted)}"] = {"state": "queued", "step": 0, "steps": spec["steps"], "name": spec["name"], "seed": spec["seed"],
                                                  "started": "2026-12-01T10:00:00Z", "ended": "2026-12-01T10:01:30Z"}
            self.most = max(self.most, sum(r["state"] in ("queued", "running") for r in self.runs.values()))
            return {"id": f"r-{len(self.posted)}"}
        if parts[-1] == "cancel":
            if self.runs[parts[1]]["state"] == "done":
                raise experiments.Refused("is over")
            self.cancelled.append(parts[1])
            return {}
        if parts[-1] == "metrics":
            return {"metrics": {"train.loss": {"steps": [1, 2, 3, 4], "values": [1, 3, 5, 7]}, "test.psnr": {"steps": [2, 4], "values": ["NaN", 16.5]},
                                "test.loss": {"steps": [2, 4], "values": [0.5, 0.25]}}}
        return self.look(self.runs[parts[1]])

    def look(self, run):
        if sum(r["state"] == "done" for r in self.runs.values()) == self.stop:
            raise KeyboardInterrupt
        over = "failed" if run["seed"] in self.bad else "done"
        run["state"] = {"queued": "running", "running": over}.get(run["state"], run["state"])
        return {**run, **({"reason": "a | b\nc"} if run["state"] == "failed" else {})}


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        experiments.PAUSE = 0
        self.out = sys.stdout
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
        self.addCleanup(self.loud)

    def loud(self):
        sys.stdout.close()
        sys.stdout = self.out

    def options(self, *words):
        return experiments.parse(["--out", self.folder, "--steps", "4", "--every", "2", *words])

    def run_all(self, service, *words):
        """As main does, without its data; returns whether all went well."""
        options = self.options(*words)
        kept = results.Results(self.folder)
        return experiments.campaign(service, options, kept, experiments.left(options, kept))

    def text(self, name):
        with open(os.path.join(self.folder, name), encoding="utf-8") as f:
            return f.read()


class Continuing(Folder):
    def test_an_interrupted_campaign_goes_on(self):
        first = Pretended(stop=3)
        with self.assertRaises(KeyboardInterrupt):
            self.run_all(first, "--lr", "1e-3")
        self.assertEqual(len(first.cancelled), len(first.posted) - 3, "what has not ended is taken back")
        self.assertEqual(first.most, experiments.AHEAD)
        second = Pretended()
        self.assertTrue(self.run_all(second, "--lr", "1e-3"))
        settings = [spec["name"] for spec in first.posted[:3] + second.posted]
        self.assertEqual(len(settings), 7, "conditional has no t")
        self.assertEqual(len(set(settings)), 7)
        third = Pretended()
        self.assertTrue(self.run_all(third, "--lr", "1e-3"))
        self.assertEqual(third.posted, [])

    def test_what_is_kept(self):
        self.run_all(Pretended(), "--tasks", "iterate", "--models", "t10", "--lr", "1e-4")
        (run,) = results.load(self.folder)
        self.assertEqual(results.key_of(run), ("iterate", "t10", 1e-4, 32, 60000, 0))
        self.assertEqual((run["steps"], run["remark"], run["state"], run["seconds"]), (4, "every 2, rows 10000", "done", 90.0))
        self.assertRegex(run["machine"], r", \d+ cores$")
        self.assertRegex(run["commit"], r"^([0-9a-f]{12}\+?|unknown)$")
        self.assertEqual(self.text("curves.csv").splitlines()[1:],
                         ["iterate,t10,0.0001,32,60000,0,2,0.5,nan,2", "iterate,t10,0.0001,32,60000,0,4,0.25,16.5,6"])

    def test_a_failed_run_is_tried_again(self):
        words = ("--tasks", "iterate", "--models", "d", "--lr", "1e-4", "--seeds", "2")
        self.assertFalse(self.run_all(Pretended(bad=(1,)), *words))
        self.assertIn("| failed | a / b c |", self.text("table.md"))
        again = Pretended()
        self.assertTrue(self.run_all(again, *words))
        self.assertEqual([spec["seed"] for spec in again.posted], [1])
        self.assertEqual([run["state"] for run in results.load(self.folder)], ["done", "done"])
        self.assertNotIn("failed", self.text("table.md"))

    def test_half_a_line(self):
        words = ("--tasks", "iterate", "--models", "d,i", "--lr", "1e-4")
        self.run_all(Pretended(), *words)
        whole = self.text("runs.csv")
        for name in ("runs.csv", "curves.csv"):
            path = os.path.join(self.folder, name)
            os.truncate(path, os.path.getsize(path) - 5)
        again = Pretended()
        self.run_all(again, *words)
        self.assertEqual(len(again.posted), 1)
        self.assertEqual([line.split(",")[:6] for line in whole.splitlines()], [line.split(",")[:6] for line in self.text("runs.csv").splitlines()])
        self.assertEqual([[p["step"] for p in run["curve"]] for run in results.load(self.folder)], [[2, 4], [2, 4]])

    def test_what_cannot_be_compared_is_refused(self):
        self.run_all(Pretended(), "--tasks", "iterate", "--models", "i", "--lr", "1e-4")
        for other in (("--steps", "6"), ("--every", "1"), ("--clip", "0.1"), ("--fashion",)):
            with self.assertRaisesRegex(results.Unusable, "another --out"):
                self.run_all(Pretended(), *other)

    def test_one_at_a_time(self):
        kept = results.Results(self.folder)
        with self.assertRaisesRegex(results.Unusable, "another program"):
            results.Results(self.folder)
        del kept
        results.Results(self.folder)

    def test_time_that_is_up(self):
        self.assertTrue(self.run_all(Pretended(), "--minutes", "0"))
        self.assertEqual(results.load(self.folder), [])

    def test_a_model_that_is_none(self):
        told = subprocess.run([sys.executable, "-B", experiments.__file__, "--models", "x"], capture_output=True, text=True)
        self.assertEqual((told.returncode, "some of d,t,t10,i are wanted" in told.stderr), (2, True))

    def test_the_paper(self):
        runs = list(experiments.plan(experiments.parse(["--paper"])))
        self.assertEqual(len({results.key_of(run) for run in runs}), len(runs))
        self.assertEqual([run["model"] for run in runs[:7]], ["d", "t", "t10", "i", "d", "t10", "i"])
        whole = [run for run in runs if run["images"] == 60000]
        self.assertEqual((len(whole), len(runs)), (5 * 2 * (4 + 3), 5 * 2 * (4 + 3) + 3 * 4 * (4 + 3)))


class Telling(Folder):
    def put(self, model, psnr, seed=0, images=60000, lr=0.001, task="iterate", loss=(0.5, 0.25, 0.125), state="done"):
        run = {"task": task, "model": model, "lr": lr, "batch": 32, "images": images, "seed": seed, "steps": 300, "remark": "every 100", "state": state,
               "reason": "", "commit": "c0ffee", "machine": "m", "date": "2026-12-01T10:00:00Z", "seconds": 36.0}
        points = [{"step": 100 * k + 100, "test.psnr": p, "test.loss": q, "train.loss": q} for k, (p, q) in enumerate(zip(psnr, loss))]
        results.Results(self.folder).add(run, points)

    def row(self, *cells):
        lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.write(self.folder).splitlines()]
        self.assertIn(list(cells), lines)

    def test_tables(self):
        self.put("d", (float("nan"), 17, 19), seed=0)
        self.put("d", (10, 19, 21), seed=1)
        self.put("t", (10, 12, 14.5))
        self.put("t", (1, 2, 3), seed=1, state="failed")
        self.put("i", (9, 15, 14), images=200)
        self.put("d", (9, 15, 16), images=200)
        self.row("iterate", "0.001", "D", "20.00 ± 1.41", "20.00 ± 1.41", "0.1250 ± 0.0000", "2")
        self.row("iterate", "0.001", "T", "14.50", "14.50", "0.1250", "1")
        self.row("iterate", "0.001", "I", "–", "–", "–", "0")
        self.row("iterate", "0.001", "PSNR ≥ 14.50 dB", "**200**", "300", "–", "–")
        self.row("iterate", "0.001", "L1 ≤ 0.1250", "**300**", "**300**", "–", "–")
        self.row("iterate", "0.001", "PSNR ≥ 16.7 dB", "**200**", "–", "–", "–")
        self.row("task", "lr", "model", "200", "60,000")
        self.row("iterate", "0.001", "D", "16.00", "20.00 ± 1.41")
        self.row("iterate", "0.001", "I", "14.00", "–")
        self.row("iterate", "0.001", "T", "32", "60,000", "1", "failed", "")

    def test_races(self):
        self.put("d", (10, 20, 18), loss=(0.5, 0.2, 0.1))
        self.put("d", (20, 10), seed=1, loss=(0.5, 0.4))
        self.put("t10", (10, 12, 13), loss=(0.4, 0.35, 0.32))
        self.row("iterate", "0.001", "PSNR ≥ 13.00 dB", "**100**", "–", "300", "–")
        self.row("iterate", "0.001", "L1 ≤ 0.3200", "**200**", "–", "300", "–")
        self.put("i", (1, 2, 3), loss=(1e11, 2e11, 3e11))
        self.row("iterate", "0.001", "I", "3.00", "3.00", "3.0e+11", "1")
        self.row("iterate", "0.001", "L1 ≤ 1.0e+11", "**100**", "–", "**100**", "**100**")

    def test_a_late_level(self):
        self.put("d", (10, 20, 18), loss=(0.5, 0.2, 0.1))
        self.put("d", (20, 10, 10), seed=1, loss=(0.5, 0.6, 0.6))
        self.put("t10", (10, 12, 13), loss=(0.4, 0.35, 0.32))
        self.row("iterate", "0.001", "L1 ≤ 0.3500", "300", "–", "**200**", "–")

    def test_figures(self):
        for seed in (0, 1):
            for model, psnr in (("d", (10, float("nan"), 19 + seed)), ("t10", (10, 12, 14))):
                self.put(model, psnr, seed, loss=(1e11, 0.2, 0.1))
                self.put(model, psnr, seed, images=200)
        self.put("i", (9, 9, 10), task="conditional", lr=1e-4)
        report.write(self.folder)
        drawn = xml.dom.minidom.parseString(self.text("iterate.svg"))
        self.assertEqual(len(drawn.getElementsByTagName("polyline")), 6)
        self.assertEqual(len(drawn.getElementsByTagName("polygon")), 2, "bands where seeds differ: D's, by steps and by images")
        self.assertNotIn("nan", self.text("iterate.svg"))
        self.assertEqual(len(xml.dom.minidom.parseString(self.text("conditional.svg")).getElementsByTagName("polyline")), 2)

    def test_a_page(self):
        self.put("d", (10, 12, 14))
        page = os.path.join(self.folder, "page.md")
        with open(page, "w", encoding="utf-8") as f:
            f.write("before\n" + report.OPEN + "old\n" + report.CLOSE + "after\n")
        report.main([self.folder, "--readme", page])
        text = self.text("page.md")
        self.assertTrue(text.startswith("before\n" + report.OPEN) and text.endswith(report.CLOSE + "after\n"))
        self.assertEqual((text.count("14.00"), text.count("old"), text.count("](./iterate.svg)")), (2, 0, 1))
        report.main([self.folder, "--readme", page])
        self.assertEqual(self.text("page.md"), text)
        with self.assertRaises(SystemExit):
            report.main([self.folder, "--readme", os.path.join(self.folder, "table.md")])

    def test_files_of_another_form(self):
        with open(os.path.join(self.folder, "curves.csv"), "w", encoding="utf-8") as f:
            f.write("task,model,lr,batch,images,seed,key,step,value\n")
        with self.assertRaisesRegex(results.Unusable, "columns"):
            report.write(self.folder)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers with the status that the path is."""

    def do_GET(self):
        body = b'{"detail": "words", "diagnostics": [{"path": "/lr"}]}'
        self.send_response(int(self.path[1:]))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Refusals(unittest.TestCase):
    def test_what_is_asked_again(self):
        server = http.server.HTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        service = experiments.Service(f"http://127.0.0.1:{server.server_port}")
        for status in (429, 502, 503, 504):
            with self.assertRaisesRegex(SystemExit, f"{status} /lr words"):
                service.ask("GET", f"/{status}")
        with self.assertRaisesRegex(experiments.Refused, "^/lr words$"):
            service.ask("GET", "/422")
        server.shutdown()
        server.server_close()


class Service(Folder):
    """Four steps of each model of iterate by the running service."""

    def test_tiny_runs(self):
        service = experiments.Service(os.environ["CAJAL_URL"])
        draw = np.random.default_rng(12)
        x, label = draw.integers(0, 256, (20, 28, 28), np.uint8), draw.integers(0, 10, 20, np.uint8)
        data = mnist.safetensors({"y": mnist.targets(x, label, False), "x": x, "label": label})
        for name in ("mnist-iterate-train-20", "mnist-iterate-test"):
            service.ask("PUT", f"/datasets/{name}", data, "application/vnd.safetensors")
        words = ("--tasks", "iterate", "--images", "20", "--batch", "5", "--lr", "1e-4", "--rows", "10")
        self.assertTrue(self.run_all(service, *words))
        one = service.ask("GET", "/runs")["runs"]
        kept = {run["model"]: run for run in results.load(self.folder)}
        self.assertEqual(set(kept), {"d", "t", "t10", "i"})
        for model, run in kept.items():
            record = service.ask("GET", f"/runs/{next(r['id'] for r in one if r['name'].startswith(f'iterate {model} '))}")
            self.assertEqual([p["step"] for p in run["curve"]], [2, 4])
            self.assertAlmostEqual(run["curve"][-1]["test.psnr"], record["latest"]["test.psnr"], 3)
            self.assertTrue(all(np.isfinite([p[m] for p in run["curve"] for m in results.MEASURES])))
        self.assertTrue(self.run_all(service, *words))
        self.assertEqual(len(service.ask("GET", "/runs")["runs"]), len(one))
        self.assertTrue(self.run_all(service, *words, "--models", "i", "--seeds", "2", "--forget"))
        self.assertEqual(len(service.ask("GET", "/runs")["runs"]), len(one), "forgotten")
        self.assertEqual(len(results.load(self.folder)), 5)


def main():
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(stream=sys.stderr, verbosity=0).run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

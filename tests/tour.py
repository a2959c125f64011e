#!/usr/bin/env python3
"""Runs the ```console blocks of a page beside a daemon ($CAJAL_URL): a line after `$ ` is a command (it goes on while the line before ends in \\),
the lines below it are what it prints, to the letter. The page's default address stands for the daemon's."""
import os
import re
import subprocess
import sys

DEFAULT_URL = "http://127.0.0.1:8420"


def steps(page):
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.S | re.M):
        for step in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, output, lines = [], [], step.splitlines()
            while lines:
                command.append(lines.pop(0))
                if not command[-1].endswith("\\"):
                    break
            output = lines
            yield "\n".join(command), "\n".join(output).strip("\n")


def main(path):
    passed = failed = 0
    with open(path, encoding="utf-8") as file:
        page = file.read()
    for command, want in steps(page):
        run = subprocess.run(["bash", "-c", command.replace(DEFAULT_URL, os.environ["CAJAL_URL"])], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
        got = run.stdout.strip("\n").replace(os.environ["CAJAL_URL"], DEFAULT_URL)
        if got == want:
            passed += 1
        else:
            failed += 1
            print(f"{path}: $ {command}\n--- the page says\n{want}\n--- it prints\n{got}")
    print(f"{passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

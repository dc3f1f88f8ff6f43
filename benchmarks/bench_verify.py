"""Time of one verification, static policy to training probe, caches warm.

Run with: python benchmarks/bench_verify.py [NAME] [--runs N]

Bar: below 3 s, as a search verifies: its children are forked by a process that has imported PyTorch once.  A child that
starts from nothing (``poise verify``, a pod) imports it again, which is the larger part of its time: both stand beside.
The minimum says what the code costs, the median what the machine made of it.
"""

import argparse
import functools
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import poise_lib.algorithms.zoo
from poise_lib.sandbox import ForkServer, Limits, fork_at, run, spawn
from poise_lib.verification import verify
from poise_lib.verification.policy import check_source

BAR_SECONDS = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="vm_av", help="an algorithm of the zoo")
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    source = (Path(poise_lib.algorithms.zoo.__file__).parent / f"{options.name}.py").read_text(encoding="utf-8")

    def static() -> None:
        assert check_source(source).tree is not None

    def empty_sandbox() -> None:
        with tempfile.TemporaryDirectory() as folder:
            result = run("os:listdir", Path(folder), Limits(5, 30, 1 << 28, 1 << 20))
        assert result.ok, result.reason

    def importing() -> None:
        subprocess.run([sys.executable, "-c", "import torch"], check=True)

    def verification(training: bool, start) -> float:
        with tempfile.TemporaryDirectory() as folder:
            report = verify(
                source, workdir=Path(folder), training_probe=training, run=functools.partial(run, start=start)
            )
        assert report.passed, report.findings
        return report.timing.cpu_seconds

    show("static policy", static, options.runs)
    show("importing PyTorch alone", importing, options.runs)
    show("sandbox that does nothing", empty_sandbox, options.runs)
    show("verify, from nothing", lambda: verification(True, spawn), options.runs)
    with ForkServer() as server:
        fork = fork_at(server.address)
        verification(True, fork)
        show("verify without training", lambda: verification(False, fork), options.runs)
        best = show("verify", lambda: verification(True, fork), options.runs)
        print(f"CPU time of the child in the last run: {verification(True, fork):.2f} s")
    print(f"bar {BAR_SECONDS:.1f} s: {'met' if best < BAR_SECONDS else 'MISSED'} by the minimum")


def show(name, function, runs) -> float:
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    print(f"{name:28} min {min(seconds):7.3f} s   median {statistics.median(seconds):7.3f} s")
    return min(seconds)


if __name__ == "__main__":
    main()

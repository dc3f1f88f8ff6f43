"""Time of one verification, static policy to training probe, caches warm.

Run with: python benchmarks/bench_verify.py [NAME] [--runs N]

Bar: below 3 s.  The minimum says what the code costs, the median what the machine made of it.  A child starts from
nothing, so the import of PyTorch is part of each, and the larger part of it: it stands beside.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import poise_lib.algorithms.zoo
from poise_lib.sandbox import Limits, run
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

    def verification(training: bool) -> float:
        with tempfile.TemporaryDirectory() as folder:
            report = verify(source, workdir=Path(folder), training_probe=training)
        assert report.passed, report.findings
        return report.timing.cpu_seconds

    verification(True)
    show("static policy", static, options.runs)
    show("importing PyTorch alone", importing, options.runs)
    show("sandbox that does nothing", empty_sandbox, options.runs)
    show("verify without training", lambda: verification(False), options.runs)
    best = show("verify", lambda: verification(True), options.runs)
    print(f"CPU time of the child in the last run: {verification(True):.2f} s")
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

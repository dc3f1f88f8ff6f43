"""Calibrate the embedded suite: run the zoo and the controls over seeds, then say whether the suite can tell them
apart.

    python benchmarks/calibrate.py --workers 2 --seeds 8        # run what is missing, then write the report
    python benchmarks/calibrate.py --report-only

Every run goes through the same functions as a search: training in the sandbox, scoring by the trusted side, on the
search problems and on the confirmation problems.  Each finished run is one line of
docs/evidence/calibration/runs.jsonl; started again, the script runs only what is missing.  A line made with another
base, other settings or another source is not used.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import poise_lib.errors
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.base import BASE_PATH
from poise_lib.evaluation.nano.config import FULL
from poise_lib.evaluation.run import score_checkpoint, train_candidate

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
RUNS = EVIDENCE / "calibration" / "runs.jsonl"
BASE = "base"
CURVE_POINTS = 10
CURVES = (
    names.ACCURACY,
    names.FORMAT_VALID,
    names.ENTROPY,
    names.GRAD_NORM,
    names.RESPONSE_LENGTH,
    names.GROUPS_ALL_FAIL,
    names.GROUPS_MIXED,
    names.GROUPS_ALL_CORRECT,
    names.GROUPS_RARE_SUCCESS,
    names.RATIO_OUTSIDE,
)


@dataclass(frozen=True)
class Job:
    """One run: an algorithm (or the base itself) on one seed."""

    algorithm: str
    seed: int
    source: str | None
    build: str


def sources() -> dict[str, str]:
    """The zoo and the controls (``control-...``) by name."""
    zoo = Path(poise_lib.__file__).parent / "algorithms" / "zoo"
    controls = Path(__file__).parent / "controls"
    found = {path.stem: path.read_text() for path in sorted(zoo.glob("*.py")) if path.stem != "__init__"}
    return found | {f"control-{path.stem}": path.read_text() for path in sorted(controls.glob("*.py"))}


def build_of(source: str | None) -> str:
    """Changes whenever the base, the settings or what the candidate does change (not its docstrings and citations)."""
    behaviour = "" if source is None else ast.dump(_Behaviour().visit(ast.parse(source)))
    parts = (BASE_PATH.read_bytes(), FULL.model_dump_json().encode(), behaviour.encode())
    return hashlib.blake2b(b"\0".join(parts), digest_size=6).hexdigest()


class _Behaviour(ast.NodeTransformer):
    """Takes out what is only said: docstrings (any bare string), TITLE and SOURCE."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node

    def visit_Assign(self, node: ast.Assign) -> ast.Assign | None:
        said = all(isinstance(target, ast.Name) and target.id in ("TITLE", "SOURCE") for target in node.targets)
        return None if said else node


def run(job: Job) -> dict[str, object]:
    """Train and score one job; a failed run is a row with its reason."""
    row: dict[str, object] = {"algorithm": job.algorithm, "seed": job.seed, "build": job.build}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        policy = BASE_PATH
        if job.source is not None:
            try:
                report = train_candidate(job.source, FULL, job.seed, Path(folder) / "work", name=job.algorithm)
            except poise_lib.errors.PoiseError as error:
                return row | {"error": str(error)}
            policy = report.policy_path
            row["train_seconds"] = round(report.wall_seconds, 2)
            row["train_cpu_seconds"] = round(report.cpu_seconds, 2)
            thinned = names.down_sample(report.trajectory, CURVE_POINTS)
            row["curves"] = {name: [round(step[name], 4) for step in thinned] for name in CURVES if name in thinned[0]}
        for split in ("search", "confirm"):
            scored = score_checkpoint(policy, split, job.seed)
            row[split] = {name: round(value, 3) for name, value in scored.metrics.items()}
            row[f"{split}_seconds"] = round(scored.wall_seconds, 2)
    row["seconds"] = round(time.perf_counter() - started, 2)
    return row


def load_rows(path: Path = RUNS) -> list[dict[str, object]]:
    """Every row that was made with the present base, settings and sources."""
    builds = {name: build_of(source) for name, source in sources().items()} | {BASE: build_of(None)}
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row for row in rows if builds.get(row["algorithm"]) == row["build"]]


def missing(only: list[str], seeds: int, rows: list[dict[str, object]]) -> list[Job]:
    """What has to run, seed after seed, so that an interrupted calibration is balanced."""
    done = {(row["algorithm"], row["seed"]) for row in rows}
    wanted = {BASE: None} | {name: text for name, text in sources().items() if not only or name in only}
    return [
        Job(name, seed, source, build_of(source))
        for seed in range(seeds)
        for name, source in wanted.items()
        if (name, seed) not in done
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--only", nargs="*", default=[], help="names of algorithms; all by default")
    parser.add_argument("--runs", type=Path, default=RUNS)
    parser.add_argument("--report-only", action="store_true")
    parser.add_argument("--no-report", action="store_true")
    options = parser.parse_args()
    if not options.report_only:
        jobs = missing(options.only, options.seeds, load_rows(options.runs))
        options.runs.parent.mkdir(parents=True, exist_ok=True)
        print(f"{len(jobs)} runs to do", flush=True)
        with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
            for number, future in enumerate(as_completed([pool.submit(run, job) for job in jobs]), 1):
                row = future.result()
                with options.runs.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                shown = row.get("error") or f"{row['search']['overall']:.1f} in {row['seconds']} s"
                print(f"{number}/{len(jobs)} {row['algorithm']} seed {row['seed']}: {shown}", flush=True)
    if not options.no_report:
        from calibration_report import write_report

        write_report(load_rows(options.runs), EVIDENCE)


if __name__ == "__main__":
    main()

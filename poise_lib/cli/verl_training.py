"""``poise train --engine verl``: VeRL itself on this machine, as settings describe it or with a tiny model made on the spot."""

from __future__ import annotations

import contextlib
import math
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poise_lib.errors import CandidateError, InvalidInputError, PoiseError

if TYPE_CHECKING:
    from poise_lib.evaluation.verl.adapter.embedded import EmbeddedReport
    from poise_lib.evaluation.verl.training import VerlReport
    from poise_lib.resources.suites import Suite
    from poise_lib.resources.verl import VerlSettings

STEPS = 20
NOTICE = "VeRL runs as you, outside the sandbox: train a candidate that you have read."
TINY_NOTICE = f"{NOTICE} The model and its task (sums below 20) are made on the spot; scores compare with nothing else."


def train_described(
    algorithm: str,
    file: Path,
    *,
    seed: int,
    fidelity: str,
    steps: int | None,
    hyper: Mapping[str, float],
    keep: Path | None,
    output: str,
) -> None:
    """Train as a Search's settings say, print curves, and score where the benchmarks' problems are there.

    Raises:
        PoiseError: the candidate, a setting or VeRL is at fault; what VeRL wrote is kept, and the message says where.
    """
    from poise_lib.cli.candidate_file import choose
    from poise_lib.cli.checks import load_search, require_engine
    from poise_lib.cli.verl import load_settings
    from poise_lib.evaluation.verl.training import VerlRun, train
    from poise_lib.evaluation.verl.versions import require_verl
    from poise_lib.resources.evaluation import Fidelity

    chosen, settings = choose(algorithm), load_settings(file)
    suite = load_search(file).spec.evaluation.measured
    require_engine()
    verl = require_verl()
    if steps is not None:
        settings = settings.model_copy(update={"steps": steps, "probe_steps": steps})
    progress = Lines()
    progress.say(NOTICE)
    asked = VerlRun(
        source=chosen.source, settings=settings, seed=seed, fidelity=Fidelity(fidelity), name=chosen.name, hyper=hyper
    )
    with _folder() as folder:
        progress.say("starting VeRL: Ray, workers, rollout")
        report = train(asked, folder / "train", progress.step)
        if report.policy is not None:
            _keep(report.policy, keep)
        if report.ended is not None:
            if output == "text":
                click.echo("\n".join(_curves(report.trajectory)))
            kept = f"; the last checkpoint's weights are in {keep}" if report.policy and keep else ""
            raise CandidateError(f"{report.ended.message} ({report.ended.reason}){kept}")
        scored = _scored(settings, suite, report, seed, progress)
    if output == "json":
        from poise_lib.plain import json_text

        before, after = scored or ({}, {})
        document = {"algorithm": chosen.name, "engine": "verl", "platform": settings.platform.value, "verl": verl,
                    "seed": seed, "steps": len(report.trajectory), "fidelity": fidelity, "metrics": after, "base": before,
                    "trajectory": list(report.trajectory), "seconds": report.wall_seconds, "isolation": []}  # fmt: skip
        click.echo(json_text(document))
        return
    from poise_lib.cli.commands.train import scores

    lines = [*_curves(report.trajectory), ""]
    if scored is not None:
        lines += [*scores(*scored), ""]
    else:
        lines += ["not scored: evaluation.verl.problems names no folder with the benchmarks' problems", ""]
    click.echo("\n".join([*lines, _last_line(verl, report.wall_seconds, "")]))


def _scored(
    settings: VerlSettings, suite: Suite, report: VerlReport, seed: int, progress: Lines
) -> tuple[dict[str, float], dict[str, float]] | None:
    """The scores of the base and of the checkpoint; None where there are no problems."""
    from poise_lib.evaluation.verl.scoring.score import backend_of, score_checkpoint
    from poise_lib.evaluation.verl.training import trusted_base

    if settings.problems is None or report.policy is None:
        return None
    progress.say(f"scoring on {suite.name}, the base and what came of it")
    base, trained = trusted_base(settings), report.policy.parent / "policy"
    trained.mkdir()
    report.policy.rename(trained / report.policy.name)
    found = [
        score_checkpoint(
            folder,
            base,
            suite,
            problems=Path(settings.problems),
            instruction=settings.data.instruction,
            backend=backend_of(settings),
            seed=seed,
            trust_remote_code=settings.model.trust_remote_code,
            tensor_parallel=settings.parallelism.tensor,
        )
        for folder in (base, trained)
    ]
    return dict(found[0].metrics), dict(found[1].metrics)


def train_here(
    algorithm: str,
    *,
    platform: str,
    seed: int,
    steps: int | None,
    hyper: Mapping[str, float],
    keep: Path | None,
    output: str,
) -> None:
    """Train a tiny model that is made on the spot, and print curves and scores.

    Raises:
        PoiseError: the candidate, a setting or VeRL is at fault; what VeRL wrote is kept, and the message says where.
    """
    from poise_lib.cli.candidate_file import choose
    from poise_lib.cli.checks import require_engine
    from poise_lib.evaluation.verl.adapter.embedded import TinySettings, train_tiny
    from poise_lib.evaluation.verl.adapter.spec import CandidateSpec
    from poise_lib.evaluation.verl.versions import require_verl

    chosen = choose(algorithm)
    require_engine()
    verl = require_verl()
    settings = TinySettings(steps=STEPS if steps is None else steps, seed=seed, platform=platform)
    spec = CandidateSpec(name=chosen.name, source=chosen.source, hyper=dict(hyper))
    progress = Lines()
    progress.say(TINY_NOTICE)
    with _folder() as folder:
        report = train_tiny(spec, settings, folder, lambda record: progress.step(record, settings.steps), progress.say)
        _keep(report.policy, keep)
    if output == "json":
        from poise_lib.plain import json_text

        document = {"algorithm": chosen.name, "engine": "verl", "platform": platform, "verl": verl, "seed": seed,
                    "steps": settings.steps, "metrics": report.after, "base": report.before,
                    "trajectory": list(report.trajectory), "seconds": report.seconds,
                    "startSeconds": report.start_seconds, "isolation": []}  # fmt: skip
        click.echo(json_text(document))
        return
    click.echo("\n".join(_shown(report, verl)))


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder that goes when all went well, or was interrupted; after an error it stays, and the message names it.

    Within it SIGTERM interrupts as Ctrl-C does: a run that is told to end leaves neither files nor processes.
    """
    folder = Path(tempfile.mkdtemp(prefix="poise-verl-"))
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield folder
    except PoiseError as error:
        error.args = (f"{error}\nwhat VeRL left (log, metrics, checkpoints): {folder}", *error.args[1:])
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
    shutil.rmtree(folder, ignore_errors=True)


def _keep(policy: Path, target: Path | None) -> None:
    if target is None:
        return
    try:
        shutil.copyfile(policy, target)
    except OSError as error:
        raise InvalidInputError(f"{target}: cannot be written: {error.strerror}") from None


def _curves(trajectory: tuple[dict[str, float], ...]) -> list[str]:
    from poise_lib.cli.commands.train import curves

    return curves(trajectory)


def _shown(report: EmbeddedReport, verl: str) -> list[str]:
    from poise_lib.cli.commands.train import scores

    first = report.start_seconds
    start = "" if math.isnan(first) else f", {first:.0f} s of them until the first step"
    return [
        *_curves(report.trajectory),
        "",
        *scores(report.before, report.after),
        "",
        _last_line(verl, report.seconds, start),
    ]


def _last_line(verl: str, seconds: float, start: str) -> str:
    return f"trained by VeRL {verl} in {seconds:.0f} s{start}; isolation in force: none"


class Lines:
    """A line for each step and stage on stderr: a run takes minutes, and its log should show how far it came."""

    def say(self, text: str) -> None:
        """Something else begins."""
        click.echo(text, err=True)
        sys.stderr.flush()

    def step(self, record: Mapping[str, float], steps: int | None) -> None:
        """A step is done."""
        from poise_lib.evaluation import trajectory as names

        shown = {"accuracy": names.ACCURACY, "format": names.FORMAT_VALID, "length": names.RESPONSE_LENGTH}
        parts = [f"{label} {record[metric]:.2f}" for label, metric in shown.items() if metric in record]
        of = f" of {steps}" if steps is not None else ""
        self.say(f"step {int(record[names.STEP]) + 1}{of}: {', '.join(parts)}")

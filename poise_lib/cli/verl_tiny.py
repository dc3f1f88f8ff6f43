"""``poise train --engine verl --platform cpu`` (or cuda): VeRL itself on this machine, with a tiny model made on the spot."""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from poise_lib.errors import InvalidInputError, PoiseError

if TYPE_CHECKING:
    from poise_lib.evaluation.verl.adapter.embedded import EmbeddedReport

STEPS = 20
NOTICE = (
    "VeRL runs as you, outside the sandbox: train a candidate that you have read. "
    "The model and its task (sums below 20) are made on the spot; scores compare with nothing else."
)


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
    """Train, and print curves and scores.

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
    progress = _Lines(settings.steps)
    progress.say(NOTICE)
    folder = Path(tempfile.mkdtemp(prefix="poise-verl-"))
    try:
        report = train_tiny(spec, settings, folder, progress.step, progress.say)
    except PoiseError as error:
        raise type(error)(f"{error}\nwhat VeRL left (log, metrics, checkpoints): {folder}") from error
    except KeyboardInterrupt:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    if keep is not None:
        try:
            keep.write_bytes(report.weights)
        except OSError as error:
            raise InvalidInputError(f"{keep}: cannot be written: {error.strerror}") from None
    if output == "json":
        from poise_lib.plain import json_text

        document = {"algorithm": chosen.name, "engine": "verl", "platform": platform, "verl": verl, "seed": seed,
                    "steps": settings.steps, "metrics": report.after, "base": report.before,
                    "trajectory": list(report.trajectory), "seconds": report.seconds,
                    "startSeconds": report.start_seconds, "isolation": []}  # fmt: skip
        click.echo(json_text(document))
        return
    click.echo("\n".join(_shown(report, verl)))


def _shown(report: EmbeddedReport, verl: str) -> list[str]:
    from poise_lib.cli.commands.train import curves, scores

    start = "" if math.isnan(report.start_seconds) else f", {report.start_seconds:.0f} s of them until the first step"
    return [
        *curves(report.trajectory),
        "",
        *scores(report.before, report.after),
        "",
        f"trained by VeRL {verl} in {report.seconds:.0f} s{start}; isolation in force: none",
    ]


class _Lines:
    """A line for each step and stage on stderr: a run takes minutes, and its log should show how far it came."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def say(self, text: str) -> None:
        """Something else begins."""
        click.echo(text, err=True)
        sys.stderr.flush()

    def step(self, record: Mapping[str, float]) -> None:
        """A step is done."""
        from poise_lib.evaluation import trajectory as names

        shown = {"accuracy": names.ACCURACY, "format": names.FORMAT_VALID, "length": names.RESPONSE_LENGTH}
        parts = [f"{label} {record[metric]:.2f}" for label, metric in shown.items() if metric in record]
        self.say(f"step {int(record[names.STEP]) + 1} of {self._steps}: {', '.join(parts)}")

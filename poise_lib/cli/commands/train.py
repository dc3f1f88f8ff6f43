"""``poise train``: one algorithm, one run, its learning curves and its scores against the base."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from poise_lib.evaluation.nano.config import NanoConfig


@click.command()
@click.argument("algorithm")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Training problems and all randomness."
)
@click.option("--fidelity", type=click.Choice(["probe", "full"]), default="full", show_default=True)
@click.option("--steps", type=click.IntRange(min=1, max=2000), help="Training steps, instead of the fidelity's.")
@click.option(
    "--hyper", multiple=True, metavar="NAME=VALUE", help="Another value for a hyperparameter; may be repeated."
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the trained weights (safetensors).",
)
@click.option("--engine", type=click.Choice(["nano", "verl"]), default="nano", show_default=True)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="For engine verl: a Search with evaluation.verl, such as examples/search-math-1.5b.yaml.",
)
@click.option(
    "--print",
    "only_print",
    is_flag=True,
    help="For engine verl: show command, environment and configuration; run nothing.",
)
@click.option(
    "--platform",
    type=click.Choice(["cpu", "cuda"]),
    help="For engine verl, without --settings: a tiny model made on the spot, on processors or a GPU.",
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def train(
    algorithm: str,
    seed: int,
    fidelity: str,
    steps: int | None,
    hyper: tuple[str, ...],
    keep: Path | None,
    engine: str,
    settings: Path | None,
    only_print: bool,
    platform: str | None,
    output: str,
) -> None:
    """Train ALGORITHM (a Python file, or a name from `poise algorithms`) from the base, and score it.

    One run says little: seeds move scores by points. A search confirms its best on many seeds.

    \b
    poise train grpo --seed 1
    poise train mine.py --fidelity probe
    poise train vm-av --hyper kl_coef=0 --steps 40
    poise train mine.py --engine verl --platform cpu
    poise train mine.py --engine verl --settings examples/search-math-1.5b.yaml --print
    poise train mine.py --engine verl --settings examples/search-verl-tiny.yaml
    """
    if engine == "verl" and only_print and platform is None:
        from poise_lib.cli.verl import show

        click.echo(show(algorithm, settings, seed=seed, fidelity=fidelity, steps=steps, output=output))
        return
    if engine == "verl" and not only_print and (platform is None) != (settings is None):
        from poise_lib.cli.verl_training import train_described, train_here

        values = _overrides(hyper)
        if settings is not None:
            train_described(algorithm, settings, seed=seed, fidelity=fidelity, steps=steps, hyper=values, keep=keep,
                            output=output)  # fmt: skip
        elif platform is not None:
            train_here(algorithm, platform=platform, seed=seed, steps=steps, hyper=values, keep=keep, output=output)
        return
    if engine == "verl" or platform is not None or settings is not None or only_print:
        from poise_lib.errors import InvalidInputError

        raise InvalidInputError(
            "--engine verl goes with --settings FILE (trains as a Search says; with --print only shows how), or with "
            "--platform (trains a tiny model on this machine); without it the embedded engine trains, which has none of "
            "these options"
        )
    import shutil
    import tempfile

    from poise_lib.cli.candidate_file import choose
    from poise_lib.cli.checks import require_engine
    from poise_lib.evaluation.nano.base import BASE_PATH
    from poise_lib.evaluation.nano.config import FIDELITIES
    from poise_lib.evaluation.run import score_checkpoint, train_candidate

    chosen = choose(algorithm)
    require_engine()
    config = FIDELITIES[fidelity]
    if steps is not None:
        config = config.model_copy(update={"steps": steps})
    with tempfile.TemporaryDirectory(prefix="poise-") as folder:
        progress = _Progress(config, show=output == "text" or sys.stderr.isatty())
        report = train_candidate(
            chosen.source, config, seed, Path(folder) / "train", progress, _overrides(hyper), chosen.name
        )
        progress.done("scoring on the search problems, after training and before")
        after = score_checkpoint(report.policy_path, "search", seed).metrics
        before = score_checkpoint(BASE_PATH, "search", seed).metrics
        progress.done("")
        if keep is not None:
            from poise_lib.errors import InvalidInputError

            try:
                shutil.copyfile(report.policy_path, keep)
            except OSError as error:
                raise InvalidInputError(f"{keep}: cannot be written: {error.strerror}") from None
    if output == "json":
        from poise_lib.plain import json_text

        document = {"algorithm": chosen.name, "seed": seed, "fidelity": fidelity, "steps": config.steps,
                    "metrics": dict(after), "base": dict(before), "trajectory": list(report.trajectory),
                    "seconds": report.wall_seconds, "isolation": list(report.in_force)}  # fmt: skip
        click.echo(json_text(document))
        return
    click.echo("\n".join([*curves(report.trajectory), "", *scores(before, after)]))
    click.echo(f"\ntrained in {report.wall_seconds:.0f} s; isolation in force: {', '.join(report.in_force) or 'none'}")
    if keep is not None:
        click.echo(f"weights in {keep}")


def curves(trajectory: Sequence[Mapping[str, float]]) -> list[str]:
    """Accuracy and format as a chart, the rest as sparks with first and last values."""
    from poise_lib.cli.charts import Series, chart, spark
    from poise_lib.cli.text import columns, speaks_unicode
    from poise_lib.evaluation import trajectory as names
    from poise_lib.plain import clean

    def points(metric: str) -> tuple[tuple[float, float], ...]:
        return tuple((float(step), record[metric]) for step, record in enumerate(trajectory) if metric in record)

    lines = chart(
        [Series("accuracy (sampled)", points(names.ACCURACY)), Series("format kept", points(names.FORMAT_VALID))],
        columns=min(72, columns(72)),
        x_label="step",
        ascii_only=not speaks_unicode(),
    )
    shown = {
        "length, tokens": names.RESPONSE_LENGTH, "entropy, nats": names.ENTROPY, "KL to the reference": names.KL,
        "gradient norm": names.GRAD_NORM, "clipped share": names.CLIP_FRACTION, "all-fail groups": names.GROUPS_ALL_FAIL,
        "mixed groups": names.GROUPS_MIXED, "all-correct groups": names.GROUPS_ALL_CORRECT,
    }  # fmt: skip
    lines.append("")
    for label, metric in shown.items():
        values = [value for _, value in points(metric)]
        if values:
            picture = spark(values) if speaks_unicode() else ""
            lines.append(f"  {clean(label):<20} {values[0]:>8.3g} {picture:<24} {values[-1]:.3g}")
    return lines


def scores(before: Mapping[str, float], after: Mapping[str, float]) -> list[str]:
    """Scores before and after, a metric a line."""
    from poise_lib.cli.tables import rows
    from poise_lib.cli.text import number, signed
    from poise_lib.plain import clean

    table = [["METRIC", "BASE", "TRAINED", "CHANGE"]]
    for name, value in after.items():
        change = value - before[name] if name in before else None
        table.append([clean(name), number(before.get(name)), number(value), signed(change)])
    return rows(table, [False, True, True, True]).splitlines()


def _overrides(given: Sequence[str]) -> dict[str, float]:
    from poise_lib.errors import InvalidInputError

    values = {}
    for item in given:
        name, equals, value = item.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not math.isfinite(values[name.strip()]):
            raise InvalidInputError(
                f"--hyper {item}: write it as NAME=VALUE with a finite number, such as kl_coef=0.01"
            )
    return values


class _Progress:
    """One line on stderr that is written over while training runs; nothing where stderr is no terminal."""

    def __init__(self, config: NanoConfig, *, show: bool) -> None:
        self._steps = config.steps
        self._show = show and sys.stderr.isatty()

    def __call__(self, record: Mapping[str, Any]) -> None:
        from poise_lib.evaluation.trajectory import ACCURACY, STEP

        step = int(record.get(STEP, 0)) + 1
        self.done(f"step {step} of {self._steps}, accuracy {record.get(ACCURACY, 0.0):.2f}")

    def done(self, text: str) -> None:
        """Replace the line."""
        if self._show:
            click.echo(f"\r\x1b[K{text}", nl=False, err=True)

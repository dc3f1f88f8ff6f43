"""``poise score``: a checkpoint of a language model on a suite, with intervals, and each problem kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from poise_lib.evaluation.verl.scoring.score import ScoreReport

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("checkpoint", type=_FOLDER)
@click.option(
    "--settings",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The Search whose base and instruction the checkpoint was trained with.",
)
@click.option("--suite", help="Another suite: a name, or a file of yours (docs/verl.md).")
@click.option("--problems", type=_FOLDER, metavar="FOLDER", help="Files of the benchmarks; else the hub or its cache.")
@click.option("--backend", type=click.Choice(["vllm", "transformers"]), default="vllm", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of sampling.")
@click.option(
    "--records", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Keep a line of JSON a problem."
)
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def score(
    checkpoint: Path,
    settings: Path,
    suite: str | None,
    problems: Path | None,
    backend: str,
    seed: int,
    records: Path | None,
    output: str,
) -> None:
    """Score CHECKPOINT, a folder of safetensors that VeRL left (.../actor/huggingface), on a suite of benchmarks.

    Only its tensors are read; configuration, tokenizer and code are the base's. No candidate code runs here.

    \b
    poise score run/checkpoints/global_step_152/actor/huggingface --settings examples/search-math-1.5b.yaml
    """
    from poise_lib.cli.checks import load_search
    from poise_lib.cli.text import echo_document
    from poise_lib.cli.verl import load_settings
    from poise_lib.errors import InvalidInputError
    from poise_lib.evaluation.verl.preflight import resolve_model
    from poise_lib.evaluation.verl.scoring.score import score_checkpoint
    from poise_lib.plain import json_text
    from poise_lib.resources.suites import load_suite

    verl = load_settings(settings)
    chosen = load_suite(suite) if suite else load_search(settings).spec.evaluation.measured
    report = score_checkpoint(
        checkpoint,
        resolve_model(verl.model),
        chosen,
        problems=problems,
        instruction=verl.data.instruction,
        backend=backend,
        seed=seed,
        trust_remote_code=verl.model.trust_remote_code,
        tensor_parallel=verl.parallelism.tensor,
    )
    if records is not None:
        try:
            records.write_bytes(report.lines())
        except OSError as error:
            raise InvalidInputError(f"{records}: cannot be written: {error.strerror}") from None
    if output == "json":
        document = {"suite": chosen.name, "seed": seed, "metrics": dict(report.metrics),
                    "intervals": {name: list(ends) for name, ends in report.intervals.items()},
                    "seconds": report.wall_seconds}  # fmt: skip
        echo_document(json_text(document))
        return
    click.echo("\n".join(lines(report)))


def lines(report: ScoreReport) -> list[str]:
    """A metric a line, with its interval and the number of problems behind it."""
    from poise_lib.cli.tables import rows
    from poise_lib.cli.text import number
    from poise_lib.plain import clean

    table = [["METRIC", "SCORE", "95% INTERVAL", "PROBLEMS"]]
    for name, value in report.metrics.items():
        ends = report.intervals.get(name)
        problems = sum(record.benchmark == name for record in report.records)
        spread = f"{number(ends[0])} to {number(ends[1])}" if ends is not None else ""
        table.append([clean(name), number(value), spread, str(problems or "")])
    return rows(table, [False, True, True, True]).splitlines()

"""What has to be there before VeRL starts: training data in its format, and where everything lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from poise_lib.evaluation.verl import rewards
from poise_lib.evaluation.verl.overrides import Paths
from poise_lib.evaluation.verl.problems import Problem, prompt, training_problems
from poise_lib.evaluation.verl.tables import write_parquet
from poise_lib.resources.verl import DataFormat, VerlSettings

TRAIN_FILE: Final = "train.parquet"
DATA_SOURCE: Final = "poise/train"


def run_paths(settings: VerlSettings, folder: Path) -> Paths:
    """Where a run in ``folder`` finds and leaves things."""
    converted = settings.data.format is DataFormat.PROBLEMS
    return Paths(
        model=_whole(settings.model.path),
        train=(str(folder / TRAIN_FILE),) if converted else tuple(map(_whole, settings.data.train)),
        reward=_whole(settings.data.reward.path or rewards.path()),
        candidate=str(folder / "candidate.json"),
        checkpoints=str(folder / "checkpoints"),
        metrics=str(folder / "metrics.jsonl"),
    )


def _whole(path: str) -> str:
    """A path that holds wherever VeRL's processes work; an id of the hub is left as it is."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def preparation(settings: VerlSettings) -> tuple[str, ...]:
    """What happens before training, a sentence each, for people."""
    data, model = settings.data, settings.model
    lines = []
    if model.revision is not None:
        lines.append(f"revision {model.revision} of {model.path} is fetched, or taken from the cache (HF_HOME)")
    if data.format is DataFormat.PROBLEMS:
        levels = f" of levels {', '.join(map(str, data.levels))}" if data.levels else ""
        count = f"{data.limit:,} problems" if data.limit is not None else "all problems"
        lines.append(f"{count}{levels} of {', '.join(data.train)} are written to {TRAIN_FILE}")
    return tuple(lines)


def verl_rows(problems: Sequence[Problem], instruction: str) -> Iterator[dict[str, Any]]:
    """Rows as VeRL's data set reads them."""
    for index, problem in enumerate(problems):
        yield {
            "data_source": DATA_SOURCE,
            "prompt": [{"role": "user", "content": prompt(problem, instruction)}],
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": problem.answer},
            "extra_info": {"split": "train", "index": index, "level": problem.level or 0},
        }


def prepare_training_data(settings: VerlSettings, folder: Path) -> int:
    """Write the training data where :func:`run_paths` says; the number of problems, 0 where the files are VeRL's own.

    The draw of ``data.limit`` is the same for all seeds: every candidate of a search trains on the same problems.

    Raises:
        InvalidInputError: the data is missing or not usable.
        EngineError: what reads or writes it is not installed.
    """
    if settings.data.format is DataFormat.VERL:
        return 0
    problems = training_problems(settings.data)
    write_parquet(verl_rows(problems, settings.data.instruction), folder / TRAIN_FILE)
    return len(problems)

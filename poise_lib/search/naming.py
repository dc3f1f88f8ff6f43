"""Deterministic names of objects and tasks, and the seeds that go with them."""

from __future__ import annotations

from poise_lib.resources.evaluation import Fidelity
from poise_lib.tasks.protocol import TaskKind

_SEEDS_A_SEARCH = 1000
_CONFIRM_OFFSET = 500


def candidate_name(search: str, round_: int, slot: int) -> str:
    """Name of the candidate in a slot of a round; the baseline is round 0, slot 0."""
    return f"{search}-{round_:03d}-{slot}"


def run_task(evaluation: str, kind: TaskKind) -> str:
    """Name of the task that trains or scores an evaluation."""
    return f"{evaluation}-{kind.value}"


def run_of(task: str, kind: TaskKind) -> str:
    """Name of the evaluation that a task of this kind trains or scores: :func:`run_task` read backwards."""
    return task.removesuffix(f"-{kind.value}")


def evaluation_name(candidate: str, fidelity: Fidelity, seed: int, revision: int = 1) -> str:
    """Name of an evaluation; ``revision`` tells the probes of a candidate's repaired implementations apart."""
    return f"{candidate}-{fidelity.value}-{f'r{revision}-' if revision > 1 else ''}{seed}"


def select_task(search: str, round_: int) -> str:
    """Name of the task that selects a round's parents."""
    return f"{search}-{round_:03d}-select"


def propose_task(search: str, round_: int, slot: int, *, asks: bool = False) -> str:
    """Name of the task that proposes for one selected parent; one that asks a language model is another one."""
    return f"{candidate_name(search, round_, slot)}-propose{'-llm' if asks else ''}"


def search_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds of the runs that steer a search; the same for all its candidates, so that differences are paired."""
    return tuple(seed * _SEEDS_A_SEARCH + index for index in range(count))


def confirmation_seeds(seed: int, count: int) -> tuple[int, ...]:
    """Seeds of confirmation runs; disjoint from :func:`search_seeds` of every search seed."""
    return tuple(seed * _SEEDS_A_SEARCH + _CONFIRM_OFFSET + index for index in range(count))

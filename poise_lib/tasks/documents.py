"""Inputs and outputs of every kind of task.

An input holds all that decides the output and nothing else (no times, no paths), because its digest is the key under
which the result is found again.
"""

from __future__ import annotations

from typing import Literal

from poise_lib.archive.entry import Entry
from poise_lib.resources.base import Model
from poise_lib.resources.candidate import CheckResult, Component, Proposal, Reflection, Verification
from poise_lib.resources.evaluation import Engine, NanoSettings
from poise_lib.resources.search import ConfirmedCandidate, Objective, ParentChoice, Selection, Strategy


class SelectInput(Model):
    """Parents of a round, from slim records of the whole archive."""

    entries: tuple[Entry, ...]
    strategy: Strategy
    objective: Objective
    suite: str
    round: int
    count: int
    seed: int


class SelectOutput(Model):
    """The parents, with the terms that chose them."""

    selection: Selection


class ProposeInput(Model):
    """Proposals for one selected parent."""

    parent: ParentChoice
    entries: tuple[Entry, ...]
    strategy: Strategy
    round: int
    slot: int
    seed: int


class ProposeOutput(Model):
    """Proposals in the order of the screening, best first; empty when nothing new could be composed."""

    proposals: tuple[Proposal, ...]


class ImplementInput(Model):
    """A proposal to turn into code; on later revisions with the last one's composition and the findings it met."""

    proposal: Proposal
    algorithm: str | None = None
    source: str | None = None
    revision: int = 1
    findings: tuple[CheckResult, ...] = ()
    previous: tuple[Component, ...] = ()


class ImplementOutput(Model):
    """The candidate module and the composition that it renders (empty for a zoo algorithm or code by hand).

    The source is None, and the message says why, when nothing is left to repair.
    """

    source: str | None = None
    composition: tuple[Component, ...] = ()
    message: str = ""


class VerifyInput(Model):
    """Source to verify; ``parent_digests`` are behaviour digests by parent name."""

    source: str
    revision: int
    parent_digests: dict[str, str]
    training_probe: bool


class VerifyOutput(Model):
    """The verdict; the whole report is an artifact."""

    verification: Verification


class TrainInput(Model):
    """One training run in isolation."""

    source: str
    engine: Engine
    suite: str
    nano: NanoSettings
    seed: int


class TrainOutput(Model):
    """Digest of the trained weights, and the trajectory (advisory: untrusted code wrote it)."""

    policy: str
    trajectory: tuple[dict[str, float], ...]
    trajectory_artifact: str
    summary: dict[str, float]
    seconds: float


class ScoreInput(Model):
    """A checkpoint to score; never candidate code."""

    policy: str
    engine: Engine
    suite: str
    split: Literal["search", "confirm"]
    seed: int


class ScoreOutput(Model):
    """Scores in percentage points, and the digest of the per-problem records."""

    metrics: dict[str, float]
    records: str
    seconds: float


class ReflectInput(Model):
    """A finished candidate beside its parent and the baseline."""

    child: Entry
    parent: Entry | None = None
    baseline: Entry | None = None


class ReflectOutput(Model):
    """The diagnosis."""

    reflection: Reflection


class ConcludeInput(Model):
    """Utilities on unseen seeds and problems, paired by position; ``picked`` counts also arms that dropped out."""

    baseline: tuple[float, ...]
    arms: dict[str, tuple[float, ...]]
    confidence: float
    picked: int


class ConcludeOutput(Model):
    """One comparison an arm."""

    confirmed: tuple[ConfirmedCandidate, ...]


class CollectInput(Model):
    """Blobs that nobody needs any more."""

    remove: tuple[str, ...]


class CollectOutput(Model):
    """How many were there to be removed."""

    removed: int

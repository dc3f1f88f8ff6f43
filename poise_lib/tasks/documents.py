"""Inputs and outputs of every kind of task.

An input holds all that decides the output and nothing else (no times, no paths), because its digest is the key under
which the result is found again.  What only a language model needs is None where none is asked.
"""

from __future__ import annotations

from typing import Literal

from poise_lib.archive.entry import Entry
from poise_lib.prompts.exhibits import Exhibit
from poise_lib.resources.base import Finite, MetricName, Model, ShortText, Text
from poise_lib.resources.candidate import CheckResult, Component, Proposal, Reflection, Revision, Verification
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import Fidelity, NanoSettings
from poise_lib.resources.llm import LLMSettings
from poise_lib.resources.objective import Guard
from poise_lib.resources.search import ConfirmedCandidate, Objective, ParentChoice, Selection, Strategy
from poise_lib.resources.search_status import Principle
from poise_lib.resources.suites import SuiteFile
from poise_lib.resources.verl import VerlSettings


class SelectInput(Model):
    """Parents of a round, from slim records of the whole archive."""

    entries: tuple[Entry, ...]
    strategy: Strategy
    objective: Objective
    suite: str
    suite_definition: SuiteFile | None = None
    round: int
    count: int
    seed: int


class SelectOutput(Model):
    """The parents, with the terms that chose them."""

    selection: Selection


class CheckInput(Model):
    """Whether the language model can be used; ``retry`` is whatever a user has set to have it checked anew."""

    llm: LLMSettings
    retry: str = ""


class CheckOutput(Model):
    """It can: the form of answers that it takes."""

    structured_output: str


class ProposeInput(Model):
    """Proposals for one selected parent.

    What a language model is shown beside the entries comes with ``llm``: proposals and code of the parent and of its
    references, what the user asks for, and the principles so far.
    """

    parent: ParentChoice
    entries: tuple[Entry, ...]
    strategy: Strategy
    round: int
    slot: int
    seed: int
    llm: LLMSettings | None = None
    exhibits: tuple[Exhibit, ...] | None = None
    directive: str | None = None
    reading: str | None = None
    """What the search understands of the directive, in our words."""
    objective: Objective | None = None
    """The one that counts; None where it is the suite's own."""
    principles: tuple[Principle, ...] | None = None


class ProposeOutput(Model):
    """Proposals in the order of the screening, best first; empty when nothing new could be composed."""

    proposals: tuple[Proposal, ...]
    left_out: tuple[str, ...] | None = None
    """For people: what rules left out of a language model's proposals, and why."""


class ImplementInput(Model):
    """A proposal to turn into code; on later revisions with the last one's composition and the findings it met."""

    proposal: Proposal
    algorithm: str | None = None
    source: str | None = None
    revision: int = 1
    findings: tuple[CheckResult, ...] = ()
    previous: tuple[Component, ...] = ()
    llm: LLMSettings | None = None
    parent: Exhibit | None = None
    """For a language model: what the proposal starts from."""
    written: str | None = None
    """For a language model: the source of the last revision."""
    revisions: tuple[Revision, ...] | None = None
    """For a language model: the revisions before the last one; their sources and reports are artifacts."""


class ImplementOutput(Model):
    """The candidate module and the composition that it renders (empty for a zoo algorithm or code by hand).

    The source is None, and the message says why, when nothing is left to repair.
    """

    source: str | None = None
    composition: tuple[Component, ...] = ()
    message: str = ""
    transcripts: tuple[str, ...] = ()
    kept: str | None = None
    """Digest of the source in the artifact store, where a language model wrote it."""


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
    """One training run in isolation.  What only engine verl needs is None for the embedded one."""

    source: str
    engine: Engine
    suite: str
    nano: NanoSettings
    seed: int
    verl: VerlSettings | None = None
    fidelity: Fidelity | None = None
    """Decides how many steps of ``verl`` are trained."""
    stopping: EarlyStopping | None = None
    """When to end a hopeless run; None: never."""
    reference: tuple[dict[MetricName, Finite], ...] | None = None
    """The parent's trajectory, by step, for what compares with it."""
    retry: str | None = None
    """Whatever a user has set to have it tried again that the machine kept it from beginning."""


class Ending(Model):
    """Why training ended before its last step."""

    reason: ShortText
    """A CamelCase word."""
    message: Text
    step: int | None = None
    """Steps that were finished."""


class TrainOutput(Model):
    """Digest of the trained weights, and the trajectory (advisory: untrusted code wrote it).

    A run that ended early keeps its trajectory, and the weights of its last checkpoint where it left a usable one.
    """

    policy: str | None = None
    trajectory: tuple[dict[str, float], ...]
    trajectory_artifact: str
    summary: dict[str, float]
    seconds: float
    ended: Ending | None = None
    """None: it went to its last step."""


class ScoreInput(Model):
    """A checkpoint to score; never candidate code."""

    policy: str
    engine: Engine
    suite: str
    suite_definition: SuiteFile | None = None
    split: Literal["search", "confirm"]
    seed: int
    verl: VerlSettings | None = None
    retry: str | None = None
    """As for training."""


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
    llm: LLMSettings | None = None
    exhibits: tuple[Exhibit, ...] | None = None
    """For a language model: proposals and code of the child and of its parent."""
    entries: tuple[Entry, ...] | None = None
    directive: str | None = None
    reading: str | None = None
    objective: Objective | None = None
    """As for proposals."""


class ReflectOutput(Model):
    """The diagnosis."""

    reflection: Reflection
    transcripts: tuple[str, ...] = ()


class DistillInput(Model):
    """The archive, to be distilled into principles by a language model."""

    llm: LLMSettings
    entries: tuple[Entry, ...]
    previous: tuple[Principle, ...] = ()
    directive: str = ""
    reading: str | None = None


class DistillOutput(Model):
    """Principles, the best supported first."""

    principles: tuple[Principle, ...]
    transcripts: tuple[str, ...] = ()


class ConcludeInput(Model):
    """Utilities on unseen seeds and problems, paired by position; ``picked`` counts also arms that dropped out."""

    baseline: tuple[float, ...]
    arms: dict[str, tuple[float, ...]]
    confidence: float
    picked: int
    baseline_metrics: dict[str, tuple[float, ...]] | None = None
    """The metrics that the objective names, in the same order of seeds; None where it is the suite's own."""
    arm_metrics: dict[str, dict[str, tuple[float, ...]]] | None = None
    guards: tuple[Guard, ...] | None = None


class ConcludeOutput(Model):
    """One comparison an arm."""

    confirmed: tuple[ConfirmedCandidate, ...]


class CollectInput(Model):
    """Blobs that nobody needs any more."""

    remove: tuple[str, ...]


class CollectOutput(Model):
    """How many were there to be removed."""

    removed: int

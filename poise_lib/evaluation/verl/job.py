"""What the trusted side and the process that runs VeRL tell each other: files in one folder, of plain text and tensors."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field

from poise_lib.resources.base import Finite, MetricName, Model, ShortText, Text
from poise_lib.resources.early_stop import EarlyStopping
from poise_lib.resources.evaluation import Fidelity
from poise_lib.resources.verl import VerlSettings

JOB_FILE: Final = "job.json"
SOURCE_FILE: Final = "candidate.py"
ACCOUNT_FILE: Final = "account.json"
TRAJECTORY_FILE: Final = "trajectory.jsonl"
WEIGHTS: Final = "policy-{:05d}.safetensors"
WEIGHTS_PATTERN: Final = "policy-*.safetensors"
MAX_SHARDS: Final = 60
"""Files of weights; the hand-over between containers takes 64 files in all."""


class TrainJob(Model):
    """What to train; the candidate's source lies beside it."""

    name: ShortText
    settings: VerlSettings
    """Without the folder of the benchmarks' problems."""
    fidelity: Fidelity
    seed: int
    hyper: dict[str, float] = Field(default_factory=dict)
    stopping: EarlyStopping | None = None
    reference: tuple[dict[MetricName, Finite], ...] = ()
    checkpoints: str | None = None
    """A folder that outlives this attempt; None: they go with it."""


class Progress(Model):
    """A line on standard output: a step is done."""

    steps: int | None
    """Of the whole run, where that is known."""
    record: dict[str, float]


class Account(Model):
    """How a run ended."""

    kind: Literal["finished", "stopped", "candidate", "unusable", "lost"]
    """At its last step; by a rule or the time limit; by the candidate's fault; not begun for want of something that is no
    candidate's; or by an accident that another attempt may not meet."""
    reason: ShortText = ""
    message: Text = ""
    step: int | None = None
    """Steps that were finished."""

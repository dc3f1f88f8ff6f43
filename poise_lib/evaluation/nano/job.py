"""What the trusted side and the sandboxed child of a training run tell each other.  Imports no PyTorch: the trusted side
does without, and its import takes longer than everything else that it does."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from poise_lib.evaluation.nano.config import NanoConfig

JOB_FILE: Final = "job.json"
CANDIDATE_FILE: Final = "candidate.py"
POLICY_FILE: Final = "policy.safetensors"
TRAJECTORY_FILE: Final = "trajectory.jsonl"


class Job(BaseModel):
    """What to train: the candidate's source lies beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "candidate"
    config: NanoConfig
    seed: int
    hyper: dict[str, float] = {}
    """Overrides of the candidate's hyperparameters, for ablations."""

"""How parents are chosen: the acquisition score, its surrogate, and the references that proposers are shown."""

from __future__ import annotations

import math
from enum import StrEnum

from pydantic import ConfigDict, Field, model_validator

from poise_lib.resources.base import Finite, Fraction, Model, cel
from poise_lib.resources.objective import WEIGHT_TOLERANCE


class Mode(StrEnum):
    """How the search advances."""

    ROUNDS = "Rounds"
    """A round of parents, all their children, then the next: reproducible."""
    CONTINUOUS = "Continuous"
    """A new child as soon as there is room: no idle worker, but the archive depends on timing."""


class AcquisitionWeights(Model):
    """Weights of s(d) = w_pareto*U_pareto + w_perf*U_perf + w_div*U_div + w_bayes*alpha_GP; they sum to 1.

    The paper gives none.  Performance leads slightly because utilities are what the budget is judged by; the
    surrogate's share stays below the measured terms because it is trained on few nodes; diversity keeps late bloomers
    alive: in 11 of the paper's 21 rounds the best descendant came from a parent that was not the best of its round.
    """

    model_config = ConfigDict(
        json_schema_extra=cel(
            f"self.pareto + self.performance + self.diversity + self.bayes <= 1.0 + {WEIGHT_TOLERANCE} "
            f"&& self.pareto + self.performance + self.diversity + self.bayes >= 1.0 - {WEIGHT_TOLERANCE}",
            "pareto + performance + diversity + bayes must be 1",
        )
    )

    pareto: Fraction = Field(0.25, description="Weight of U_pareto, the Pareto-frontier strength.")
    performance: Fraction = Field(0.3, description="Weight of U_perf, the normalised utility.")
    diversity: Fraction = Field(0.2, description="Weight of U_div, the distance to other nodes and unused parents.")
    bayes: Fraction = Field(0.25, description="Weight of alpha_GP, the GP-UCB on descendant gain.")

    @model_validator(mode="after")
    def _sum_to_one(self) -> AcquisitionWeights:
        total = self.pareto + self.performance + self.diversity + self.bayes
        if not math.isclose(total, 1.0, abs_tol=WEIGHT_TOLERANCE):
            raise ValueError(
                f"acquisition weights sum to {total:.4g}, but pareto + performance + diversity + bayes must be 1"
            )
        return self


class DescendantGain(Model):
    """The GP's target y_d = E over top-K descendants of gamma^depth(c, d) * tanh((U(c) - U(d)) / beta)."""

    top_k: int = Field(
        3, ge=1, le=64, description="K: one lucky descendant should not decide alone; a round has three."
    )
    gamma: Fraction = Field(0.8, description="Discount a generation: a gain three generations on counts half.")
    beta: Finite = Field(
        3.0,
        gt=0.0,
        description="Utility points at which a gain saturates: about one detectable difference of the suite.",
    )


class Kernel(StrEnum):
    """Covariance of the Gaussian process."""

    MATERN52 = "Matern52"
    MATERN32 = "Matern32"
    RBF = "RBF"


class GaussianProcess(Model):
    """The surrogate alpha_GP(d) = mean(d) + kappa * deviation(d) over node features."""

    kernel: Kernel = Field(Kernel.MATERN52, description="Matern 5/2: smooth, but less so than RBF, as is usual.")
    length_scale: Finite = Field(1.0, gt=0.0, description="Initial length scale in standardised features.")
    noise: Finite = Field(0.05, gt=0.0, description="Initial noise variance of standardised gains; fitted.")
    kappa: Finite = Field(1.0, ge=0.0, description="UCB constant: one deviation of optimism.")
    max_nodes: int = Field(256, ge=8, le=2000, description="Training nodes at most; the newest and best are kept.")


class References(Model):
    """How many references of each tier a proposer sees."""

    pareto: int = Field(2, ge=0, le=8, description="From the Pareto frontier.")
    complementary: int = Field(2, ge=0, le=8, description="Structurally most different from the parent.")
    exploratory: int = Field(2, ge=0, le=8, description="Sampled outside the direct lineage.")


class Strategy(Model):
    """How parents are chosen and how many children they get."""

    mode: Mode = Field(Mode.ROUNDS, description="How the search advances.")
    parents_per_round: int = Field(3, ge=1, le=32, description="Parents kept in parallel; the paper keeps three.")
    proposals_per_parent: int = Field(6, ge=1, le=64, description="Proposals a parent, of which screening keeps one.")
    acquisition: AcquisitionWeights = Field(default_factory=AcquisitionWeights, description="Weights of s(d).")
    descendant_gain: DescendantGain = Field(default_factory=DescendantGain, description="Target of the surrogate.")
    gaussian_process: GaussianProcess = Field(default_factory=GaussianProcess, description="The surrogate.")
    references: References = Field(default_factory=References, description="Context tiers.")

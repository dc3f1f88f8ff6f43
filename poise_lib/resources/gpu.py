"""What training and scoring on GPUs have cost a search: GPU seconds, which are GPUs times wall seconds."""

from __future__ import annotations

from pydantic import Field

from poise_lib.resources.base import Finite, Model, ShortText


class GPULedger(Model):
    """GPU seconds of a search on engine verl: what ended, successful or not, and what is going on."""

    spent_seconds: Finite = Field(0.0, ge=0.0, description="GPU seconds of training and scoring that have ended.")
    reserved_seconds: Finite = Field(
        0.0,
        ge=0.0,
        description="GPU seconds that what is going on is expected to take: as long as the longest run of the search so "
        "far at its fidelity; nothing while no run has ended.",
    )
    counted_seconds: Finite = Field(
        0.0, ge=0.0, description="Of spentSeconds, what the Evaluations that exist tell; the rest is of deleted ones."
    )
    exhausted: ShortText = Field("", description="Which cap of the budget is reached; empty while none is.")

    @property
    def spent_hours(self) -> float:
        """GPU hours that have ended."""
        return self.spent_seconds / 3600

    @property
    def reserved_hours(self) -> float:
        """GPU hours that are expected."""
        return self.reserved_seconds / 3600

"""The settings of one nano training run, and the two named fidelities."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from poise_lib.resources.evaluation import NanoSettings

RESPONSE_LENGTH: Final = 40
"""Longest response, tokens: eight totals with their marks, the answer with its mark, the end, and three to spare."""


class NanoConfig(NanoSettings):
    """How one candidate is trained: the settings of a Search, and what the engine fixes for all searches.

    The defaults are the calibrated ``full`` fidelity (docs/evidence/calibration.md).
    """

    warmup_steps: int = Field(5, ge=0, description="Steps over which the learning rate rises linearly.")
    micro_batch_tokens: int = Field(1024, ge=1, description="Padded tokens per forward pass; changes no result.")
    response_length: int = Field(RESPONSE_LENGTH, ge=6, le=RESPONSE_LENGTH, description="Longest response, tokens.")

    @staticmethod
    def of(settings: NanoSettings) -> NanoConfig:
        """The config of a Search's settings."""
        return NanoConfig.model_validate(settings.model_dump(by_alias=True))


FULL: Final = NanoConfig()
PROBE: Final = NanoConfig(steps=3, prompts_per_step=8, group_size=4, warmup_steps=0)
FIDELITIES: Final = {"probe": PROBE, "full": FULL}
"""``probe`` takes a fraction of a second and shows that a candidate trains at all; ``full`` is what is scored."""

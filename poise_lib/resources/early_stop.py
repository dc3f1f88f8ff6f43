"""When a training run is ended before its last step, because it is broken or hopeless.

Every rule looks at steps and never at the clock, so that the same run ends at the same step on any machine.
"""

from __future__ import annotations

from pydantic import Field

from poise_lib.resources.base import Model


class EarlyStopping(Model):
    """Rules for runs of engine verl; :mod:`poise_lib.evaluation.stopping` applies them."""

    enabled: bool = Field(True, description="Whether any of them is applied; false lets every run go to its last step.")

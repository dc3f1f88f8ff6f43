"""The short training run: a few real steps of the embedded engine."""

from __future__ import annotations

import math
from typing import Final

from poise_lib.verification.protocol import TrainingResult
from poise_lib.verification.report import Check, Status

_NAME: Final = "training-probe"
_GRAD_NORM: Final = "actor/grad_norm"
_SHOWN: Final = ("actor/grad_norm", "critic/score/mean", "actor/entropy", "response_length/mean")


def trains(result: TrainingResult) -> Check:
    """The run ended, and every update had a finite gradient that was not zero in every step."""
    if result.error:
        hint = "see the message; the probes above show the same functions on fixed data"
        return Check(_NAME, Status.FAILED, result.error, hint)
    norms = [step.get(_GRAD_NORM, math.nan) for step in result.steps]
    if not norms or not all(math.isfinite(norm) for norm in norms):
        return Check(_NAME, Status.FAILED, f"gradient norms: {norms}", "the gradient must be finite at every step")
    last = ", ".join(f"{name} {result.steps[-1][name]:.3g}" for name in _SHOWN if name in result.steps[-1])
    evidence = f"{len(norms)} steps; at the last: {last}"
    if max(norms) == 0.0:
        return Check(_NAME, Status.FAILED, evidence, "no step changed the policy; look for zeroed advantages")
    return Check(_NAME, Status.PASSED, evidence)

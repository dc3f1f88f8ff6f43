"""Short runs before the long one: what they show of a candidate.

There are two.  On engine verl a probe belongs to verification (``verification.trainingProbe``), because what only bf16,
CUDA or several GPUs break must not surface in the full run; what it finds goes back to the implementer.  On any engine
``evaluation.probe`` asks for a scored one, of which the full run must be worth while.  Where both are wanted on engine
verl, one run serves both.
"""

from __future__ import annotations

from poise_lib.archive.entry import OWN_FAULTS
from poise_lib.archive.utility import utility
from poise_lib.names import METRIC_FORMAT_VALID
from poise_lib.resources import Candidate, Evaluation
from poise_lib.resources.candidate import CheckResult
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import EvaluationPhase, Fidelity
from poise_lib.resources.objective import Direction, Objective
from poise_lib.search.naming import candidate_name, evaluation_name
from poise_lib.search.observed import Observed

COLLAPSE = 0.5
"""A probe run that keeps less than this share of the baseline's utility or format validity has collapsed."""
FINDINGS_KEPT = 16
VERL_PROBE = "verl-probe"
"""Name of the finding."""


def probes_training(observed: Observed) -> bool:
    """Whether a training run by the search's own engine belongs to verification.

    Verification itself trains on the embedded engine, so a search on that engine needs no other probe.
    """
    spec = observed.search.spec
    return spec.evaluation.engine is Engine.VERL and spec.verification.training_probe


def finding(run: Evaluation) -> CheckResult | None:
    """What a failed probe holds against its candidate; None when the candidate is not to blame."""
    if run.status.reason not in OWN_FAULTS:
        return None
    told = run.status.message
    return CheckResult(
        name=VERL_PROBE,
        status="failed",
        evidence=(told if told.startswith(run.status.reason) else f"{run.status.reason}: {told}")[:600],
        hint=f"training by VeRL failed within its first steps ({run.metadata.name}), after every other check had passed: "
        "look for what differs there, such as bf16, CUDA, padding and micro-batches",
    )


def collapse(candidate: Candidate, probe: Evaluation, observed: Observed) -> str | None:
    """Why a scored probe run has collapsed against the baseline's; None when it has not."""
    spec = observed.search.spec
    root = candidate_name(observed.search.metadata.name, 0, 0)
    yardstick = observed.evaluations.get(evaluation_name(root, Fidelity.PROBE, probe.spec.seed))
    if yardstick is None or candidate.metadata.name == root or yardstick.status.phase is not EvaluationPhase.COMPLETE:
        return None
    suite = spec.evaluation.measured
    # A share of a difference means nothing, and what follows from the directive is not known before the baseline is scored.
    gains = all(metric.direction is Direction.MAXIMIZE for metric in spec.objective.metrics)
    measure = spec.objective if gains else Objective()
    pairs = {
        "utility": (utility(run.status.metrics, measure, suite) for run in (probe, yardstick)),
        METRIC_FORMAT_VALID: (run.status.metrics.get(METRIC_FORMAT_VALID) for run in (probe, yardstick)),
    }
    for metric, (value, reference) in pairs.items():
        if value is not None and reference is not None and reference > 0 and value < COLLAPSE * reference:
            return f"collapsed in the probe run: {metric} {value:.2f} against the baseline's {reference:.2f}"
    return None

"""The canonical digest of an archive: what "the same archive" means, on one machine and in a cluster.

Taken over: the settings that turn metrics into verdicts (seed, objective, what scores follow of the directive, suite
with its definition where it has one, confirmation), and of each final
candidate its name, parents in order, round, slot, phase, source, verdict and final evaluations.  Left out: times,
machines, pods and workers, UIDs and versions, labels and annotations, conditions, messages, reasons (which of two
limits was hit first depends on load), trajectories (advisory) and everything that follows from the rest (utility,
selections, reflections, best, frontier).

Rules, in force since version 1:

- Documents are sorted: candidates by name, their evaluations by fidelity, then seed; input order does not count.
- Metrics are rounded to six decimals (Python's ``round``: to the nearest, ties to even) and written as text; negative
  zero is zero.
- A source is its SHA-256, computed anew from the text, not the digest that an object claims.
- Ties in every choice of a search (selection, best, frontier) fall to the smaller name, so they leave no other
  trace here.
- Candidates and evaluations of other searches, or not yet final, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from poise_lib.archive.objective import gist, reading_of, source_of
from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.resources.candidate import FINAL_CANDIDATE_PHASES, Candidate
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, Evaluation
from poise_lib.resources.objective import ObjectiveSource
from poise_lib.resources.search import Search

DIGEST_VERSION: Final = 1
"""Changes whenever the same archive would get another digest."""
METRIC_DECIMALS: Final = 6


def archive_digest(search: Search, candidates: Iterable[Candidate], evaluations: Iterable[Evaluation]) -> str:
    """``sha256:<hex>`` over lineage, sources, metrics and verdicts of a search, under the rules above."""
    name = search.metadata.name
    final = {
        candidate.metadata.name: candidate
        for candidate in candidates
        if candidate.spec.search == name and candidate.status.phase in FINAL_CANDIDATE_PHASES
    }
    runs: dict[str, list[Evaluation]] = {candidate: [] for candidate in final}
    for evaluation in evaluations:
        if evaluation.status.phase in FINAL_EVALUATION_PHASES and evaluation.spec.search == name:
            runs.get(evaluation.spec.candidate, []).append(evaluation)
    settings = {
        "seed": search.spec.seed,
        "objective": search.spec.objective.to_document(),
        "suite": search.spec.evaluation.suite,
        "confirmation": search.spec.evaluation.confirmation.to_document(),
    }
    if (definition := search.spec.evaluation.suite_definition) is not None:
        settings["suiteDefinition"] = definition.to_document()
    if source_of(search) is ObjectiveSource.DIRECTIVE:
        settings["directive"] = gist(reading_of(search))
    document = {
        "version": DIGEST_VERSION,
        "search": settings,
        "candidates": [_candidate(final[candidate], runs[candidate]) for candidate in sorted(final)],
    }
    return digest_of(canonical_json(document))


def _candidate(candidate: Candidate, runs: list[Evaluation]) -> dict[str, Any]:
    spec, status = candidate.spec, candidate.status
    return {
        "name": candidate.metadata.name,
        "parents": list(spec.parents),
        "round": spec.round,
        "slot": spec.slot,
        "phase": status.phase.value,
        "source": digest_of(status.implementation.source.encode()) if status.implementation else None,
        "verified": [status.verification.passed, status.verification.revision] if status.verification else None,
        "metrics": _rounded(status.metrics),
        "evaluations": sorted(
            map(_evaluation, runs), key=lambda run: (run["fidelity"], run["seed"], canonical_json(run))
        ),
    }


def _evaluation(evaluation: Evaluation) -> dict[str, Any]:
    return {
        "fidelity": evaluation.spec.fidelity.value,
        "seed": evaluation.spec.seed,
        "phase": evaluation.status.phase.value,
        "metrics": _rounded(evaluation.status.metrics),
    }


def _rounded(metrics: Mapping[str, float]) -> dict[str, str]:
    """Metrics as text; adding 0.0 turns a negative zero, which rounding leaves of a tiny loss, into zero."""
    return {name: f"{round(value, METRIC_DECIMALS) + 0.0:.{METRIC_DECIMALS}f}" for name, value in metrics.items()}

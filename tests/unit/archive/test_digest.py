"""The canonical digest: what it ignores and what it must notice."""

import random
from typing import Any

import pytest

from poise_lib.archive.digest import archive_digest
from poise_lib.artifacts.digest import digest_of
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.base import Model
from tests.unit.archive.builders import candidate, evaluation, search

PASSED = {"passed": True, "revision": 1, "checks": 9}


def archive() -> tuple[Search, list[Candidate], list[Evaluation]]:
    candidates = [
        candidate("base"),
        candidate("c1", "base", source="x = 2", round=1, metrics={"a": 2.5}, verification=PASSED),
        candidate("c2", "base", "c1", source="x = 3", round=1, slot=1, phase="Rejected", metrics={}),
    ]
    runs = [evaluation(owner, seed, {"a": seed + 0.5}) for owner in ("base", "c1") for seed in (0, 1)]
    return search(), candidates, runs


def digest(changed: dict[str, Any] | None = None, *, of: type[Model] = Candidate, name: str = "c1") -> str:
    """Digest of the archive with some fields of one object changed (dotted path in camelCase to value)."""
    where, candidates, runs = archive()

    def edit(model: Any) -> Any:
        if type(model) is not of or model.metadata.name != name:
            return model
        document = model.to_document()
        for path, value in (changed or {}).items():
            *above, last = path.split(".")
            target = document
            for key in above:
                target = target.setdefault(key, {})
            target[last] = value
        return of.model_validate(document)

    return archive_digest(edit(where), [edit(c) for c in candidates], [edit(run) for run in runs])


def test_the_digest_is_a_digest_and_repeats() -> None:
    assert digest().startswith("sha256:")
    assert digest() == digest()


def test_the_order_of_the_inputs_does_not_count() -> None:
    where, candidates, runs = archive()
    rng = random.Random(0)
    for _ in range(10):
        rng.shuffle(candidates)
        rng.shuffle(runs)
        assert archive_digest(where, candidates, runs) == digest()


@pytest.mark.parametrize(
    "changed",
    [
        {"metadata.annotations": {"poise.dev/utility": "9", "poise.dev/depth": "4"}},
        {"metadata.labels": {"node": "pod-7"}},
        {"metadata.uid": "1234", "metadata.resourceVersion": "77", "metadata.namespace": "elsewhere"},
        {"metadata.creationTimestamp": "2026-11-23T09:00:00Z"},
        {"status.message": "trained on worker-3 in 17 s", "status.reason": "Other"},
        {"status.trajectory": {"actor/entropy.last": 0.3}},
        {"status.utility": 1e9},
        {"status.metrics": {"a": 2.5000000001}},
        {"status.reflection": {"diagnosis": "another wording"}},
        {"status.selections": [{"round": 1, "score": 1, "pareto": 1, "performance": 1, "diversity": 1, "bayes": 1}]},
        {"status.verification.isolation": ["seccomp"], "status.verification.checks": 12},
    ],
)
def test_what_does_not_belong_to_the_archive_is_ignored(changed: dict[str, Any]) -> None:
    assert digest(changed) == digest()


@pytest.mark.parametrize(
    "changed",
    [
        {"spec.parents": []},
        {"spec.parents": ["c2"]},
        {"spec.round": 2},
        {"spec.slot": 5},
        {"status.phase": "Failed"},
        {"status.metrics": {"a": 2.50001}},
        {"status.metrics": {"b": 2.5}},
        {"status.verification.passed": False},
        {"status.verification.revision": 2},
        {"status.implementation.source": "x = 22"},
    ],
)
def test_lineage_sources_metrics_and_verdicts_are_noticed(changed: dict[str, Any]) -> None:
    assert digest(changed) != digest()


def test_the_order_of_parents_is_lineage() -> None:
    assert digest({"spec.parents": ["c1", "base"]}, name="c2") != digest()


def test_a_source_is_read_not_believed() -> None:
    assert digest({"status.implementation.digest": digest_of(b"forged")}) == digest()


@pytest.mark.parametrize(
    ("changed", "noticed"),
    [
        ({"status.metrics": {"a": 1.6}}, True),
        ({"status.phase": "Failed"}, True),
        ({"spec.seed": 9}, True),
        ({"spec.fidelity": "confirm"}, True),
        ({"status.trainSeconds": 12.5}, False),
        ({"status.policy": digest_of(b"weights")}, False),
        ({"metadata.creationTimestamp": "2026-11-23T09:00:00Z"}, False),
    ],
)
def test_evaluations(changed: dict[str, Any], noticed: bool) -> None:
    assert (digest(changed, of=Evaluation, name="c1-1") != digest()) is noticed


@pytest.mark.parametrize(
    ("changed", "noticed"),
    [
        ({"spec.seed": 1}, True),
        ({"spec.evaluation.confirmation.seeds": 4}, True),
        ({"spec.objective": {"constraints": [{"metric": "overall", "minimum": 3}]}}, True),
        ({"spec.budget.concurrent": 10}, False),
        ({"status.startTime": "2026-11-23T09:00:00Z", "status.round": 4}, False),
        ({"metadata.namespace": "elsewhere"}, False),
    ],
)
def test_of_the_search_only_what_turns_metrics_into_verdicts(changed: dict[str, Any], noticed: bool) -> None:
    assert (digest(changed, of=Search, name="s") != digest()) is noticed


def test_work_in_flight_and_other_searches_are_left_out() -> None:
    where, candidates, runs = archive()
    others = [candidate("c9", "base", phase="Verifying"), candidate("alien", search="t")]
    more_runs = [
        evaluation("base", 7, {}, phase="Training"),
        evaluation("c9", 0, {"a": 1.0}),
        evaluation("alien", 0, {"a": 1.0}),
    ]
    assert archive_digest(where, candidates + others, runs + more_runs) == digest()


def test_a_tiny_negative_metric_is_zero() -> None:
    assert digest({"status.metrics": {"a": -1e-9}}) == digest({"status.metrics": {"a": 0.0}})

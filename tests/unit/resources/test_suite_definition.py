"""A suite of a team's own in a Search and in an Evaluation: what it makes, and what is refused, with which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from poise_lib.errors import InvalidInputError
from poise_lib.resources import Evaluation, Search
from poise_lib.resources.loading import load_documents
from poise_lib.resources.suites import MATH_V1, SUITES, SuiteFile, suite_of

VERL = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}
SOURCE = {"files": ["house.jsonl"]}
OURS: dict[str, Any] = {
    "name": "ours",
    "extends": "math-v1",
    "benchmarks": [
        {"name": "minerva_acc1", "weight": 0},
        {"name": "house_acc1", "weight": 0.15, "source": SOURCE, "contamination": "Written in-house."},
        {"name": "aime24_pass32", "samples": 64},
    ],
}
BESIDE = {"engine": "verl", "suite": "ours", "verl": VERL}


def search(definition: Any = OURS, spec: dict[str, Any] | None = None, **beside: Any) -> Search:
    evaluation = {**BESIDE, "suiteDefinition": definition, **beside}
    whole = {"budget": {"candidates": 4}, "evaluation": evaluation, **(spec or {})}
    return Search.model_validate({"metadata": {"name": "s"}, "spec": whole})


def evaluation(definition: Any = OURS, **beside: Any) -> Evaluation:
    spec = {"search": "s", "candidate": "s-001-0", **BESIDE, "suiteDefinition": definition, **beside}
    return Evaluation.model_validate({"metadata": {"name": "e"}, "spec": spec})


def test_what_it_makes() -> None:
    suite = search().spec.evaluation.measured
    assert suite.name == "ours"
    assert suite.weights() == {
        "aime24_pass32": 0.2, "aime25_pass32": 0.2, "amc_pass32": 0.15, "math500_acc1": 0.15,
        "olympiadbench_acc1": 0.15, "house_acc1": 0.15,
    }  # fmt: skip
    assert (suite.benchmarks[0].n, suite.benchmarks[0].k) == (64, 32)
    assert suite.benchmarks[0].contamination == MATH_V1.benchmarks[0].contamination
    assert suite.benchmarks[-1].contamination == "Written in-house."
    assert (suite.benchmarks[-1].max_tokens, suite.benchmarks[-1].temperature) == (4096, 1.0)  # as the field says


def test_it_is_carried_whole_and_a_shipped_suite_leaves_no_trace() -> None:
    carried = search().spec.evaluation.to_document()["suiteDefinition"]
    assert search(carried).spec.evaluation.suite_definition == evaluation(carried).spec.suite_definition
    plain = search(None, suite="math-v1").spec.evaluation
    assert "suiteDefinition" not in plain.to_document()
    assert plain.measured is MATH_V1


@pytest.mark.parametrize("make", [search, evaluation])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"suite": "our"}, "suite is 'our', but suiteDefinition.name 'ours'; write the same name in both places"),
        ({"suite": "math-v1"}, "suite is 'math-v1', but suiteDefinition.name 'ours'"),
        ({"definition": {**OURS, "name": "math-v1"}, "suite": "math-v1"}, "must be none of chains-v1, math-v1, sums-v1"),
        ({"definition": {**OURS, "name": "chains-v1"}, "suite": "chains-v1"}, "must be none of chains-v1, math-v1"),
        ({"engine": "nano", "verl": None}, "suiteDefinition is for engine verl; engine nano makes the problems"),
        ({"definition": {**OURS, "extends": "math-v2"}}, "extends 'math-v2', which is no suite of this engine"),
        ({"definition": {"name": "ours"}}, "makes a suite of 0 benchmarks"),
        ({"definition": {"name": "ours", "benchmarks": [{"name": "x", "weight": 1}]}}, "'x' needs a source"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make(**change)


def test_metrics_of_the_objective_are_its_own() -> None:
    def on(metric: str) -> dict[str, Any]:
        return {"objective": {"metrics": [{"name": metric}]}}

    assert search(spec=on("house_acc1")).spec.objective.metrics[0].name == "house_acc1"
    assert search(spec=on("response_length"))
    for missing in ("minerva_acc1", "sums_acc1"):
        with pytest.raises(ValidationError, match=f"suite 'ours' has no metric '{missing}'; it has aime24_pass32"):
            search(spec=on(missing))


MANIFEST = """apiVersion: poise.dev/v1alpha1
kind: Search
metadata: {name: s}
spec:
  budget: {candidates: 4}
  evaluation:
    engine: verl
    suite: SUITE
    verl: {model: {path: org/model}, data: {train: [train.jsonl]}}
    suiteDefinition:
      name: ours
      extends: math-v1
      benchmarks:
        - name: house_acc1
          wieght: 0.1
          source: {files: [../house.jsonl]}
"""


def test_a_manifest_is_told_line_field_and_fix() -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_documents(MANIFEST)
    at = "spec.evaluation.suiteDefinition.benchmarks[0]"
    assert f"line 15 (Search s): {at}.wieght is no field here; did you mean weight?" in str(caught.value)
    assert f"line 16 (Search s): {at}.source.files[0] must be a file in the folder of the problems" in str(caught.value)
    assert "unknown suite" not in str(caught.value)
    with pytest.raises(
        InvalidInputError, match=r"line 8 .*spec.evaluation.suite unknown suite 'SUITE'.* define your own"
    ):
        load_documents(MANIFEST.partition("    suiteDefinition")[0])


def test_a_task_knows_suites_by_name_and_by_definition() -> None:
    definition = SuiteFile.model_validate(OURS)
    assert suite_of("sums-v1") is SUITES["sums-v1"]
    assert suite_of("ours", definition) is suite_of("ours", definition)
    with pytest.raises(InvalidInputError, match="unknown suite 'ours'; known: chains-v1, math-v1, sums-v1"):
        suite_of("ours")
    with pytest.raises(InvalidInputError, match="suiteDefinition: extends 'none'"):
        suite_of("ours", definition.model_copy(update={"extends": "none"}))


@given(st.data())
def test_weights_are_those_given_over_those_of_the_extended_suite(data: st.DataObject) -> None:
    """In 64ths, of which sums are exact: what is left to the last benchmark makes them sum to 1, and anything else is refused."""
    base = {"sums_acc1": 32, "sums_mean8": 32}
    changed = data.draw(st.dictionaries(st.sampled_from(sorted(base)), st.integers(0, 20)))
    added = data.draw(st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 7)))
    merged = {**base, **changed, **added}
    rest = 64 - sum(merged.values())
    wrong = data.draw(st.integers(-3, 3))
    last = rest + wrong
    assume(0 < last <= 64)
    given_weights = {**changed, **added, "last": last}
    document = {
        "name": "ours",
        "extends": "sums-v1",
        "benchmarks": [
            {"name": name, "weight": share / 64, **({} if name in base else {"source": SOURCE})}
            for name, share in data.draw(st.permutations(sorted(given_weights.items())))
        ],
    }
    if wrong:
        with pytest.raises(ValidationError, match="weights sum to"):
            search(document)
        return
    expected = {name: share / 64 for name, share in {**merged, "last": last}.items() if share}
    assert search(document).spec.evaluation.measured.weights() == expected

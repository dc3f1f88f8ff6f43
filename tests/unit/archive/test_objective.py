"""The objective that counts: where it comes from, its weights and bounds, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest

from poise_lib.archive.confirmation import conclude
from poise_lib.archive.digest import archive_digest
from poise_lib.archive.objective import objective_of, objective_status, sentences
from poise_lib.archive.utility import feasible, utility
from poise_lib.resources import Search
from poise_lib.resources.objective import Direction, Guard, Objective
from poise_lib.resources.search_status import Kept
from poise_lib.resources.suites import CHAINS_V1

BASELINE = {"overall": 50.0, "response_length": 24.0, "format_valid": 97.0, **dict.fromkeys(CHAINS_V1.weights(), 50.0)}
KEEP = "Shorten responses, keep accuracy"


def search(directive: str = "", **spec: Any) -> Search:
    return Search.model_validate(
        {"metadata": {"name": "s"}, "spec": {"budget": {"candidates": 4}, "directive": directive, **spec}}
    )


def test_shorter_at_the_same_accuracy_by_hand() -> None:
    objective = objective_of(search(KEEP), BASELINE)
    assert objective is not None
    # 0.8 * 50 - 0.2 * 100: the baseline's length is a hundred hundredths of itself.
    assert utility(BASELINE, objective, CHAINS_V1) == pytest.approx(20.0)
    shorter = {**BASELINE, "response_length": 21.6, "overall": 49.5}
    assert utility(shorter, objective, CHAINS_V1) == pytest.approx(0.8 * 49.5 - 0.2 * 90.0)
    assert feasible(shorter, objective)
    assert feasible({**shorter, "overall": 49.0}, objective)
    assert not feasible({**shorter, "overall": 48.9}, objective)
    # However much is gained by it: who asks for shorter responses is not given longer ones.
    assert not feasible({**shorter, "overall": 90.0, "response_length": 24.1}, objective)


def test_a_percent_of_length_is_worth_the_same_whatever_a_token_is_worth() -> None:
    """Four percent shorter make up for one point of overall, at 24 tokens and at 2,400."""
    for length in (24.0, 2400.0):
        objective = objective_of(search(KEEP), {**BASELINE, "response_length": length})
        assert objective is not None
        level = utility({"overall": 50.0, "response_length": length}, objective, CHAINS_V1)
        traded = utility({"overall": 49.0, "response_length": 0.96 * length}, objective, CHAINS_V1)
        assert level is not None
        assert traded == pytest.approx(level, abs=1e-3)


@pytest.mark.parametrize(
    ("directive", "weights"),
    [
        ("Shorter responses", {"overall": 0.8, "response_length": 0.2}),
        ("Shorter responses, better format", {"overall": 0.6, "response_length": 0.2, "format_valid": 0.2}),
        ("Improve pass@8", {"overall": 0.8, "plus8": 0.2 * 0.2 / 0.55, "times7": 0.2 * 0.2 / 0.55, "times5": 0.2 * 0.15 / 0.55}),
        ("Shorter; improve format, times7 and plus3",
         {"overall": 0.5, "response_length": 0.125, "format_valid": 0.125, "times7": 0.125, "plus3": 0.125}),
        ("Raise accuracy", {}),
        ("Keep the format", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_weights(directive: str, weights: dict[str, float]) -> None:
    objective = objective_of(search(directive), BASELINE)
    assert objective is not None
    assert {item.name: item.weight for item in objective.metrics} == pytest.approx(weights, abs=2e-6)


def test_bounds_on_both_sides_of_a_metric_are_one_constraint() -> None:
    objective = objective_of(search("Keep the length"), BASELINE)
    assert objective is not None
    (bound,) = objective.constraints
    assert (bound.minimum, bound.maximum) == pytest.approx((22.8, 25.2))


def test_the_stricter_of_two_bounds_holds_and_several_benchmarks_are_free_against_each_other() -> None:
    objective = objective_of(search("Improve times7, do not hurt times7 and raise pass@8"), BASELINE)
    assert objective is not None
    assert [(bound.metric, bound.minimum) for bound in objective.constraints] == [("times7", 50.0)]


def test_it_waits_for_the_baselines_scores_only_where_it_needs_them() -> None:
    assert objective_of(search(KEEP), {}) is None
    assert objective_of(search(KEEP), {"overall": 50.0}) is None
    assert objective_of(search("Raise the score"), {}) == Objective()


def test_an_explicit_objective_wins_and_that_is_told() -> None:
    spec = {"constraints": [{"metric": "format_valid", "minimum": 90}]}
    found = search(KEEP, objective=spec)
    assert objective_of(found, BASELINE) == found.spec.objective
    status = objective_status(found, BASELINE)
    assert status.source.value == "Spec"
    assert "spec.objective is given, so the directive changes no score" in status.text
    assert objective_status(search(objective=spec), BASELINE).text == ""


def test_the_status_tells_the_bound_in_numbers_once_the_baseline_is_scored() -> None:
    before, after = objective_status(search(KEEP), {}), objective_status(search(KEEP), BASELINE)
    assert (before.metrics, before.constraints) == ((), ())
    assert "keep overall from falling more than 1 below the baseline's;" in before.text
    assert "below the baseline's 50.0 (so at least 49.0)" in after.text
    assert "minimise response_length (weight 0.2" in after.text
    assert [(bound.metric, bound.minimum, bound.maximum) for bound in after.constraints] == [
        ("overall", 49.0, None),
        ("response_length", None, 24.0),
    ]


def test_a_directive_of_which_nothing_is_understood_is_told_with_the_way_out() -> None:
    status = objective_status(search("Write poems."), BASELINE)
    assert status.source.value == "Suite"
    assert "changes no score" in status.text
    assert "spec.objective" in status.text
    partly = " ".join(sentences(search(KEEP + ", write poems"), BASELINE))
    assert '"write poems"' in partly


def test_it_is_read_once() -> None:
    """A directive that is changed later leaves the candidates comparable, and is told."""
    old = search(KEEP)
    status = old.status.model_copy(update={"objective": objective_status(old, BASELINE)})
    for text, told in (("Lengthen responses", True), ("Shorten answers and keep the accuracy!", False), ("", True)):
        changed = search(text).model_copy(update={"status": status})
        assert objective_of(changed, BASELINE) == objective_of(old, BASELINE)
        assert ("changed after the search began" in objective_status(changed, BASELINE).text) is told
        assert archive_digest(changed, (), ()) == archive_digest(old, (), ())


def test_the_digest_knows_what_scores_follow_and_no_words() -> None:
    digests = {
        text: archive_digest(search(text), (), ()) for text in ("", "Beat GRPO.", "Write poems.", KEEP, "Shorter")
    }
    assert digests[""] == digests["Beat GRPO."] == digests["Write poems."]
    assert len({digests[""], digests[KEEP], digests["Shorter"]}) == 3
    assert archive_digest(search("KEEP the accuracy, SHORTEN answers"), (), ()) == digests[KEEP]


def test_an_objective_by_hand_has_the_digest_that_it_had() -> None:
    """Of a build before directives were read."""
    spec = {"metrics": [{"name": "overall", "weight": 0.5}, {"name": "format_valid", "weight": 0.5}]}
    assert "scale" not in str(search(objective=spec).spec.objective.to_document())


SHORTER = [-2.0, -2.4, -1.8, -2.2, -2.1, -1.9, -2.3, -2.0]
SAME = [0.3, -0.2, 0.1, -0.4, 0.2, 0.0, -0.1, 0.2]


@pytest.mark.parametrize(
    ("difference", "tolerance", "kept"),
    [(SAME, 1.0, Kept.KEPT), (SAME, 0.1, Kept.NOT_SHOWN), ([5 * x for x in SHORTER], 1.0, Kept.LOST)],
)  # fmt: skip
def test_each_metric_is_confirmed_and_what_is_kept_is_judged_by_its_interval(
    difference: list[float], tolerance: float, kept: Kept
) -> None:
    from scipy import stats

    overall = [50.0 + i for i in range(8)]
    ours = [a + b for a, b in zip(overall, difference, strict=True)]
    length = [24.0 + 0.1 * i for i in range(8)]
    (found,) = conclude(
        overall, {"c": ours}, 0.95, picked=1,
        baseline_metrics={"overall": overall, "response_length": length},
        arm_metrics={"c": {"overall": ours, "response_length": [a + b for a, b in zip(length, SHORTER, strict=True)]}},
        guards=(Guard(metric="overall", direction=Direction.MAXIMIZE, tolerance=tolerance),),
    )  # fmt: skip
    first, second = found.metrics
    assert (first.name, first.kept) == ("overall", kept)
    assert (second.name, second.kept) == ("response_length", None)
    expected = stats.ttest_1samp(SHORTER, 0.0).confidence_interval(1 - 0.05 / 2)
    assert (second.low, second.high) == pytest.approx((expected.low, expected.high))


def test_a_guard_against_rising_is_turned() -> None:
    length = [20.0 + i for i in range(8)]
    longer = [value + 4.0 + noise for value, noise in zip(length, SAME, strict=True)]
    (found,) = conclude(
        length, {"c": longer}, 0.95, picked=1, baseline_metrics={"response_length": length},
        arm_metrics={"c": {"response_length": longer}},
        guards=(Guard(metric="response_length", direction=Direction.MINIMIZE, tolerance=5.0, percent=True),),
    )  # fmt: skip
    assert found.metrics[0].kept is Kept.LOST

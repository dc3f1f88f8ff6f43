"""Confirmation: against SciPy's paired test, and with planted truths."""

import math
import random

import pytest
from scipy import stats

from poise_lib.archive.confirmation import conclude, detectable_difference
from poise_lib.resources.search import Verdict

BASELINE = [61.0, 63.5, 60.2, 64.1, 62.2, 61.7, 63.0, 60.9]
NOISE = [0.4, -0.7, 1.1, -0.2, 0.6, -1.0, 0.3, -0.5]


def shifted(amount: float) -> list[float]:
    """The baseline plus noise plus a true difference."""
    return [base + noise + amount for base, noise in zip(BASELINE, NOISE, strict=True)]


def test_one_arm_is_the_paired_t_interval() -> None:
    (result,) = conclude(BASELINE, {"c": shifted(1.0)}, 0.95, picked=1)
    expected = stats.ttest_rel(shifted(1.0), BASELINE).confidence_interval(0.95)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert result.difference == pytest.approx(1.0 + sum(NOISE) / 8)
    assert result.mean == pytest.approx(sum(shifted(1.0)) / 8)
    assert result.baseline_mean == pytest.approx(sum(BASELINE) / 8)
    assert result.seeds == 8


def test_several_arms_share_the_level() -> None:
    arms = {"c1": shifted(1.0), "c2": shifted(0.0), "c3": shifted(-2.0)}
    results = conclude(BASELINE, arms, 0.95, picked=3)
    assert [result.candidate for result in results] == ["c1", "c2", "c3"]
    for result, values in zip(results, arms.values(), strict=True):
        expected = stats.ttest_rel(values, BASELINE).confidence_interval(1 - 0.05 / 3)
        assert (result.low, result.high) == pytest.approx((expected.low, expected.high))
    assert [result.verdict for result in results] == [Verdict.BETTER, Verdict.NOT_SHOWN, Verdict.WORSE]


def test_the_correction_can_take_a_verdict_back() -> None:
    (alone,) = conclude(BASELINE, {"c": shifted(0.75)}, 0.95, picked=1)
    others = {f"o{i}": shifted(0.0) for i in range(9)}
    among_many = conclude(BASELINE, {"c": shifted(0.75)} | others, 0.95, picked=10)[0]
    assert alone.verdict is Verdict.BETTER
    assert among_many.verdict is Verdict.NOT_SHOWN


def test_an_arm_that_dropped_out_was_picked_all_the_same() -> None:
    whole = conclude(BASELINE, {"c1": shifted(0.75), "c2": shifted(0.0), "c3": shifted(0.0)}, 0.95, picked=3)
    left = conclude(BASELINE, {"c1": shifted(0.75)}, 0.95, picked=3)
    assert left == whole[:1]
    with pytest.raises(ValueError, match="2 arms, but only 1 were picked"):
        conclude(BASELINE, {"c1": shifted(0.75), "c2": shifted(0.0)}, 0.95, picked=1)


def test_pairing_sees_what_seeds_hide() -> None:
    wide = [10.0 * i for i in range(8)]
    (result,) = conclude(wide, {"c": [w + n + 2.0 for w, n in zip(wide, NOISE, strict=True)]}, 0.95, picked=1)
    assert result.verdict is Verdict.BETTER


def test_a_winner_by_luck_is_rarely_confirmed_and_a_true_one_mostly() -> None:
    rng = random.Random(7)
    lucky = confirmed = 0
    for _ in range(400):
        baseline = [rng.gauss(60, 2) for _ in range(8)]
        arms = {
            "same1": [base + rng.gauss(0, 1) for base in baseline],
            "same2": [base + rng.gauss(0, 1) for base in baseline],
            "true": [base + rng.gauss(3, 1) for base in baseline],
        }
        verdicts = {result.candidate: result.verdict for result in conclude(baseline, arms, 0.95, picked=3)}
        lucky += verdicts["same1"] is not Verdict.NOT_SHOWN or verdicts["same2"] is not Verdict.NOT_SHOWN
        confirmed += verdicts["true"] is Verdict.BETTER
    assert lucky <= 24  # the joint level allows 20 of 400 over three arms
    assert confirmed >= 396


def test_two_seeds_need_a_huge_difference() -> None:
    (close,) = conclude([60.0, 61.0], {"c": [62.0, 64.0]}, 0.95, picked=1)
    (far,) = conclude([60.0, 61.0], {"c": [90.0, 91.1]}, 0.95, picked=1)
    assert (close.verdict, far.verdict) == (Verdict.NOT_SHOWN, Verdict.BETTER)
    assert close.high - close.low == pytest.approx(2 * stats.t.ppf(0.975, 1) * 0.5)


@pytest.mark.parametrize(
    ("seeds", "difference", "verdict", "low", "high"),
    [
        (8, 2.0, Verdict.BETTER, 2.0, 2.0),
        (8, -2.0, Verdict.WORSE, -2.0, -2.0),
        (8, 0.0, Verdict.NOT_SHOWN, 0.0, 0.0),
        (2, 2.0, Verdict.NOT_SHOWN, 0.0, 4.0),
        (2, -2.0, Verdict.NOT_SHOWN, -4.0, 0.0),
    ],
)
def test_differences_that_do_not_vary_are_left_to_the_sign_test(
    seeds: int, difference: float, verdict: Verdict, low: float, high: float
) -> None:
    baseline = [60.0 + 0.1 * i for i in range(seeds)]
    (result,) = conclude(baseline, {"c": [value + difference for value in baseline]}, 0.95, picked=1)
    assert result.verdict is verdict
    assert (result.low, result.high) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0], [1.0, math.nan, 2.0], [1.0, math.inf, 2.0]])
def test_runs_that_cannot_be_paired_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match=r"^c: "):
        conclude([1.0, 2.0, 3.0], {"c": values}, 0.95, picked=1)
    with pytest.raises(ValueError, match="two or more pairs"):
        conclude([1.0], {"c": [2.0]}, 0.95, picked=1)


def test_nothing_to_confirm() -> None:
    assert conclude(BASELINE, {}, 0.95, picked=0) == ()


def test_the_detectable_difference_is_detected_as_often_as_it_says() -> None:
    difference = detectable_difference(1.5, 8)
    critical, shift = stats.t.ppf(0.975, 7), difference / (1.5 / math.sqrt(8))
    assert stats.nct.sf(critical, 7, shift) + stats.nct.cdf(-critical, 7, shift) == pytest.approx(0.8, abs=1e-6)


def test_the_detectable_difference_scales_and_shrinks_with_seeds() -> None:
    assert detectable_difference(3.0, 8) == pytest.approx(2 * detectable_difference(1.5, 8))
    assert detectable_difference(1.5, 16) < detectable_difference(1.5, 8) < detectable_difference(1.5, 4)
    assert detectable_difference(1.5, 8, confidence=1 - 0.05 / 3) > detectable_difference(1.5, 8)
    with pytest.raises(ValueError, match="at least two pairs"):
        detectable_difference(1.0, 1)

"""Early stopping: which records end a run, at which step, with which reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.evaluation.stopping import Stop, Watch
from poise_lib.evaluation.trajectory import ACCURACY, ENTROPY, FORMAT_VALID, GRAD_NORM, KL, LOSS, STEP
from poise_lib.resources.early_stop import EarlyStopping

Records = list[dict[str, float]]


def records(**metrics: Sequence[float]) -> Records:
    """Records of consecutive steps; keys are names of the trajectory's constants."""
    names = {"loss": LOSS, "grad": GRAD_NORM, "kl": KL, "entropy": ENTROPY, "valid": FORMAT_VALID, "accuracy": ACCURACY}
    count = len(next(iter(metrics.values())))
    return [{STEP: float(step), **{names[key]: row[step] for key, row in metrics.items()}} for step in range(count)]


def run(trajectory: Records, steps: int = 100, reference: Records | None = None, **settings: Any) -> Stop | None:
    """The first stop."""
    watch = Watch(EarlyStopping.model_validate(settings), steps, reference or [])
    return next((stop for stop in map(watch.see, trajectory) if stop is not None), None)


@pytest.mark.parametrize("metric", ["loss", "grad"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_step_that_is_not_finite_ends_a_run(metric: str, bad: float) -> None:
    stop = run(records(**{metric: [0.1, 0.2, bad, 0.3]}))
    assert stop is not None
    assert (stop.reason, stop.step) == ("NonFinite", 3)
    assert str(bad) in stop.message
    assert run(records(**{metric: [0.1, 0.2, bad, 0.3]}), nonFinite=False) is None


@pytest.mark.parametrize(
    ("kl", "ended"),
    [
        ([0.1, 6.0, 6.0, 6.0], 4),
        ([6.0, 6.0, 4.0, 6.0, 6.0], None),
        ([0.1, 6.0, math.nan, 7.0], 4),
        ([5.0, 5.0, 5.0, 5.0], None),
    ],
)
def test_kl_above_its_limit_three_steps_in_a_row(kl: list[float], ended: int | None) -> None:
    stop = run(records(kl=kl))
    assert (stop.step if stop else None) == ended
    if stop is not None:
        assert stop.reason == "KLBlowUp"
        assert "above 5" in stop.message


@pytest.mark.parametrize(
    ("metric", "values", "reason", "ended"),
    [
        # 0.02 of 0.5 is 0.01; five steps in a row.
        ("entropy", [0.5, 0.009, 0.009, 0.009, 0.009, 0.009], "EntropyCollapse", 6),
        ("entropy", [0.5, 0.009, 0.009, 0.011, 0.009, 0.009], "EntropyCollapse", None),
        ("entropy", [0.5, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05], "EntropyCollapse", None),
        # Half of 0.8 is 0.4.
        ("valid", [0.8, 0.39, 0.39, 0.39, 0.39, 0.39], "FormatCollapse", 6),
        ("valid", [0.8, 0.4, 0.4, 0.4, 0.4, 0.4], "FormatCollapse", None),
        ("valid", [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0], "FormatCollapse", None),
    ],
)
def test_what_falls_below_a_share_of_its_first_value(
    metric: str, values: list[float], reason: str, ended: int | None
) -> None:
    stop = run(records(**{metric: values}))
    assert (stop.step if stop else None) == ended
    assert stop is None or stop.reason == reason


def test_a_run_far_below_its_parent_at_a_rung_is_hopeless_and_the_numbers_are_told() -> None:
    parent = records(accuracy=[0.30, 0.32, 0.34, 0.36, 0.38, 0.40, 0.42, 0.44])
    # The rungs of 8 steps are 2 and 4.  After 2 there are fewer than three steps to compare.  After 4 the means over
    # steps 2 to 4 are (32 + 34 + 36) / 3 = 34 for the parent, and 20 here.
    low = records(accuracy=[0.05, 0.20, 0.20, 0.20, 0.20, 0.20, 0.20, 0.20])
    stop = run(low, 8, parent)
    assert stop is not None
    assert (stop.reason, stop.step) == ("Hopeless", 4)
    assert "20.0 against the parent's 34.0 over steps 2, 3, 4" in stop.message
    assert run(records(accuracy=[0.0, 0.24, 0.25, 0.24]), 8, parent) is None, "24.3 is not more than 10 points below 34"
    assert run(low, 8, []) is None, "no parent, no comparison"
    assert run(low, 8, parent[:3]) is None, "its curve does not reach the rung"
    assert run(low, 8, parent, hopeless={"enabled": False}) is None


def test_a_thinned_reference_is_compared_at_the_steps_that_it_has() -> None:
    parent = [{STEP: float(step), ACCURACY: 0.5} for step in (0, 8, 16, 24, 32, 40, 49, 57, 65, 73, 81, 89, 99)]
    flat = records(accuracy=[0.3] * 100)
    stop = run(flat, 100, parent)
    assert stop is not None
    assert stop.step == 25
    assert "steps 9, 17, 25" in stop.message
    late = records(accuracy=[0.5] * 30 + [0.3] * 70)
    stop = run(late, 100, parent)
    assert stop is not None
    assert stop.step == 50, "the second rung sees what the first could not"


def test_nothing_ends_a_run_when_early_stopping_is_off() -> None:
    broken = records(loss=[math.nan] * 9, kl=[99.0] * 9, entropy=[1.0, *[0.0] * 8], valid=[1.0, *[0.0] * 8])
    assert run(broken, enabled=False) is None


def test_at_the_last_step_only_what_is_not_finite_ends_a_run() -> None:
    collapsed = records(entropy=[0.5, *[0.001] * 5])
    assert run(collapsed, 6) is None
    assert run(collapsed, 7) is not None
    stop = run(records(loss=[0.1, math.nan]), 2)
    assert stop is not None
    assert stop.message == "ended after step 2 of 2: actor/pg_loss is nan"


def test_broken_goes_before_hopeless() -> None:
    parent = records(accuracy=[0.9] * 4)
    stop = run(records(accuracy=[0.9, 0.0, 0.0, 0.0], loss=[0.0, 0.0, 0.0, math.nan]), 8, parent)
    assert stop is not None
    assert stop.reason == "NonFinite"


@given(st.lists(st.sampled_from([0.5, 0.009, 0.2]), min_size=8, max_size=20), st.integers(1, 7))
def test_a_run_that_goes_on_from_a_checkpoint_ends_where_an_unbroken_one_does(values: list[float], back: int) -> None:
    trajectory = records(entropy=values)
    watch = Watch(EarlyStopping(), 100)
    seen = [watch.see(record) for record in trajectory[:8]]
    if any(seen):
        return
    again = trajectory[8 - back :]  # the last steps are trained once more
    stop = next((found for found in map(watch.see, again) if found is not None), None)
    assert stop == run(trajectory)

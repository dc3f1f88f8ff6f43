"""Settings of early stopping."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from poise_lib.resources.early_stop import EarlyStopping


def switches(rules: EarlyStopping) -> dict[str, bool]:
    return {
        "nonFinite": rules.non_finite,
        "kl": rules.kl.enabled,
        "entropy": rules.entropy.enabled,
        "format": rules.format.enabled,
        "hopeless": rules.hopeless.enabled,
    }


def test_which_rules_are_left_for_which_run() -> None:
    rules = EarlyStopping()
    assert set(switches(rules).values()) == {True}
    assert [name for name, on in switches(rules.without_comparison()).items() if not on] == ["hopeless"]
    assert [name for name, on in switches(rules.only_non_finite()).items() if on] == ["nonFinite"]


@pytest.mark.parametrize("rungs", [[0.0], [0.5, 1.0], [-0.25]])
def test_a_rung_outside_the_run_is_refused(rungs: list[float]) -> None:
    with pytest.raises(ValidationError, match="must lie between 0 and 1"):
        EarlyStopping.model_validate({"hopeless": {"rungs": rungs}})

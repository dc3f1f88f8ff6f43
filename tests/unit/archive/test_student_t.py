"""Quantiles and power against SciPy's."""

import pytest
from scipy import stats

from poise_lib.archive import student_t


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 15, 63, 500])
@pytest.mark.parametrize("probability", [0.001, 0.3, 0.5, 0.9, 0.975, 0.99166, 0.9999])
def test_quantiles(probability: float, degrees: int) -> None:
    expected = stats.t.ppf(probability, degrees)
    assert student_t.quantile(probability, degrees) == pytest.approx(expected, rel=1e-9, abs=1e-9)
    assert student_t.cdf(expected, degrees) == pytest.approx(probability, rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 4, 7, 30])
@pytest.mark.parametrize("shift", [0.5, 2.0, 4.0])
def test_power(shift: float, degrees: int) -> None:
    critical = stats.t.ppf(0.975, degrees)
    expected = stats.nct.sf(critical, degrees, shift) + stats.nct.cdf(-critical, degrees, shift)
    assert student_t.power(shift, degrees, 0.95) == pytest.approx(expected, abs=1e-6)


def test_without_a_shift_the_power_is_the_level() -> None:
    assert student_t.power(0.0, 7, 0.95) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize(("probability", "degrees"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_there_is_no_such_quantile(probability: float, degrees: int) -> None:
    with pytest.raises(ValueError, match="no quantile"):
        student_t.quantile(probability, degrees)


def test_power_below_the_level_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="power must lie between"):
        student_t.shift_for_power(0.01, 7, 0.95)

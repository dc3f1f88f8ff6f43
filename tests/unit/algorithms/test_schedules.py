"""Controllers: coefficients that follow the metrics of past steps."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch

from poise_lib.algorithms import registry
from poise_lib.algorithms.contract import Algorithm
from tests.unit.algorithms.builders import batch_of, loss_inputs_of


def next_coefficients(algorithm: Algorithm, *entropies: float, **hyper: float) -> Mapping[str, float]:
    assert algorithm.schedule is not None
    return algorithm.schedule([{"actor/entropy": value} for value in entropies], algorithm.hyper(hyper))


def entropy_slope(algorithm: Algorithm, coefficients: Mapping[str, float], step: int = 0, **overrides: float) -> float:
    """The loss's slope in the entropy of a token: minus the weight of the bonus."""
    batch = batch_of(algorithm)
    hyper = algorithm.hyper(overrides)
    inputs = loss_inputs_of(
        algorithm, algorithm.advantages(batch, hyper), batch.response_mask, coefficients=coefficients, step=step
    )
    loss = algorithm.policy_loss(inputs, hyper).loss.sum()
    assert inputs.entropy is not None
    (slope,) = torch.autograd.grad(loss, inputs.entropy)
    inside = slope[batch.response_mask]
    torch.testing.assert_close(inside, inside[0].expand_as(inside))
    assert not slope[~batch.response_mask].any()
    return inside[0].item()


def test_vm_av_bonus_follows_the_distance_from_half_the_first_entropy() -> None:
    """It starts at 3 nats, so that the target is 1.5; what lay between does not count."""
    algorithm = registry.load("vm-av")
    assert next_coefficients(algorithm, 3.0, 2.0, 1.5)["entropy_coef"] == pytest.approx(0.001)  # on target
    assert next_coefficients(algorithm, 3.0, 2.0, 0.0)["entropy_coef"] == pytest.approx(0.005)  # collapsed: 1 + gain
    assert next_coefficients(algorithm, 3.0, 2.0, 0.75)["entropy_coef"] == pytest.approx(0.003)  # half way
    assert next_coefficients(algorithm, 3.0, 1.0, 2.9)["entropy_coef"] == 0.0  # far above


def test_vm_av_uses_its_coefficient() -> None:
    algorithm = registry.load("vm-av")
    assert entropy_slope(algorithm, {}) == pytest.approx(-0.001)
    assert entropy_slope(algorithm, {"entropy_coef": 0.004}) == pytest.approx(-0.004)


def test_vm_av_control_off_is_a_constant_bonus() -> None:
    algorithm = registry.load("vm-av")
    for last in (0.0, 0.5, 3.0):
        assert next_coefficients(algorithm, 2.0, last, entropy_gain=0.0)["entropy_coef"] == pytest.approx(0.001)


def test_dace_target_is_annealed() -> None:
    """Half of the first entropy is left. At the first step the target is 0.8 of it, at the last 0.2."""
    algorithm = registry.load("dace")
    coefficients = next_coefficients(algorithm, 2.0, 3.0, 1.0)
    assert coefficients == {"entropy_share": 0.5}
    assert entropy_slope(algorithm, coefficients, step=0) == pytest.approx(-0.005 * (0.8 - 0.5) / 0.8)
    assert entropy_slope(algorithm, coefficients, step=3) == pytest.approx(-0.005 * (0.6 - 0.5) / 0.6)
    assert entropy_slope(algorithm, coefficients, step=9) == 0.0
    assert entropy_slope(algorithm, {"entropy_share": 0.1}, step=9) == pytest.approx(-0.005 * (0.2 - 0.1) / 0.2)


def test_dace_takes_all_entropy_for_left_at_first() -> None:
    """Before the first step there is no share; with a target above 1 the bonus is on nevertheless."""
    algorithm = registry.load("dace")
    assert entropy_slope(algorithm, {}) == 0.0
    assert entropy_slope(algorithm, {}, target_start=1.25) == pytest.approx(-0.005 * 0.25 / 1.25)


@pytest.mark.parametrize("name", ["vm-av", "dace"])
@pytest.mark.parametrize("history", [[], [{}], [{"actor/grad_norm": 1.0}], [{"actor/entropy": 0.0}] * 3])
def test_without_entropy_the_defaults_hold(name: str, history: list[dict[str, float]]) -> None:
    algorithm = registry.load(name)
    assert algorithm.schedule is not None
    assert algorithm.schedule(history, algorithm.hyper()) == {}


@pytest.mark.parametrize("name", ["vm-av", "dace"])
def test_a_step_without_entropy_counts_as_neutral(name: str) -> None:
    algorithm = registry.load(name)
    assert algorithm.schedule is not None
    coefficients = algorithm.schedule([{"actor/entropy": 2.0}, {}], algorithm.hyper())
    assert coefficients in ({"entropy_coef": 0.001}, {"entropy_share": 1.0})

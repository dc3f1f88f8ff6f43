"""Group statistics and token reductions, against NumPy, for groups of any size in any order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import LossInputs

samples = st.lists(st.tuples(st.integers(-2, 3), st.floats(-4, 4, width=16), st.booleans()), min_size=1, max_size=24)
"""(group, value, selected) of each sample."""


def unpack(drawn: list[tuple[int, float, bool]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    group, values, where = zip(*drawn, strict=True)
    return torch.tensor(group), torch.tensor(values, dtype=torch.float32), torch.tensor(where)


@given(samples)
def test_group_statistics(drawn: list[tuple[int, float, bool]]) -> None:
    group, values, where = unpack(drawn)
    total, count = ops.group_sum(values, group, where), ops.group_count(group, where)
    mean, largest = ops.group_mean(values, group, where), ops.group_max(values, group)
    for index in range(len(drawn)):
        members = group == group[index]
        chosen = values[members & where].double().numpy()
        assert count[index].item() == len(chosen)
        assert total[index].item() == pytest.approx(chosen.sum(), abs=1e-4)
        assert mean[index].item() == pytest.approx(chosen.mean() if len(chosen) else 0.0, abs=1e-4)
        assert largest[index].item() == values[members].max().item()


@given(samples, st.sampled_from([0, 1]))
def test_group_deviation(drawn: list[tuple[int, float, bool]], ddof: int) -> None:
    group, values, where = unpack(drawn)
    actual = ops.group_std(values, group, where, ddof)
    for index in range(len(drawn)):
        chosen = values[(group == group[index]) & where].double().numpy()
        expected = np.std(chosen, ddof=ddof) if len(chosen) > ddof else 0.0
        assert actual[index].item() == pytest.approx(expected, abs=2e-3)


@given(samples, st.sampled_from([0.0, 0.5, 1.0]))
def test_group_standardised(drawn: list[tuple[int, float, bool]], power: float) -> None:
    group, values, where = unpack(drawn)
    actual = ops.group_standardised(values, group, where, eps_inside=0.01, eps_outside=0.1, power=power)
    for index in range(len(drawn)):
        chosen = values[(group == group[index]) & where].double().numpy()
        expected = 0.0
        if where[index]:
            expected = (values[index].item() - chosen.mean()) / (np.sqrt(chosen.var() + 0.01) + 0.1) ** power
        assert actual[index].item() == pytest.approx(expected, abs=1e-3)


def test_group_standardised_without_any_epsilon() -> None:
    """A uniform group has the denominator 0, and gets 0."""
    values = ops.group_standardised(torch.tensor([1.0, 1.0, 0.0, 2.0]), torch.tensor([0, 0, 1, 1]))
    assert values.tolist() == [0.0, 0.0, -1.0, 1.0]


@given(samples)
def test_leave_one_out_mean(drawn: list[tuple[int, float, bool]]) -> None:
    group, values, _ = unpack(drawn)
    actual = ops.leave_one_out_mean(values, group)
    for index in range(len(drawn)):
        others = [values[i].item() for i in range(len(drawn)) if group[i] == group[index] and i != index]
        assert actual[index].item() == pytest.approx(np.mean(others) if others else 0.0, abs=1e-4)


def test_masked_reductions_ignore_what_stands_outside() -> None:
    values = torch.tensor([[1.0, 2.0, torch.nan], [4.0, torch.inf, torch.nan], [torch.nan, torch.nan, torch.nan]])
    mask = torch.tensor([[True, True, False], [True, False, False], [False, False, False]])
    assert ops.sequence_mean(values, mask).tolist() == [1.5, 4.0, 0.0]
    assert ops.masked_mean(values, mask).item() == pytest.approx(7 / 3)
    assert ops.masked_mean(values, torch.zeros_like(mask)).item() == 0.0
    assert ops.masked(values, mask).tolist() == [[1.0, 2.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    assert ops.spread(torch.tensor([3.0, -1.0, 2.0]), mask).tolist() == [[3.0, 3.0, 0.0], [-1.0, 0.0, 0.0], [0.0] * 3]


def test_log_ratio_and_kl() -> None:
    new, old = torch.tensor([[-1.0, -2.0, -9.0]]), torch.tensor([[-1.5, -2.0, -1.0]])
    mask = torch.tensor([[True, True, False]])
    assert ops.log_ratio(new, old, mask).tolist() == [[0.5, 0.0, 0.0]]
    assert ops.kl_k1(new, old, mask).tolist() == [[0.5, 0.0, 0.0]]
    torch.testing.assert_close(ops.kl_k3(new, old, mask), torch.tensor([[np.exp(-0.5) - 0.5, 0.0, 0.0]]).float())
    assert ops.log_ratio(new + 1000, old, mask).max().item() == 20.0


def test_k3_is_an_unbiased_estimate_of_the_kl() -> None:
    """Over all tokens of a small vocabulary, weighted by their probability, both estimates give the KL itself."""
    policy, reference = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    mask = torch.ones(1, 3, dtype=torch.bool)
    exact = (policy * (policy / reference).log()).sum()
    for estimate in (ops.kl_k1, ops.kl_k3):
        values = estimate(policy.log().unsqueeze(0), reference.log().unsqueeze(0), mask)
        torch.testing.assert_close((policy * values[0]).sum(), exact)


def test_what_needs_does_not_name_is_reported() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    values = torch.zeros(1, 2)
    for estimate in (ops.kl_k1, ops.kl_k3):
        with pytest.raises(ValueError, match='name "reference" in NEEDS'):
            estimate(values, None, mask)
    with pytest.raises(ValueError, match='name "entropy" in NEEDS'):
        ops.token_entropy(None, mask)


def test_clipped_objective_has_only_the_terms_asked_for() -> None:
    mask = torch.tensor([[True, True, False]])
    new, old = torch.tensor([[-1.0, -2.0, 0.0]]), torch.tensor([[-1.2, -2.0, 0.0]])
    reference, entropy = torch.tensor([[-1.0, -1.0, 0.0]]), torch.tensor([[0.5, 0.7, 0.0]])
    advantages = torch.tensor([[1.0, 1.0, 0.0]])
    bare = LossInputs(new, old, None, None, advantages, mask, None, {}, 0, 1)
    full = LossInputs(new, old, reference, None, advantages, mask, entropy, {}, 0, 1)
    surrogate = torch.tensor([[-1.2, -1.0, 0.0]])  # e^0.2 = 1.22 is clipped
    output = ops.clipped_objective(bare, 0.2, 0.2)
    torch.testing.assert_close(output.loss, surrogate)
    assert set(output.metrics) == {"clip_fraction"}
    torch.testing.assert_close(ops.clipped_objective(full, 0.2, 0.2).loss, surrogate)
    output = ops.clipped_objective(full, 0.2, 0.2, kl_coef=0.5, entropy_coef=0.1)
    kl = torch.tensor([[0.0, float(np.e) - 2.0, 0.0]])
    torch.testing.assert_close(output.loss, surrogate + 0.5 * kl - 0.1 * entropy)
    torch.testing.assert_close(output.metrics["kl"], kl)

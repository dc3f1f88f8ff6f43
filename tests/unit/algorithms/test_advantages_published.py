"""Advantages of the published algorithms, against hand-worked values and against NumPy written from the papers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from poise_lib.algorithms import registry
from tests.unit.algorithms.builders import MAX_LENGTH, ROWS, Members, Row, batch_of, outcomes_of, per_sample

PEERS = ("grpo", "gspo", "gmpo", "sapo", "aspo")
"""Those whose advantage is GRPO's."""


def advantages(name: str, rows: tuple[Row, ...] = ROWS, **hyper: float) -> np.ndarray:
    algorithm = registry.load(name)
    batch = batch_of(algorithm, rows, hyper)
    return per_sample(algorithm.advantages(batch, algorithm.hyper(hyper)), batch.response_mask)


def standardised(values: np.ndarray, members: Members, eps: float, ddof: int = 0) -> np.ndarray:
    """(v - mean) / sqrt(var + eps) within groups, one sample at a time."""
    out = np.zeros(members.size)
    for sample in range(members.size):
        group = values[members.of(sample)]
        variance = group.var(ddof=ddof) if len(group) > ddof else 0.0
        out[sample] = (values[sample] - group.mean()) / math.sqrt(variance + eps)
    return out


@pytest.mark.parametrize("name", PEERS)
def test_group_relative_by_hand(name: str) -> None:
    """One right of four: mean 1/4, variance 3/16, so the right one has sqrt(3) and the wrong ones -1/sqrt(3)."""
    rows = (Row(0, True, True, 4), Row(0, False, True, 4), Row(0, False, True, 9), Row(0, False, False, 2))
    expected = [math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3), -1 / math.sqrt(3)]
    np.testing.assert_allclose(advantages(name, rows), expected, rtol=1e-5)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("ddof", [0, 1])
def test_group_relative(name: str, ddof: int) -> None:
    members = Members()
    expected = standardised(members.correct, members, eps=1e-6, ddof=ddof)
    np.testing.assert_allclose(advantages(name, ddof=float(ddof)), expected, atol=1e-5)


@pytest.mark.parametrize("name", PEERS)
def test_uniform_and_lone_groups_say_nothing(name: str) -> None:
    values = advantages(name)
    uniform = [index for index, row in enumerate(ROWS) if row.group != 3]
    np.testing.assert_array_equal(values[uniform], 0.0)


def test_grpo_as_verl_defines_it() -> None:
    """Sample deviation, epsilon outside the root, and a lone response keeps its reward."""
    values = advantages("grpo", eps=1e-8, eps_outside=1e-2, ddof=1.0, lone_reward=1.0)
    members = Members()
    for sample in range(members.size):
        group = members.correct[members.of(sample)]
        if len(group) == 1:
            expected = group[0]
        else:
            expected = (members.correct[sample] - group.mean()) / (math.sqrt(group.var(ddof=1) + 1e-8) + 1e-2)
        assert values[sample] == pytest.approx(expected, abs=1e-5)


def test_dapo_rewards() -> None:
    """The limit is 20 and the buffer 4 tokens: no penalty up to 16, all of it at 20, a half at 18."""
    rows = (
        Row(0, True, True, 3),
        Row(0, True, True, 16),
        Row(0, True, True, 18),
        Row(0, False, True, 18),
        Row(0, False, False, 20),
    )
    algorithm = registry.load("dapo")
    assert algorithm.rewards is not None
    assert algorithm.rewards(outcomes_of(rows), algorithm.hyper()).tolist() == [1.0, 1.0, 0.5, -1.5, -2.0]


def test_dapo_advantages() -> None:
    members = Members()
    excess = np.clip((members.length - 0.5 * MAX_LENGTH) / (0.5 * MAX_LENGTH), 0.0, 1.0)
    reward = 2.0 * members.correct - 1.0 - excess
    expected = standardised(reward, members, eps=1e-6)
    np.testing.assert_allclose(advantages("dapo", overlong_buffer=0.5), expected, atol=1e-4)


def test_dr_grpo() -> None:
    members = Members()
    expected = [members.correct[i] - members.correct[members.of(i)].mean() for i in range(members.size)]
    np.testing.assert_allclose(advantages("dr-grpo"), expected, atol=1e-6)


def test_dr_grpo_with_its_biases_back() -> None:
    members = Members()
    expected = standardised(members.correct, members, eps=1e-6) * MAX_LENGTH / members.length
    np.testing.assert_allclose(advantages("dr-grpo", normalise=1.0, length_bias=1.0), expected, atol=1e-4)


def test_dr_grpo_length_bias_by_hand() -> None:
    """The limit is 20: a response of one token weighs 20, one of ten tokens 2."""
    rows = (Row(0, True, True, 1), Row(0, False, True, 10))
    np.testing.assert_allclose(advantages("dr-grpo", rows, length_bias=1.0), [10.0, -1.0], rtol=1e-6)


@pytest.mark.parametrize("kl_coef", [0.0, 0.03, 0.5])
def test_rloo(kl_coef: float) -> None:
    algorithm = registry.load("rloo")
    batch = batch_of(algorithm)
    assert batch.ref_logprobs is not None
    drift = (batch.old_logprobs - batch.ref_logprobs).double().numpy().sum(axis=1)
    members = Members()
    reward = members.correct - kl_coef * drift
    expected = np.zeros(members.size)
    for sample in range(members.size):
        others = [other for other in members.of(sample) if other != sample]
        expected[sample] = reward[sample] - (reward[others].mean() if others else 0.0)
    np.testing.assert_allclose(advantages("rloo", kl_coef=kl_coef), expected, atol=1e-5)


def test_rloo_by_hand() -> None:
    """One right of three: its others have mean 0; each wrong one's others have mean 1/2."""
    rows = (Row(5, True, True, 4), Row(5, False, True, 4), Row(5, False, True, 9))
    np.testing.assert_allclose(advantages("rloo", rows, kl_coef=0.0), [1.0, -0.5, -0.5], atol=1e-6)


@pytest.mark.parametrize("baseline", [0.0, 1.0])
def test_reinforce_pp(baseline: float) -> None:
    """Returns-to-go by an explicit double loop, standardised over the tokens of the batch."""
    algorithm = registry.load("reinforce-pp")
    hyper = algorithm.hyper({"group_baseline": baseline, "kl_coef": 0.05})
    batch = batch_of(algorithm)
    assert batch.ref_logprobs is not None
    drift = (batch.old_logprobs - batch.ref_logprobs).double().numpy()
    members = Members()
    returns: dict[tuple[int, int], float] = {}
    for sample, row in enumerate(ROWS):
        reward = members.correct[sample] - baseline * members.correct[members.of(sample)].mean()
        for token in range(row.length):
            returns[sample, token] = reward - 0.05 * sum(drift[sample, later] for later in range(token, row.length))
    values = np.array(list(returns.values()))
    actual = algorithm.advantages(batch, hyper)
    for (sample, token), value in returns.items():
        assert actual[sample, token].item() == pytest.approx((value - values.mean()) / values.std(), abs=1e-4)
    assert not actual[~batch.response_mask].any()


def test_reinforce_pp_in_a_batch_without_any_difference() -> None:
    rows = tuple(Row(group, False, True, 4) for group in (0, 0, 1, 1))
    algorithm = registry.load("reinforce-pp")
    values = algorithm.advantages(batch_of(algorithm, rows), algorithm.hyper({"kl_coef": 0.0}))
    torch.testing.assert_close(values, torch.zeros_like(values))

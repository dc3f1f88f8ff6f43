"""Advantages and rewards of the algorithms of arXiv:2603.23951, against hand-worked values and sample-by-sample NumPy.

Every reference walks through ``ROWS``, which hold all regimes: mixed, all-fail and all-correct groups, malformed
responses, groups of one, short and long responses.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from poise_lib.algorithms import registry
from tests.unit.algorithms.builders import ROWS, Members, Row, batch_of, outcomes_of, per_sample

MEMBERS = Members()


def advantages(name: str, rows: tuple[Row, ...] = ROWS, **hyper: float) -> np.ndarray:
    algorithm = registry.load(name)
    batch = batch_of(algorithm, rows, hyper)
    return per_sample(algorithm.advantages(batch, algorithm.hyper(hyper)), batch.response_mask)


def each_sample(value: Callable[[int, np.ndarray], float]) -> np.ndarray:
    """``value(sample, indices of its group)`` for every row."""
    return np.array([value(sample, MEMBERS.of(sample)) for sample in range(MEMBERS.size)])


def hierarchical(penalty: float) -> np.ndarray:
    return np.where(MEMBERS.correct == 1, 1.0, np.where(MEMBERS.valid, 0.0, -penalty))


def z_score(values: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    return each_sample(lambda i, g: (values[i] - values[g].mean()) / math.sqrt(values[g].var() + eps))


def brevity_among_correct(eps: float = 1e-6) -> np.ndarray:
    """-length standardised among the correct of the group; 0 for the others."""

    def value(sample: int, group: np.ndarray) -> float:
        if not MEMBERS.correct[sample]:
            return 0.0
        peers = MEMBERS.length[[i for i in group if MEMBERS.correct[i]]]
        return float((peers.mean() - MEMBERS.length[sample]) / math.sqrt(peers.var() + eps))

    return each_sample(value)


@pytest.mark.parametrize(("name", "penalty"), [("rf", 0.2), ("bn", 0.2), ("av", 1.0), ("msa", 0.5)])
def test_reward_hierarchy(name: str, penalty: float) -> None:
    """Right over wrong over malformed, by the documented margin."""
    algorithm = registry.load(name)
    rows = (Row(0, True, True, 3), Row(0, False, True, 3), Row(0, False, False, 3))
    assert algorithm.rewards is not None
    values = algorithm.rewards(outcomes_of(rows), algorithm.hyper())
    torch.testing.assert_close(values, torch.tensor([1.0, 0.0, -penalty]))


def test_rf() -> None:
    """Damped group scores; in groups without a success each token is pulled to the reference besides."""
    algorithm = registry.load("rf")
    batch, hyper = batch_of(algorithm), algorithm.hyper()
    assert batch.ref_logprobs is not None
    reward = hierarchical(0.2)
    relative = each_sample(lambda i, g: (reward[i] - reward[g].mean()) / (math.sqrt(reward[g].var() + 1e-6) + 0.1))
    failed = each_sample(lambda i, g: float(MEMBERS.correct[g].sum() == 0)).astype(bool)
    assert set(MEMBERS.group[failed]) == {7, 20, 22}
    drift = (batch.old_logprobs - batch.ref_logprobs).double().numpy()
    expected = (relative[:, None] - 0.05 * np.where(failed[:, None], drift, 0.0)) * batch.response_mask.numpy()
    np.testing.assert_allclose(algorithm.advantages(batch, hyper).double().numpy(), expected, atol=1e-5)


def test_rf_damping_caps_rare_successes() -> None:
    """One right of eight has 2.65 in GRPO; a damping of 0.1 takes it to 0.875 / (0.3307 + 0.1) = 2.03."""
    rows = (Row(0, True, True, 4), *[Row(0, False, True, 4)] * 7)
    assert advantages("rf", rows, damping=0.0)[0] == pytest.approx(math.sqrt(7), abs=1e-3)
    assert advantages("rf", rows)[0] == pytest.approx(0.875 / (math.sqrt(7) / 8 + 0.1), abs=1e-4)


@pytest.mark.parametrize("bound", [3.0, 1.0])
@pytest.mark.parametrize("eps", [1e-6, 1e-2])
def test_bn(bound: float, eps: float) -> None:
    reward = hierarchical(0.2)
    raw = each_sample(lambda i, g: reward[i] - reward[g].mean())
    expected = np.clip(raw / (math.sqrt((raw**2).mean()) + eps), -bound, bound)
    assert (np.abs(expected) == 1.0).any() == (bound == 1.0)
    np.testing.assert_allclose(advantages("bn", bound=bound, eps=eps), expected, atol=1e-4)


@pytest.mark.parametrize("sigma_min", [0.1, 0.6])
def test_av(sigma_min: float) -> None:
    reward = hierarchical(1.0)
    expected = each_sample(
        lambda i, g: (
            (reward[i] - reward[g].mean()) / max(math.sqrt((reward[g] ** 2).mean() - reward[g].mean() ** 2), sigma_min)
        )
    )
    np.testing.assert_allclose(advantages("av", sigma_min=sigma_min), expected, atol=1e-5)


def test_av_is_grpo_for_binary_rewards_above_the_floor() -> None:
    np.testing.assert_allclose(advantages("av", format_penalty=0.0), advantages("grpo", eps=1e-8), atol=1e-4)


def test_vm_av() -> None:
    """Every group by its valid members only, with half a success and half a failure imagined (a = b = 1/2)."""

    def value(sample: int, group: np.ndarray) -> float:
        if not MEMBERS.valid[sample]:
            return -3.0
        inside = [i for i in group if MEMBERS.valid[i]]
        mean = (MEMBERS.correct[inside].sum() + 0.5) / (len(inside) + 1.0)
        signal = (MEMBERS.correct[sample] - mean) / max(math.sqrt(mean * (1 - mean)), 0.1)
        relative = min(max(MEMBERS.length[sample] / MEMBERS.length[inside].mean(), 0.5), 2.0)
        return float(signal / relative) if signal < 0 else float(signal)

    np.testing.assert_allclose(advantages("vm-av"), each_sample(value), atol=1e-5)


def test_vm_av_by_hand() -> None:
    """Valid: one right, one wrong, so mu = sigma = 1/2; lengths 12 and 4, so the wrong one's ratio is 1/2."""
    rows = (Row(0, True, True, 12), Row(0, False, True, 4), Row(0, False, False, 16))
    np.testing.assert_allclose(advantages("vm-av", rows), [1.0, -2.0, -3.0], atol=1e-6)


def test_vm_av_relative_length_is_bounded_from_above() -> None:
    """Lengths 1, 1 and 16 have the mean 6: the long failure has 2.67 of it, and is excused by no more than 2."""
    rows = (Row(0, True, True, 1), Row(0, True, True, 1), Row(0, False, True, 16))
    mean = 2.5 / 4
    expected = -mean / math.sqrt(mean * (1 - mean)) / 2
    assert advantages("vm-av", rows)[-1] == pytest.approx(expected, abs=1e-5)


def test_vm_av_with_responses_of_one_token() -> None:
    """Relative lengths are 1, so nothing is excused."""
    rows = (Row(0, True, True, 1), Row(0, False, True, 1))
    np.testing.assert_allclose(advantages("vm-av", rows), [1.0, -1.0], atol=1e-6)


@pytest.mark.parametrize("right", range(8))
def test_vm_av_hierarchy(right: int) -> None:
    """Malformed << wrong < right in every group of eight with responses of one length."""
    rows = (*[Row(0, True, True, 8)] * right, *[Row(0, False, True, 8)] * (7 - right), Row(0, False, False, 8))
    values = advantages("vm-av", rows)
    assert values[-1] <= values[right:7].min(initial=0.0) - 0.5
    if right:
        assert values[:right].min() > values[right:7].max(initial=-np.inf)
        assert values[:right].min() > 0.0


def test_vm_av_uniform_groups_keep_a_small_signal() -> None:
    """Eight wrong: mu = 0.5 / 9; eight right: mu = 8.5 / 9. The signs are opposite, the sizes equal."""
    expected = (0.5 / 9) / math.sqrt((0.5 / 9) * (8.5 / 9))
    np.testing.assert_allclose(advantages("vm-av", (Row(0, False, True, 8),) * 8), -expected, atol=1e-5)
    np.testing.assert_allclose(advantages("vm-av", (Row(0, True, True, 8),) * 8), expected, atol=1e-5)


def test_vm_av_when_nothing_is_valid() -> None:
    np.testing.assert_array_equal(advantages("vm-av", (Row(0, False, False, 5),) * 3, prior_strength=0.0), -3.0)


@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_msa(weight: float) -> None:
    reward = hierarchical(0.5)

    def value(sample: int, group: np.ndarray) -> float:
        outcome, total = MEMBERS.correct[group].std(), reward[group].std()
        mixed = outcome > 1e-3
        anchored = weight * outcome + (1 - weight) * total
        signal = (reward[sample] - reward[group].mean()) / max(anchored if mixed else total, 1e-3)
        signal *= 1.0 if mixed else 0.3
        ratio = MEMBERS.length[sample] / MEMBERS.length[group].mean()
        return float(signal * ratio**0.2 if signal > 0 else signal * ratio**-0.2)

    np.testing.assert_allclose(advantages("msa", outcome_anchor=weight), each_sample(value), atol=1e-5)


def test_msa_length_by_hand() -> None:
    """Lengths 1 and 3 have the mean 2: the right answer has half of it, the wrong one and a half times."""
    rows = (Row(0, True, True, 1), Row(0, False, True, 3))
    np.testing.assert_allclose(advantages("msa", rows, length_power=1.0), [0.5, -1 / 1.5], atol=1e-5)


def test_fa_by_hand() -> None:
    """A mixed group as in GRPO; an all-fail group -0.5 if well-formed, -2 if not; a lone success nothing."""
    rows = (
        Row(0, True, True, 4),
        Row(0, False, True, 4),
        Row(1, False, True, 4),
        Row(1, False, False, 4),
        Row(2, True, True, 2),
    )
    np.testing.assert_allclose(advantages("fa", rows), [1.0, -1.0, -0.5, -2.0, 0.0], atol=1e-5)


def test_fa_bounds() -> None:
    """One right of 17 has 4 deviations; the bound is 3."""
    rows = (Row(0, True, True, 4), *[Row(0, False, True, 4)] * 16)
    assert advantages("fa", rows, bound=10.0)[0] == pytest.approx(4.0, abs=1e-3)
    assert advantages("fa", rows)[0] == pytest.approx(3.0)


def test_fa() -> None:
    def value(sample: int, group: np.ndarray) -> float:
        if MEMBERS.correct[group].max() == 0:
            return -0.5 if MEMBERS.valid[sample] else -2.0
        score = (MEMBERS.correct[sample] - MEMBERS.correct[group].mean()) / (MEMBERS.correct[group].std() + 1e-6)
        return float(np.clip(score, -3, 3))

    np.testing.assert_allclose(advantages("fa"), each_sample(value), atol=1e-4)


def test_dfr() -> None:
    algorithm = registry.load("dfr")
    batch = batch_of(algorithm)
    assert batch.entropy is not None
    entropy, mask = batch.entropy.double().numpy(), batch.response_mask.numpy()
    outcome, form = z_score(MEMBERS.correct), z_score(MEMBERS.valid.astype(float))
    expected = np.zeros(mask.shape)
    for sample in range(MEMBERS.size):
        group = MEMBERS.of(sample)
        tokens = np.concatenate([entropy[i, : int(MEMBERS.length[i])] for i in group])
        for token in range(int(MEMBERS.length[sample])):
            if MEMBERS.correct[group].sum() == 0:
                reason = 0.1 * (entropy[sample, token] - tokens.mean()) / math.sqrt(tokens.var() + 1e-6)
            else:
                reason = outcome[sample]
            expected[sample, token] = reason + 0.3 * form[sample]
    actual = algorithm.advantages(batch, algorithm.hyper())
    np.testing.assert_allclose(actual.double().numpy(), expected, atol=2e-4)


def test_dfr_entropy_signal_is_zero_centred_in_each_failed_group() -> None:
    algorithm = registry.load("dfr")
    batch = batch_of(algorithm)
    values = algorithm.advantages(batch, algorithm.hyper({"format_weight": 0.0}))
    for group in (7, 20):
        assert values[batch.group == group].sum().item() == pytest.approx(0.0, abs=1e-4)
        assert values[batch.group == group].abs().sum().item() > 0.1


@pytest.mark.parametrize("solved_rate", [1.0, 0.5])
def test_pr(solved_rate: float) -> None:
    score = z_score(MEMBERS.correct)

    def value(sample: int, group: np.ndarray) -> float:
        rate = MEMBERS.correct[group].mean()
        return -0.5 if rate == 0 else 0.0 if rate >= solved_rate else float(score[sample])

    expected = each_sample(value)
    assert (expected > 0).any() == (solved_rate == 1.0)
    np.testing.assert_allclose(advantages("pr", solved_rate=solved_rate), expected, atol=1e-5)


def test_cda() -> None:
    form, brevity = z_score(MEMBERS.valid.astype(float)), brevity_among_correct()

    def value(sample: int, group: np.ndarray) -> float:
        mean = (MEMBERS.correct[group].sum() + 1.0) / (len(group) + 1.0)
        outcome = (MEMBERS.correct[sample] - mean) / max(math.sqrt(mean * (1 - mean)), 0.1)
        return float(outcome + 0.3 * form[sample] + 0.1 * brevity[sample])

    np.testing.assert_allclose(advantages("cda"), each_sample(value), atol=1e-4)


def test_cda_has_no_cliffs() -> None:
    """Eight wrong get -1/9 over sqrt(8)/9; eight right get nothing."""
    np.testing.assert_allclose(advantages("cda", (Row(0, False, True, 8),) * 8), -1 / math.sqrt(8), atol=1e-5)
    np.testing.assert_allclose(advantages("cda", (Row(0, True, True, 8),) * 8), 0.0, atol=1e-5)


def test_sa() -> None:
    batch_mean = MEMBERS.correct.mean()
    expected = each_sample(lambda i, g: (MEMBERS.correct[i] - 0.5 * MEMBERS.correct[g].mean() - 0.5 * batch_mean) / 0.5)
    np.testing.assert_allclose(advantages("sa"), expected, atol=1e-5)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_dace(power: float) -> None:
    score, brevity = z_score(MEMBERS.correct), brevity_among_correct()

    def value(sample: int, group: np.ndarray) -> float:
        rate = MEMBERS.correct[group].mean()
        return float(score[sample] * (1 + 0.5 * (1 - rate)) + 0.2 * rate**power * brevity[sample])

    np.testing.assert_allclose(advantages("dace", gate_power=power), each_sample(value), atol=1e-4)


def test_cag_by_hand() -> None:
    """All right with lengths 4, 10 and 16: the gate is 1 and the mean 10, so only the long one loses, 0.5 * 0.6."""
    rows = (Row(0, True, True, 4), Row(0, True, True, 10), Row(0, True, True, 16))
    np.testing.assert_allclose(advantages("cag", rows), [0.0, 0.0, -0.3], atol=1e-6)


def test_dcbe_by_hand() -> None:
    """The same group: the short one gains what the long one loses."""
    rows = (Row(0, True, True, 4), Row(0, True, True, 10), Row(0, True, True, 16))
    np.testing.assert_allclose(advantages("dcbe", rows), [0.3, 0.0, -0.3], atol=1e-6)
    expected = 0.5 * 6 / (10 + 0.5)
    np.testing.assert_allclose(advantages("dcbe", rows, length_eps=0.5), [expected, 0.0, -expected], atol=1e-6)


@pytest.mark.parametrize("name", ["cag", "dcbe"])
def test_correct_responses_of_one_token_are_typical(name: str) -> None:
    np.testing.assert_allclose(advantages(name, (Row(0, True, True, 1),) * 2), 0.0, atol=1e-6)


def test_cag_with_very_short_responses() -> None:
    """Lengths 1, 1 and 2 have the mean 4/3, which the long one exceeds by a half."""
    rows = (Row(0, True, True, 1), Row(0, True, True, 1), Row(0, True, True, 2))
    np.testing.assert_allclose(advantages("cag", rows), [0.0, 0.0, -0.25], atol=1e-6)


@pytest.mark.parametrize(("name", "ceiling"), [("cag", 0.0), ("dcbe", math.inf)])
def test_gated_brevity(name: str, ceiling: float) -> None:
    score = z_score(MEMBERS.correct)

    def value(sample: int, group: np.ndarray) -> float:
        if not MEMBERS.correct[sample]:
            return float(score[sample])
        typical = MEMBERS.length[[i for i in group if MEMBERS.correct[i]]].mean()
        brevity = min((typical - MEMBERS.length[sample]) / typical, ceiling)
        return float(score[sample] + 0.5 * MEMBERS.correct[group].mean() ** 2 * brevity)

    np.testing.assert_allclose(advantages(name), each_sample(value), atol=1e-5)

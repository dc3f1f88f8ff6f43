"""The training loop: determinism, reductions, what candidates see, and what happens when they misbehave."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from poise_lib.algorithms.contract import Algorithm
from poise_lib.errors import CandidateError
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano import rollout, training
from poise_lib.evaluation.nano.base import base_policy
from poise_lib.evaluation.nano.config import PROBE, NanoConfig

Build = Callable[..., Algorithm]


def weights(algorithm: Algorithm, config: NanoConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    return training.train(algorithm, algorithm.hyper(), config, seed, lambda record: None).policy.state_dict()


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(small: NanoConfig, baseline: Algorithm) -> None:
    first = weights(baseline, small)
    assert same(first, weights(baseline, small))
    assert not same(first, weights(baseline, small, seed=1))
    assert not same(first, base_policy().state_dict())


def test_the_callers_random_state_is_neither_used_nor_changed(small: NanoConfig, baseline: Algorithm) -> None:
    torch.manual_seed(1)
    first = weights(baseline, small)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    assert same(first, weights(baseline, small))
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("aggregation", "loss"),
    [
        ("token-mean", "-ratio * inputs.advantages"),
        ("seq-mean-token-mean", "-ratio * inputs.advantages"),
        ("seq-mean-token-sum", "-ratio * inputs.advantages"),
        ("seq-mean-token-sum-norm", "-ratio * inputs.advantages"),
        ("seq-mean", "-(ratio * inputs.advantages).sum(-1) / inputs.response_mask.sum(-1)"),
    ],
)
def test_splitting_a_mini_batch_changes_nothing(
    candidate: Build, small: NanoConfig, aggregation: str, loss: str
) -> None:
    algorithm = candidate(
        aggregation=aggregation, loss=loss, advantages="ops.spread(batch.length / 9.0, batch.response_mask)"
    )
    one = small.model_copy(update={"steps": 1, "epochs": 1, "mini_batches": 1, "learning_rate": 1e-12})
    gradients = []
    for tokens in (100_000, 60, 1):
        config = one.model_copy(update={"micro_batch_tokens": tokens})
        record = training.train(algorithm, {}, config, 0, lambda record: None).trajectory[0]
        gradients.append((record[names.GRAD_NORM], record[names.LOSS]))
    assert gradients[0][0] > 0
    assert gradients[1] == pytest.approx(gradients[0], rel=1e-4)
    assert gradients[2] == pytest.approx(gradients[0], rel=1e-4)


@pytest.mark.parametrize(
    "aggregation", ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"]
)
def test_reductions_divide_by_the_whole_mini_batch(candidate: Build, small: NanoConfig, aggregation: str) -> None:
    """A loss of one per token reduces to one, or to the mean length, over all micro-batches together."""
    config = small.model_copy(update={"steps": 1, "mini_batches": 1, "micro_batch_tokens": 60})
    algorithm = candidate(aggregation=aggregation, loss="ratio * 0.0 + 1.0")
    record = training.train(algorithm, {}, config, 0, lambda record: None).trajectory[0]
    length = record[names.RESPONSE_LENGTH]
    sums = {"seq-mean-token-sum": length, "seq-mean-token-sum-norm": length / config.response_length}
    assert record[names.LOSS] == pytest.approx(sums.get(aggregation, 1.0), rel=1e-5)


def test_micro_batches_cover_every_row_once_within_the_budget() -> None:
    length = torch.randint(1, 41, (97,), generator=torch.Generator().manual_seed(0))
    rows = torch.arange(97)[length > 3]
    buckets = training.micro_batches(rows, length, 128)
    assert sorted(torch.cat([bucket.rows for bucket in buckets]).tolist()) == rows.tolist()
    for bucket in buckets:
        assert bucket.width == int(length[bucket.rows].max())
        assert len(bucket.rows) * bucket.width <= 128 or len(bucket.rows) == 1
    padded = sum(len(bucket.rows) * bucket.width for bucket in buckets)
    assert padded < 1.1 * int(length[rows].sum())


def test_problems_and_noise_do_not_depend_on_the_algorithm(small: NanoConfig) -> None:
    first = rollout.roll_out(base_policy(), small, seed=5, step=3)
    policy = base_policy()
    with torch.no_grad():
        policy.head.weight.mul_(1.0001)  # another policy, hardly different
    second = rollout.roll_out(policy, small, seed=5, step=3)
    assert torch.equal(first.prompts, second.prompts)
    assert (first.samples.length == second.samples.length).float().mean() > 0.9
    assert not torch.equal(first.prompts, rollout.roll_out(policy, small, seed=5, step=4).prompts)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"advantages": "batch.old_logprobs / 0.0"}, r"step 0: advantages is not finite in \d+ of \d+ places"),
        ({"advantages": "batch.rewards"}, r"step 0: advantages returned shape \[32\], expected \[32, \d+\]"),
        ({"advantages": "None"}, "step 0: advantages returned NoneType, not a tensor"),
        ({"advantages": "batch.response_mask"}, "step 0: advantages returned torch.bool, not a float tensor"),
        ({"loss": "ratio / 0.0"}, "step 0: policy_loss is not finite"),
        ({"loss": "ratio.mean()"}, r"step 0: policy_loss returned shape \[\], expected"),
        ({"loss": "inputs.advantages"}, "step 0: the loss does not depend on logprobs"),
        ({"loss": "(ratio - ratio.detach()).abs().sqrt()"}, "step 0: the gradient of policy_loss is not finite"),
        ({"metrics": "{'x': ratio.detach() / 0.0}"}, "step 0: metric 'x' is not finite"),
        (
            {"extra": "def rewards(outcomes, hyper):\n    return outcomes.length[:3].float()"},
            r"rewards returned shape \[3\]",
        ),
        (
            {"extra": "def rewards(outcomes, hyper):\n    return outcomes.length / 0.0"},
            "rewards is not finite in 32 of 32",
        ),
        ({"extra": "def schedule(history, hyper):\n    return 3"}, "step 0: schedule returned int"),
        (
            {"extra": "def schedule(history, hyper):\n    return {'x': math.nan} if history else {}"},
            "step 1: schedule gave",
        ),
    ],
)
def test_a_fault_of_the_candidates_is_named_with_its_step(
    candidate: Build, small: NanoConfig, parts: dict[str, str], message: str
) -> None:
    with pytest.raises(CandidateError, match=message):
        training.train(candidate(**parts), {}, small, 0, lambda record: None)


def test_schedules_see_the_history_and_coefficients_reach_all_functions(candidate: Build, small: NanoConfig) -> None:
    extra = """
def schedule(history, hyper):
    assert all("actor/entropy" in record for record in history)
    return {"steps": float(len(history))}

def rewards(outcomes, hyper):
    assert outcomes.coefficients["steps"] == outcomes.step
    return outcomes.correct.float() + outcomes.coefficients["steps"]
"""
    algorithm = candidate(
        extra=extra,
        advantages="ops.spread(batch.rewards * 0 + batch.coefficients['steps'], batch.response_mask)",
        loss="-ratio * inputs.advantages * (1.0 if inputs.coefficients['steps'] == inputs.step else math.nan)",
    )
    trajectory = training.train(algorithm, {}, small, 0, lambda record: None).trajectory
    assert [record["coefficient/steps"] for record in trajectory] == [0.0, 1.0]
    assert [record[names.ADVANTAGE_MEAN] for record in trajectory] == [0.0, 1.0]
    assert trajectory[1][names.REWARD] == pytest.approx(trajectory[1][names.ACCURACY] + 1.0)


def test_what_costs_extra_comes_only_when_asked_for(candidate: Build, small: NanoConfig) -> None:
    given = "(inputs.entropy is not None, inputs.ref_logprobs is not None)"
    for needs in ((), ("entropy",), ("reference",), ("entropy", "reference")):
        wanted = ("entropy" in needs, "reference" in needs)
        algorithm = candidate(needs=needs, loss=f"-ratio * inputs.advantages if {given} == {wanted} else None")
        record = training.train(algorithm, {}, small, 0, lambda record: None).trajectory[0]
        assert (names.KL in record) is ("reference" in needs)


def test_the_reference_is_the_base_and_kl_grows_from_zero(baseline: Algorithm, small: NanoConfig) -> None:
    config = small.model_copy(update={"steps": 3, "learning_rate": 1e-3})
    trajectory = training.train(baseline, baseline.hyper(), config, 0, lambda record: None).trajectory
    assert trajectory[0][names.KL] == pytest.approx(0.0, abs=1e-6)
    assert trajectory[-1][names.KL] > 1e-4


def test_a_record_has_every_metric_and_groups_add_up(baseline: Algorithm) -> None:
    seen: list[dict[str, Any]] = []
    trained = training.train(baseline, baseline.hyper(), PROBE, 0, seen.append)
    assert seen == trained.trajectory
    assert len(seen) == PROBE.steps
    for record in seen:
        assert set(names.SUMMARISED) <= set(record)
        shares = record[names.GROUPS_ALL_FAIL] + record[names.GROUPS_MIXED] + record[names.GROUPS_ALL_CORRECT]
        assert shares == pytest.approx(1.0)
        assert record[names.ACCURACY] <= record[names.FORMAT_VALID]
        assert names.CANDIDATE_PREFIX + "kl" in record


def test_a_reward_is_learnt(candidate: Build) -> None:
    """REINFORCE with a reward for validity, the quickest thing to learn."""
    algorithm = candidate(extra="def rewards(outcomes, hyper):\n    return outcomes.valid.float()")
    config = NanoConfig(steps=10, prompts_per_step=12, group_size=8, learning_rate=4e-4, warmup_steps=0)
    trajectory = training.train(algorithm, {}, config, 0, lambda record: None).trajectory
    assert trajectory[0][names.FORMAT_VALID] < 0.95
    assert trajectory[-1][names.FORMAT_VALID] > 0.97

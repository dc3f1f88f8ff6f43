"""From VeRL's tensors to the contract's: by hand, and against the builders of the zoo's tests."""

from __future__ import annotations

import pytest
import torch

from poise_lib.algorithms import registry
from poise_lib.algorithms.contract import Outcomes
from poise_lib.errors import CandidateError
from poise_lib.evaluation.verl.adapter.convert import Samples, StepState, advantages_of, group_index, outcomes_of
from poise_lib.evaluation.verl.adapter.spec import CandidateSpec, load
from tests.unit.algorithms.builders import MAX_LENGTH, ROWS, batch_of, mask_of

STATE = StepState(step=0, total_steps=10, max_length=MAX_LENGTH)
OUTSIDE = 7.0


def samples(*, extras: bool = True, algorithm: str = "grpo") -> Samples:
    """The builders' batch in VeRL's clothes: int64 mask, uid strings, rubbish outside the mask."""
    batch = batch_of(registry.load(algorithm))
    mask = mask_of(ROWS)
    last = torch.arange(mask.shape[1]) == (batch.length - 1).unsqueeze(-1)
    return Samples(
        scores=last.float() * batch.correct.float().unsqueeze(-1),
        response_mask=mask.to(torch.int64),
        uid=[f"uid-{row.group}" for row in ROWS],
        old_logprobs=torch.where(mask, batch.old_logprobs, OUTSIDE),
        ref_logprobs=None if batch.ref_logprobs is None else torch.where(mask, batch.ref_logprobs, OUTSIDE),
        entropy=None if batch.entropy is None else torch.where(mask, batch.entropy, OUTSIDE),
        extras=[{"correct": float(row.correct), "valid": float(row.valid)} for row in ROWS] if extras else None,
    )


def test_groups_are_numbered_by_first_appearance() -> None:
    assert group_index(["b", "a", "b", "c", "a"]).tolist() == [0, 1, 0, 2, 1]


def test_outcomes_by_hand() -> None:
    made = outcomes_of(samples(), STATE)
    assert made.correct.tolist() == [row.correct for row in ROWS]
    assert made.valid.tolist() == [row.valid for row in ROWS]
    assert made.length.tolist() == [row.length for row in ROWS]
    assert made.max_length == MAX_LENGTH


def test_without_extras_the_score_says_what_is_correct() -> None:
    made = outcomes_of(samples(extras=False), STATE)
    assert made.correct.tolist() == [row.correct for row in ROWS]
    assert made.valid.all()


def test_the_reward_functions_word_goes_before_its_score() -> None:
    """A graded score: half a point for the format is not a right answer."""
    given = Samples(
        scores=torch.tensor([[0.0, 0.5], [0.0, 1.5]]),
        response_mask=torch.ones(2, 2, dtype=torch.int64),
        uid=["a", "a"],
        old_logprobs=torch.zeros(2, 2),
        extras=[{"acc": False, "format_ok": True}, {"acc": True, "format_ok": False}],
    )
    made = outcomes_of(given, STATE)
    assert made.correct.tolist() == [False, True]
    assert made.valid.tolist() == [True, True]  # correct implies valid


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_algorithm_gets_the_batch_that_it_would_get_elsewhere(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    expected = algorithm.advantages(batch_of(algorithm), hyper) * mask_of(ROWS)
    made = advantages_of(algorithm, hyper, samples(algorithm=name), STATE)
    torch.testing.assert_close(made.advantages, expected, rtol=1e-6, atol=1e-6)
    assert (made.advantages[~mask_of(ROWS)] == 0).all()


def test_rewards_are_the_candidates() -> None:
    source = (
        registry.zoo_source("grpo") + "\n\ndef rewards(outcomes, hyper):\n    return 3.0 * outcomes.valid.float()\n"
    )
    algorithm, hyper = load(CandidateSpec(source=source))
    made = advantages_of(algorithm, hyper, samples(), STATE)
    assert made.batch.rewards.tolist() == [3.0 * row.valid for row in ROWS]


def test_rewards_see_step_and_coefficients() -> None:
    seen: list[Outcomes] = []
    algorithm, hyper = load(CandidateSpec(source=registry.zoo_source("dr-grpo")))
    from dataclasses import replace

    def rewards(outcomes: Outcomes, _: object) -> torch.Tensor:
        seen.append(outcomes)
        return outcomes.correct.float()

    state = StepState(step=4, total_steps=9, max_length=MAX_LENGTH, coefficients={"beta": 0.5})
    advantages_of(replace(algorithm, rewards=rewards), hyper, samples(algorithm="dr-grpo"), state)
    assert (seen[0].step, seen[0].total_steps, dict(seen[0].coefficients)) == (4, 9, {"beta": 0.5})


def test_a_fault_is_told_with_its_step() -> None:
    source = registry.zoo_source("grpo") + "\n\ndef advantages(batch, hyper):\n    return batch.rewards\n"
    algorithm, hyper = load(CandidateSpec(source=source))
    with pytest.raises(CandidateError, match=r"step 4: advantages returned shape"):
        advantages_of(algorithm, hyper, samples(), StepState(4, 10, MAX_LENGTH))

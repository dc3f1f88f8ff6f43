"""The loss of a micro-batch: no split over micro-batches and ranks changes it, and it is the embedded engine's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from poise_lib.algorithms import registry
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Algorithm, LossInputs, LossOutput
from poise_lib.errors import CandidateError
from poise_lib.evaluation.verl.adapter.convert import StepState
from poise_lib.evaluation.verl.adapter.metrics import RATIO_OUTSIDE, decoded
from poise_lib.evaluation.verl.adapter.objective import MicroBatch, MiniBatch, Share, share_of
from tests.unit.algorithms.builders import MAX_LENGTH, ROWS, batch_of, loss_inputs_of, mask_of

STATE = StepState(step=0, total_steps=10, max_length=MAX_LENGTH)
WHOLE = MiniBatch(tokens=int(mask_of(ROWS).sum()), sequences=len(ROWS))


def inputs(name: str) -> tuple[Algorithm, LossInputs]:
    algorithm = registry.load(name)
    advantages = algorithm.advantages(batch_of(algorithm), algorithm.hyper())
    return algorithm, loss_inputs_of(algorithm, advantages, mask_of(ROWS))


def part_of(made: LossInputs, rows: Tensor) -> MicroBatch:
    """Rows of a batch in VeRL's clothes: an int64 mask, rubbish outside it, cut to the longest response."""
    mask = made.response_mask[rows]
    width = int(mask.sum(-1).max())

    def cut(values: Tensor | None) -> Tensor | None:
        return None if values is None else torch.where(mask, values[rows], 3.0)[:, :width]

    return MicroBatch(
        logprobs=cut(made.logprobs),
        old_logprobs=cut(made.old_logprobs),
        advantages=cut(made.advantages),
        response_mask=mask[:, :width].to(torch.int64),
        ref_logprobs=cut(made.ref_logprobs),
        entropy=cut(made.entropy),
    )


def gradients(
    algorithm: Algorithm, made: LossInputs, parts: list[Tensor], dp_size: int
) -> tuple[float, Tensor, list[Share]]:
    """What VeRL's engine makes of micro-batches: gradients summed, and averaged over ranks."""
    shares = [
        share_of(algorithm, algorithm.hyper(), part_of(made, rows), replace(WHOLE, dp_size=dp_size), STATE)
        for rows in parts
    ]
    total = torch.stack([share.loss for share in shares]).sum() / dp_size
    gradient, *_ = torch.autograd.grad(total, [made.logprobs])
    return float(total.detach()), gradient, shares


@pytest.mark.parametrize("name", registry.NAMES)
def test_splits_change_nothing_and_the_loss_is_the_embedded_engines(name: str) -> None:
    algorithm, made = inputs(name)
    output = algorithm.policy_loss(made, algorithm.hyper())
    counts = MiniBatchCounts(WHOLE.tokens, WHOLE.sequences, MAX_LENGTH)
    expected = aggregate(output.loss, made.response_mask, algorithm.aggregation, counts)
    gradient, *_ = torch.autograd.grad(expected, [made.logprobs])
    rng = random.Random(name)
    for parts, dp_size in ((1, 1), (3, 1), (5, 2), (len(ROWS), 4)):
        order = list(range(len(ROWS)))
        rng.shuffle(order)
        rows = [torch.tensor(order[start::parts]) for start in range(parts)]
        value, found, _ = gradients(algorithm, made, rows, dp_size)
        assert value == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-6)
        torch.testing.assert_close(found, gradient, rtol=1e-5, atol=1e-7)


def test_metrics_are_means_over_the_whole_mini_batch() -> None:
    """Through VeRL's reduction: sums over micro-batches, then the mean over mini-batches."""
    algorithm, made = inputs("grpo")
    output = algorithm.policy_loss(made, algorithm.hyper())
    mask = made.response_mask
    kl = float(output.metrics["kl"][mask].mean())
    outside = ((made.logprobs - made.old_logprobs)[mask].exp() - 1.0).abs() > 0.2
    _, _, shares = gradients(algorithm, made, [torch.arange(4), torch.arange(4, len(ROWS))], 1)
    summed: dict[str, float] = {}
    for share in shares:
        for name, value in share.metrics.encoded().items():
            assert "max" not in name
            assert "min" not in name
            summed[name] = summed.get(name, 0.0) + value
    summed["actor/pg_loss"] = 1.0
    means = decoded(summed)
    assert means["candidate/kl"] == pytest.approx(kl, rel=1e-5)
    assert means[RATIO_OUTSIDE] == pytest.approx(float(outside.float().mean()), rel=1e-6)
    assert set(means) == {"candidate/kl", "actor/pg_clipfrac", RATIO_OUTSIDE}
    assert summed == {"actor/pg_loss": 1.0}


def test_a_metric_per_response_is_averaged_over_responses() -> None:
    algorithm, made = inputs("dr-grpo")
    values = torch.arange(float(len(ROWS)))

    def policy_loss(given: LossInputs, hyper: object) -> LossOutput:
        return LossOutput(-given.logprobs * given.advantages, {"max_of_something": values})

    share = share_of(
        replace(algorithm, policy_loss=policy_loss),
        algorithm.hyper(),
        part_of(made, torch.arange(len(ROWS))),
        WHOLE,
        STATE,
    )
    assert decoded(share.metrics.encoded())["candidate/max_of_something"] == pytest.approx(float(values.mean()))


def test_rows_without_a_token_add_nothing() -> None:
    """VeRL fills a mini-batch up with such rows; a loss per sequence may not be zero on them."""
    algorithm, made = inputs("gspo")

    def policy_loss(given: LossInputs, hyper: object) -> LossOutput:
        return LossOutput(given.logprobs.sum(-1) + 5.0)

    constant = replace(algorithm, policy_loss=policy_loss)
    part = part_of(made, torch.arange(3))
    filled = MicroBatch(
        *(
            torch.cat([values, torch.zeros_like(values[:1])])
            for values in (part.logprobs, part.old_logprobs, part.advantages, part.response_mask)
        )
    )
    whole = MiniBatch(tokens=21, sequences=3)
    bare, more = (share_of(constant, algorithm.hyper(), one, whole, STATE).loss.detach() for one in (part, filled))
    assert float(bare) == pytest.approx(float(more))


def test_what_is_not_needed_is_not_shown() -> None:
    algorithm, made = inputs("dr-grpo")
    seen: list[LossInputs] = []

    def policy_loss(given: LossInputs, hyper: object) -> LossOutput:
        seen.append(given)
        return LossOutput(-given.logprobs * given.advantages)

    part = part_of(made, torch.arange(3))
    part = replace(part, ref_logprobs=part.old_logprobs, rollout_logprobs=part.old_logprobs, entropy=part.old_logprobs)
    share_of(replace(algorithm, policy_loss=policy_loss), {}, part, WHOLE, StepState(6, 9, 20, {"beta": 0.25}))
    assert seen[0].ref_logprobs is None
    assert seen[0].entropy is None
    torch.testing.assert_close(seen[0].rollout_logprobs, seen[0].old_logprobs)
    assert (seen[0].step, seen[0].total_steps, dict(seen[0].coefficients)) == (6, 9, {"beta": 0.25})
    assert (seen[0].logprobs[~seen[0].response_mask] == 0).all()


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (lambda given: given.logprobs.detach(), "step 0: the loss does not depend on logprobs"),
        (lambda given: given.logprobs * torch.nan, "step 0: policy_loss is not finite"),
        (lambda given: given.logprobs.sum(), "step 0: policy_loss returned shape"),
    ],
)
def test_faults_are_told(loss: object, message: str) -> None:
    algorithm, made = inputs("grpo")
    broken = replace(algorithm, policy_loss=lambda given, hyper: LossOutput(loss(given)))  # type: ignore[operator]
    with pytest.raises(CandidateError, match=message):
        share_of(broken, {}, part_of(made, torch.arange(3)), WHOLE, STATE)

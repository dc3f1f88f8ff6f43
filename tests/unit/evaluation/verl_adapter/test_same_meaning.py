"""The embedded engine and the adapter call a candidate with the same meaning: same batch in, same numbers out.

The embedded engine trains one step; what it gave to the candidate is caught, put into VeRL's clothes (int64 masks, uid
strings, scores at last tokens, rubbish outside the mask), and goes through the adapter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from poise_lib.algorithms import registry
from poise_lib.algorithms.aggregation import MiniBatchCounts, aggregate
from poise_lib.algorithms.contract import Batch, LossInputs, LossOutput
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano.config import NanoConfig
from poise_lib.evaluation.nano.training import train
from poise_lib.evaluation.verl.adapter.convert import Samples, StepState, advantages_of
from poise_lib.evaluation.verl.adapter.objective import MicroBatch, MiniBatch, share_of

CONFIG = NanoConfig(
    steps=1, prompts_per_step=6, group_size=4, warmup_steps=0, epochs=2, mini_batches=1, micro_batch_tokens=100_000
)
OUTSIDE = 5.0


def dressed(values: Tensor | None, mask: Tensor) -> Tensor | None:
    return None if values is None else torch.where(mask, values.detach(), OUTSIDE)


@pytest.mark.parametrize("name", ["grpo", "rloo", "reinforce-pp", "dapo", "vm-av", "gspo", "msa", "cda"])
def test_what_the_embedded_engine_gives_the_adapter_gives(name: str) -> None:
    algorithm = registry.load(name)
    hyper = algorithm.hyper()
    batches: list[Batch] = []
    calls: list[tuple[LossInputs, LossOutput]] = []

    def advantages(batch: Batch, given: Mapping[str, float]) -> Tensor:
        batches.append(batch)
        return algorithm.advantages(batch, given)

    def policy_loss(inputs: LossInputs, given: Mapping[str, float]) -> LossOutput:
        calls.append((inputs, algorithm.policy_loss(inputs, given)))
        return calls[-1][1]

    spied = replace(algorithm, advantages=advantages, policy_loss=policy_loss)
    records: list[dict[str, float]] = []
    train(spied, hyper, CONFIG, 3, records.append)
    batch, mask = batches[0], batches[0].response_mask
    state = StepState(0, CONFIG.steps, CONFIG.response_length, batch.coefficients)

    last = torch.arange(mask.shape[1]) == (batch.length - 1).unsqueeze(-1)
    entropy = batch.entropy if batch.entropy is not None else torch.zeros_like(batch.old_logprobs)
    made = advantages_of(
        algorithm,
        hyper,
        Samples(
            scores=last.float() * batch.correct.float().unsqueeze(-1),
            response_mask=mask.to(torch.int64),
            uid=[f"{label:08x}" for label in batch.group.tolist()],
            old_logprobs=dressed(batch.old_logprobs, mask),
            ref_logprobs=dressed(batch.ref_logprobs, mask),
            entropy=dressed(entropy, mask),
            extras=[
                {"correct": float(correct), "valid": float(valid)}
                for correct, valid in zip(batch.correct, batch.valid, strict=True)
            ],
        ),
        state,
    )
    for item in fields(Batch):
        expected, found = getattr(batch, item.name), getattr(made.batch, item.name)
        if isinstance(expected, Tensor):
            assert torch.equal(expected, found), item.name
            assert expected.dtype == found.dtype, item.name
        else:
            assert expected == found, item.name
    advantages_caught = calls[0][0].advantages

    inputs, output = calls[1]  # the second epoch: the ratio has left 1
    rows = inputs.response_mask
    width = rows.shape[1]
    leaf = inputs.logprobs.detach().clone().requires_grad_()
    entropy_leaf = None if inputs.entropy is None else inputs.entropy.detach().clone().requires_grad_()
    part = MicroBatch(
        logprobs=torch.where(rows, leaf, OUTSIDE),
        old_logprobs=dressed(inputs.old_logprobs, rows),
        advantages=inputs.advantages,
        response_mask=rows.to(torch.int64),
        ref_logprobs=dressed(inputs.ref_logprobs, rows),
        entropy=entropy_leaf,
    )
    share = share_of(algorithm, hyper, part, MiniBatch(int(rows.sum()), rows.shape[0]), state)
    counts = MiniBatchCounts(int(rows.sum()), rows.shape[0], CONFIG.response_length)
    assert float(share.loss) == pytest.approx(
        float(aggregate(output.loss, rows, algorithm.aggregation, counts)), rel=1e-6
    )
    assert records[0][names.LOSS] == pytest.approx(
        (
            float(share.loss)
            + float(aggregate(calls[0][1].loss, calls[0][0].response_mask, algorithm.aggregation, counts))
        )
        / 2,
        rel=1e-5,
        abs=1e-7,
    )
    assert advantages_caught.shape[1] == width
    order = _order(batch, calls[0][0])
    torch.testing.assert_close(made.advantages[order][:, :width], advantages_caught, rtol=0, atol=0)


def _order(batch: Batch, inputs: LossInputs) -> Tensor:
    """Which row of the batch stands where in the micro-batch: rows are told apart by their log-probabilities."""
    width = inputs.response_mask.shape[1]
    distance = (inputs.old_logprobs.unsqueeze(1) - batch.old_logprobs[:, :width].unsqueeze(0)).abs().sum(-1)
    assert float(distance.min(-1).values.max()) == 0.0
    return distance.argmin(-1)

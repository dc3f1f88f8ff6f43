"""Small runs and small candidates for the tests of the engine."""

from collections.abc import Callable

import pytest
import torch

from poise_lib.algorithms.contract import Algorithm
from poise_lib.algorithms.loading import algorithm_from_module, algorithm_from_source
from poise_lib.algorithms.zoo import grpo
from poise_lib.evaluation.nano.config import NanoConfig

CANDIDATE = """
import math
import torch
from poise_lib.algorithms import ops
from poise_lib.algorithms.contract import Batch, LossInputs, LossOutput, Outcomes

TITLE = "test"
AGGREGATION = {aggregation!r}
NEEDS = {needs!r}
HYPERPARAMETERS = {{}}
MECHANISMS = ()


def advantages(batch, hyper):
    return {advantages}


def policy_loss(inputs, hyper):
    ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, inputs.response_mask).exp()
    loss = {loss}
    return LossOutput(loss, {metrics})

{extra}
"""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def small() -> NanoConfig:
    """Two steps of eight prompts, four responses each."""
    return NanoConfig(steps=2, prompts_per_step=8, group_size=4, warmup_steps=0)


@pytest.fixture
def baseline() -> Algorithm:
    return algorithm_from_module(grpo, "grpo")


@pytest.fixture
def candidate() -> Callable[..., Algorithm]:
    """Build a candidate from the parts that a test cares for."""

    def build(
        advantages: str = "ops.spread(batch.rewards - batch.rewards.mean(), batch.response_mask)",
        loss: str = "-ratio * inputs.advantages",
        metrics: str = "{}",
        aggregation: str = "token-mean",
        needs: tuple[str, ...] = (),
        extra: str = "",
    ) -> Algorithm:
        source = CANDIDATE.format(
            advantages=advantages, loss=loss, metrics=metrics, aggregation=aggregation, needs=needs, extra=extra
        )
        return algorithm_from_source(source, "test")

    return build

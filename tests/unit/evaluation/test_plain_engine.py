"""The engine and the plain version that the benchmark compares it with give the same numbers."""

import sys
from pathlib import Path

import pytest
import torch

from poise_lib.algorithms.contract import Algorithm
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.nano import sampling, suite
from poise_lib.evaluation.nano.base import base_policy
from poise_lib.evaluation.nano.config import NanoConfig
from poise_lib.evaluation.nano.training import train

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

import plain_engine


@pytest.mark.parametrize("greedy", [True, False])
def test_the_same_samples(greedy: bool) -> None:
    policy = base_policy()
    prompts = torch.tensor([problem.prompt() for problem in suite.problems(suite.BENCHMARKS[1], "search")[:10]])
    noise = None if greedy else torch.rand(40, 40, generator=torch.Generator().manual_seed(0))
    copies = 1 if greedy else 4
    fast = sampling.sample(policy, prompts, copies, noise)
    plain = plain_engine.sample(policy, prompts, copies, noise)
    width = fast.tokens.shape[1]
    assert torch.equal(fast.length, plain.length)
    assert torch.equal(fast.tokens, plain.tokens[:, :width])
    torch.testing.assert_close(fast.logprobs, plain.logprobs[:, :width], atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(fast.entropy, plain.entropy[:, :width], atol=2e-5, rtol=1e-4)


def test_the_same_training(baseline: Algorithm, small: NanoConfig) -> None:
    config = small.model_copy(update={"steps": 1})
    fast = train(baseline, baseline.hyper(), config, 0, lambda record: None)
    with plain_engine.in_place():
        plain = train(baseline, baseline.hyper(), config, 0, lambda record: None)
    for name, value in fast.trajectory[0].items():
        if name not in names.TIMES:
            assert plain.trajectory[0][name] == pytest.approx(value, rel=2e-3, abs=1e-5), name
    before = base_policy().state_dict()
    for name, tensor in fast.policy.state_dict().items():
        step, difference = tensor - before[name], tensor - plain.policy.state_dict()[name]
        assert difference.norm() <= 0.02 * step.norm(), name

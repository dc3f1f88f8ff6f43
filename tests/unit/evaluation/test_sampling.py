"""Sampling: the same numbers as the training forward, whatever leaves the batch and whoever shares it."""

import pytest
import torch

from poise_lib.evaluation.nano import sampling, suite
from poise_lib.evaluation.nano.base import base_policy
from poise_lib.evaluation.nano.task import END_ID
from poise_lib.evaluation.nano.training import token_logprobs

PROMPTS = torch.tensor([problem.prompt() for problem in suite.problems(suite.BENCHMARKS[0], "search")[:12]])
COPIES = 6


def noise(seed: int = 0) -> torch.Tensor:
    return torch.rand(len(PROMPTS) * COPIES, 40, generator=torch.Generator().manual_seed(seed))


def test_log_probabilities_and_entropy_are_those_of_the_training_forward() -> None:
    """What lets training use them as old log-probabilities."""
    policy = base_policy()
    samples = sampling.sample(policy, PROMPTS, COPIES, noise())
    mask = torch.arange(samples.tokens.shape[1]) < samples.length.unsqueeze(-1)
    group = torch.arange(len(PROMPTS)).repeat_interleave(COPIES)
    logprobs, entropy = token_logprobs(policy, policy.prefix(PROMPTS), group, samples.tokens, mask, entropy=True)
    torch.testing.assert_close(samples.logprobs, logprobs.detach(), atol=2e-5, rtol=1e-4)
    assert entropy is not None
    torch.testing.assert_close(samples.entropy, entropy.detach(), atol=2e-5, rtol=1e-4)


def test_dropping_finished_rows_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = base_policy()
    dropped = sampling.sample(policy, PROMPTS, COPIES, noise())
    monkeypatch.setattr(sampling, "COMPACT_BELOW", 0.0)
    kept = sampling.sample(policy, PROMPTS, COPIES, noise())
    assert dropped.length.min() < dropped.length.max()
    assert torch.equal(dropped.tokens, kept.tokens)
    assert torch.equal(dropped.length, kept.length)


def test_a_prompt_samples_the_same_alone_and_in_company() -> None:
    policy = base_policy()
    together = sampling.sample(policy, PROMPTS, COPIES, noise())
    alone = sampling.sample(policy, PROMPTS[3:4], COPIES, noise()[3 * COPIES : 4 * COPIES])
    rows = slice(3 * COPIES, 4 * COPIES)
    assert torch.equal(alone.length, together.length[rows])
    assert torch.equal(alone.tokens, together.tokens[rows, : alone.tokens.shape[1]])


def test_responses_end_once_and_stay_within_the_limit() -> None:
    samples = sampling.sample(base_policy(), PROMPTS, COPIES, noise(), limit=8)
    assert samples.tokens.shape[1] <= 8
    for tokens, length in zip(samples.tokens.tolist(), samples.length.tolist(), strict=True):
        assert END_ID not in tokens[: length - 1]
        assert tokens[length - 1] == END_ID or length == 8
        assert not any(tokens[length:])


def test_samples_follow_the_distribution() -> None:
    """The first token's frequencies over many samples of one prompt are its probabilities."""
    policy, count = base_policy(), 20_000
    one = torch.rand(count, 1, generator=torch.Generator().manual_seed(1))
    samples = sampling.sample(policy, PROMPTS[:1], count, one, limit=1)
    logits = policy.logits(
        policy.prefix(PROMPTS[:1]), torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    )
    expected = logits[0, 0].softmax(-1).detach()
    found = torch.bincount(samples.tokens[:, 0], minlength=len(expected)) / count
    assert (found - expected).abs().max() < 0.012


def test_greedy_takes_the_most_likely_token() -> None:
    policy = base_policy()
    samples = sampling.sample(policy, PROMPTS, 1, None)
    logits = policy.logits(policy.prefix(PROMPTS), samples.tokens, torch.arange(len(PROMPTS)))
    mask = torch.arange(samples.tokens.shape[1]) < samples.length.unsqueeze(-1)
    assert torch.equal(logits.argmax(-1)[mask], samples.tokens[mask])

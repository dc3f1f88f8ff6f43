"""Our shell around PyTorch's AdamW kernel: the same bits, without its imports."""

import subprocess
import sys

import torch

from poise_lib.evaluation.nano.optimiser import BETAS, AdamW

HEAVY = ("torch._dynamo", "torch.fx.experimental.symbolic_shapes", "sympy")
TRAINING = f"""
import sys
from poise_lib.algorithms.registry import load
from poise_lib.evaluation.nano.config import NanoConfig
from poise_lib.evaluation.nano.training import train

algorithm = load("grpo")
train(algorithm, algorithm.hyper(), NanoConfig(steps=1, prompts_per_step=4, group_size=2), 0, lambda record: None)
sys.exit(", ".join(name for name in {HEAVY} if name in sys.modules) or 0)
"""


def test_same_bits_as_torch_optim() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(shape, generator=generator).requires_grad_() for shape in ((7, 5), (3,), (1000,))]
    theirs = [parameter.detach().clone().requires_grad_() for parameter in ours]
    mine = AdamW.over(ours, 1e-3)
    reference = torch.optim.AdamW(theirs, lr=1e-3, betas=BETAS, weight_decay=0.0, fused=True)
    for step in range(6):
        mine.rate = reference.param_groups[0]["lr"] = 1e-3 * (step + 1)
        for index, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            gradient = None if step == 2 and index == 1 else torch.randn(one.shape, generator=generator)
            one.grad, other.grad = gradient, None if gradient is None else gradient.clone()
        mine.step()
        reference.step()
        mine.clear()
        reference.zero_grad()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert all(parameter.grad is None for parameter in ours)


def test_training_does_not_import_the_compiler() -> None:
    """It would take longer than the training probe of a verification."""
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

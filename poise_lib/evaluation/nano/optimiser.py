"""AdamW without weight decay (arXiv:1711.05101), on PyTorch's fused kernel.

The arithmetic is that of ``torch.optim.AdamW(fused=True)``, to the last bit (a test compares them).  Only the shell
around the kernel is our own: making and stepping an optimiser of ``torch.optim`` imports PyTorch's compiler and sympy,
800 modules that nothing here uses, which takes longer than a whole training probe.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

BETAS: Final = (0.9, 0.95)
EPSILON: Final = 1e-8


@dataclass(frozen=True, slots=True)
class _Moments:
    """What is remembered of one parameter's gradients."""

    first: Tensor
    second: Tensor
    steps: Tensor
    """Scalar float32, which is what the kernel takes."""

    @staticmethod
    def of(parameter: Tensor) -> _Moments:
        first, second = (torch.zeros_like(parameter, memory_format=torch.preserve_format) for _ in range(2))
        return _Moments(first, second, torch.zeros((), dtype=torch.float32))


@dataclass(slots=True)
class AdamW:
    """Updates ``parameters`` in place from their gradients."""

    parameters: list[Tensor]
    rate: float
    """The learning rate of the next step."""
    _moments: dict[int, _Moments] = field(default_factory=dict)

    @staticmethod
    def over(parameters: Iterable[Tensor], rate: float) -> AdamW:
        """An optimiser that has made no step yet."""
        return AdamW(list(parameters), rate)

    @torch.no_grad()
    def step(self) -> None:
        """One update; a parameter without a gradient is left as it is."""
        chosen = [(index, parameter) for index, parameter in enumerate(self.parameters) if parameter.grad is not None]
        for index, parameter in chosen:
            if index not in self._moments:
                self._moments[index] = _Moments.of(parameter)
        moments = [self._moments[index] for index, _ in chosen]
        steps = [moment.steps for moment in moments]
        torch._foreach_add_(steps, 1)
        torch._fused_adamw_(
            [parameter for _, parameter in chosen],
            [parameter.grad for _, parameter in chosen if parameter.grad is not None],
            [moment.first for moment in moments],
            [moment.second for moment in moments],
            [],
            steps,
            lr=self.rate,
            beta1=BETAS[0],
            beta2=BETAS[1],
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def clear(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

"""Two pointwise layers with hand-written backward passes: on a CPU they cost memory traffic, so passes are what
counts; and a backward pass that starts from given gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_EPSILON = 1e-6


def _normalise(hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Rows scaled to a root mean square of one [N, D], and what they were scaled by [N, 1]."""
    norm = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    inverse = torch.rsqrt(norm * norm / hidden.shape[-1] + _EPSILON)
    return hidden * inverse, inverse


class _RmsNorm(torch.autograd.Function):
    """y = x / rms(x) * weight over the rows of x [N, D] (arXiv:1910.07467)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        unit, inverse = _normalise(hidden)
        ctx.save_for_backward(unit, inverse, weight)
        return unit * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        unit, inverse, weight = ctx.saved_tensors
        product = gradient * unit
        along = (product @ weight / unit.shape[-1]).unsqueeze(-1)
        return torch.addcmul(gradient * weight, unit, along, value=-1.0).mul_(inverse), product.sum(0)


class _SquaredRelu(torch.autograd.Function):
    """y = max(x, 0)^2 (arXiv:2109.08668)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        positive = hidden.clamp_min(0.0)
        ctx.save_for_backward(positive)
        return positive * positive

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        positive: Tensor = ctx.saved_tensors[0]
        return (gradient * positive).mul_(2.0)


class _Inject(torch.autograd.Function):
    """A scalar whose gradient with respect to each tensor is given."""

    @staticmethod
    def forward(ctx: Any, gradients: Sequence[Tensor], *tensors: Tensor) -> Tensor:
        ctx.gradients = gradients
        return tensors[0].new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor | None, ...]:
        return None, *ctx.gradients


def inject(tensors: Sequence[Tensor], gradients: Sequence[Tensor]) -> None:
    """``torch.autograd.backward(tensors, gradients)``, which would import PyTorch's symbolic shapes, and with them sympy
    (500 modules; longer than a training probe), to compare the shapes."""
    total: Tensor = _Inject.apply(gradients, *tensors)  # type: ignore[no-untyped-call]
    total.backward()


def rms_norm(hidden: Tensor, weight: Tensor) -> Tensor:
    """Scale each row of ``hidden`` [N, D] to a root mean square of one, then each column by ``weight`` [D]."""
    if not torch.is_grad_enabled():  # without the machinery of a Function, which costs more than the layer
        return _normalise(hidden)[0] * weight
    result: Tensor = _RmsNorm.apply(hidden, weight)  # type: ignore[no-untyped-call]
    return result


def squared_relu(hidden: Tensor) -> Tensor:
    """max(hidden, 0) squared, any shape."""
    if not torch.is_grad_enabled():
        positive = hidden.clamp_min(0.0)
        return positive * positive
    result: Tensor = _SquaredRelu.apply(hidden)  # type: ignore[no-untyped-call]
    return result

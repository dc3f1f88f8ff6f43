"""What a candidate hands back is checked before it is used: the message names the function, the step and the fault."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from poise_lib.algorithms.contract import Algorithm
from poise_lib.errors import CandidateError

_LARGEST = 1e308
"""Compared with, since an int too large for a float has no finite float to test."""

Shape = tuple[int, ...]


def require(what: str, value: object, shapes: Shape | tuple[Shape, ...], step: int) -> Tensor:
    """``value``, if it is a finite float tensor of one of the allowed shapes.

    Args:
        what: the name of the thing, for the message.
        value: what the candidate returned.
        shapes: the one shape allowed, or several.
        step: the training step, for the message.

    Raises:
        CandidateError: it is not.
    """
    allowed = shapes if shapes and isinstance(shapes[0], tuple) else (shapes,)
    if not isinstance(value, Tensor):
        raise CandidateError(f"step {step}: {what} returned {type(value).__name__}, not a tensor")
    if not value.is_floating_point():
        raise CandidateError(f"step {step}: {what} returned {value.dtype}, not a float tensor")
    if value.shape not in allowed:
        wanted = " or ".join(str(list(shape)) for shape in allowed)
        raise CandidateError(f"step {step}: {what} returned shape {list(value.shape)}, expected {wanted}")
    if not bool(torch.isfinite(value.detach()).all()):
        broken = int((~torch.isfinite(value.detach())).sum())
        raise CandidateError(f"step {step}: {what} is not finite in {broken} of {value.numel()} places")
    return value


def finite_coefficients(
    algorithm: Algorithm, history: Sequence[Mapping[str, float]], hyper: Mapping[str, float], step: int
) -> dict[str, float]:
    """What ``schedule`` says for this step; empty for a candidate without one.

    Raises:
        CandidateError: it is not a mapping of names to finite numbers.
    """
    if algorithm.schedule is None:
        return {}
    returned: object = algorithm.schedule(history, hyper)
    if not isinstance(returned, Mapping):
        raise CandidateError(
            f"step {step}: schedule returned {type(returned).__name__}, not a mapping of names to numbers"
        )
    coefficients = {}
    for name, value in returned.items():
        if not isinstance(name, str) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
            raise CandidateError(f"step {step}: schedule gave {name!r} = {value!r}; coefficients are finite numbers")
        coefficients[name] = float(value)
    return coefficients

"""The hand-written backward passes against automatic differentiation, in double precision."""

import torch

from poise_lib.evaluation.nano.kernels import inject, rms_norm, squared_relu


def test_squared_relu() -> None:
    hidden = torch.tensor([-1.5, -0.1, 0.2, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.equal(squared_relu(hidden), torch.relu(hidden) ** 2)
    assert torch.autograd.gradcheck(squared_relu, hidden)


def test_rms_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(3, 5, dtype=torch.float64, generator=generator).requires_grad_()
    weight = torch.randn(5, dtype=torch.float64, generator=generator).requires_grad_()
    torch.testing.assert_close(rms_norm(hidden, weight), torch.nn.functional.rms_norm(hidden, (5,), weight, 1e-6))
    assert torch.autograd.gradcheck(rms_norm, (hidden, weight))


def test_inject_is_a_backward_pass_from_given_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    leaf = torch.randn(4, 3, generator=generator).requires_grad_()
    gradients = [torch.randn(4, 3, generator=generator) for _ in range(2)]
    torch.autograd.backward([leaf * leaf, leaf.exp()], gradients)
    assert leaf.grad is not None
    expected, leaf.grad = leaf.grad, None
    inject([leaf * leaf, leaf.exp()], gradients)
    assert torch.equal(leaf.grad, expected)  # type: ignore[arg-type]

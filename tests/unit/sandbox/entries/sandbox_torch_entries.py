"""Entries that need PyTorch, which is imported before the lock."""

# ruff: noqa: T201 - standard output is what is tested

import torch


def trains(workdir):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layers = [torch.nn.Linear(256, 256) for _ in range(6)]
    parameters = [parameter for layer in layers for parameter in layer.parameters()]
    for _ in range(5):
        x = torch.randn(512, 256)
        for layer in layers:
            x = torch.relu(layer(x))
        gradients = torch.autograd.grad(x.square().mean(), parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter -= 0.1 * gradient
    print(torch.backends.cpu.get_cpu_capability())
    torch.save([parameter.detach() for parameter in parameters], workdir / "weights.pt")


def allocates_10_gb(workdir):
    torch.zeros(10 << 28)

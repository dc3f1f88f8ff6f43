"""A platform "cpu" for VeRL: gloo, float32, a logical Ray GPU, no device memory.

VeRL knows CUDA, ROCm and NPU.  Its FSDP engine runs on a CPU as soon as the questions that it asks of a device have
answers; it is registered for "cuda" alone, which ``VERL_ENGINE_DEVICE=cuda`` names while the platform stays "cpu".
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import verl.utils.distributed as verl_distributed
import verl.utils.fsdp_utils as verl_fsdp
from verl.plugin.platform import PlatformBase, PlatformRegistry


def _nothing(*_args: object, **_kwargs: object) -> None:
    """For what a CPU has not to do."""


def _no_bytes(*_args: object, **_kwargs: object) -> int:
    """Device memory of a machine without a device."""
    return 0


def _complete_torch_cpu() -> None:
    """Give ``torch.cpu`` what VeRL asks of every device module, where this torch leaves it out."""
    answers: dict[str, Any] = dict.fromkeys(
        ("max_memory_allocated", "max_memory_reserved", "memory_allocated", "memory_reserved"), _no_bytes
    )
    answers |= dict.fromkeys(("empty_cache", "reset_peak_memory_stats", "set_rng_state", "ipc_collect"), _nothing)
    answers["get_rng_state"] = torch.get_rng_state
    for name, answer in answers.items():
        if not hasattr(torch.cpu, name):
            setattr(torch.cpu, name, answer)


@PlatformRegistry.register(platform="cpu")
class PlatformCPU(PlatformBase):
    """Answers for a machine without an accelerator."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = torch.cpu

    def is_available(self) -> bool:
        """A CPU always is."""
        return True

    def current_device(self) -> torch.device:
        """A device and not an index: callers would turn an index into "cpu:0"."""
        return torch.device("cpu")

    def device_count(self) -> int:
        """One, however many cores."""
        return 1

    set_device = synchronize = set_allocator_settings = empty_cache = profiler_start = profiler_stop = _nothing

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_device_capability(self, device_index: int = 0) -> tuple[None, None]:
        """There is none."""
        return None, None

    def communication_backend_name(self) -> str:
        """Collectives between processes on CPUs."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Ray sets it for the logical GPU."""
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler listens."""
        yield

    def ray_resource_name(self) -> str:
        """VeRL counts "GPU" or "NPU" only: Ray is told of a GPU that is not there."""
        return "GPU"

    def ray_resource_options(self, num_gpus: float) -> dict[str, float]:
        """What a worker asks Ray for."""
        return {"num_gpus": num_gpus}

    def ray_noset_envvars(self) -> list[str]:
        """None."""
        return []

    def is_ipc_supported(self) -> bool:
        """Weights go through Ray."""
        return False

    def cudart(self) -> None:
        """No CUDA runtime."""


def _gloo_only() -> None:
    """VeRL asks for "cpu:gloo,cpu:gloo", which torch refuses for naming a device twice."""
    original = verl_distributed.initialize_global_process_group_ray

    def initialise(timeout_second: int | None = None, backend: str | None = None) -> Any:
        return original(timeout_second=timeout_second, backend=backend or "cpu:gloo")

    verl_distributed.initialize_global_process_group_ray = initialise


_complete_torch_cpu()
_gloo_only()
# Engines that only go forward (the reference) offload to pinned memory, which needs an accelerator to be pinned for.
# Has to happen before verl.workers.engine.fsdp takes the name.
verl_fsdp.CPUOffloadPolicy = _nothing

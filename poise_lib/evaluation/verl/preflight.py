"""What would stop a run, found before it starts: each problem a sentence that names the field and the way out.

:func:`problems` is pure and judges :class:`Machine`, which :func:`look` fills in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl.memory import memory_problems, read_shape
from poise_lib.evaluation.verl.tables import SUFFIXES
from poise_lib.evaluation.verl.versions import installed_version, version_problem
from poise_lib.names import (
    REASON_DATA_INVALID,
    REASON_ENGINE_MISSING,
    REASON_GPU_MISSING,
    REASON_GPU_TOO_SMALL,
)
from poise_lib.resources.verl import Platform, RolloutEngine, VerlModel, VerlSettings

FIELD: Final = "evaluation.verl"
_ROLLOUTS: Final = (RolloutEngine.VLLM.value, RolloutEngine.SGLANG.value)
"""Rollout engines that are packages, by their names."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What would stop a run."""

    reason: str
    """A CamelCase word for programs (:mod:`poise_lib.names`)."""
    message: str
    """A sentence that names the field and the way out."""


class Unusable(EngineError):
    """A run cannot begin for want of something that is no candidate's; the same input may succeed once it is mended."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.reason = problem.reason


@dataclass(frozen=True, slots=True)
class Machine:
    """What a run would find."""

    verl: str | None
    """VeRL's version; None when it is not installed."""
    cuda: bool
    """Whether PyTorch can use CUDA."""
    cards: tuple[int, ...] = ()
    """Bytes of each GPU of this node."""
    cuda_problem: str = ""
    """Why it cannot, as far as that is known."""
    rollouts: frozenset[str] = frozenset()
    """Which of vLLM and SGLang are installed."""


def look() -> Machine:
    """This machine."""
    engines = frozenset(name for name in _ROLLOUTS if find_spec(name) is not None)
    version = installed_version()
    try:
        import torch
    except ImportError:
        return Machine(version, False, cuda_problem="PyTorch is not installed", rollouts=engines)
    if torch.version.cuda is None:
        return Machine(version, False, cuda_problem=f"PyTorch {torch.__version__} is built for CPUs", rollouts=engines)
    if not torch.cuda.is_available():
        why = "PyTorch sees no GPU (driver, device plugin, or no GPU requested)"
        return Machine(version, False, cuda_problem=why, rollouts=engines)
    cards = tuple(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count()))
    return Machine(version, True, cards, rollouts=engines)


def problems(settings: VerlSettings, machine: Machine, model: Path | None) -> tuple[Problem, ...]:
    """Everything that would stop the run.

    Args:
        settings: the protocol.
        machine: where it would run.
        model: folder of the base, if it is there; without it memory is not estimated.
    """
    found: list[Problem] = []
    if problem := version_problem(machine.verl):
        found.append(Problem(REASON_ENGINE_MISSING, problem))
    found += _data_problems(settings.data.train)
    reward = settings.data.reward.path
    if reward is not None and not Path(reward).is_file():
        found.append(
            Problem(REASON_DATA_INVALID, f"{FIELD}.data.reward.path: {reward}: there is no such file; mount it")
        )
    if settings.platform is Platform.CPU:
        return tuple(found)
    return (*found, *_device_problems(settings, machine, model))


def _device_problems(settings: VerlSettings, machine: Machine, model: Path | None) -> list[Problem]:
    if not machine.cuda:
        text = (
            f"{FIELD}.platform {settings.platform.value} needs CUDA: {machine.cuda_problem}; request GPUs "
            "(evaluation.template.resources, nvidia.com/gpu), or set platform: cpu and rollout.engine: hf for a tiny "
            "model on a CPU"
        )
        return [Problem(REASON_GPU_MISSING, text)]
    found = []
    engine = settings.rollout.engine.value
    if engine in _ROLLOUTS and engine not in machine.rollouts:
        text = f"{FIELD}.rollout.engine {engine}: {engine} is not installed: pip install {engine}, beside VeRL"
        found.append(Problem(REASON_ENGINE_MISSING, text))
    if len(machine.cards) < settings.gpus_per_node:
        text = (
            f"{FIELD}.gpusPerNode is {settings.gpus_per_node}, but this node has {len(machine.cards)}; request more, or "
            "lower it"
        )
        found.append(Problem(REASON_GPU_MISSING, text))
    shape = read_shape(model) if model is not None else None
    if shape is not None and machine.cards:
        smallest = float(min(machine.cards))
        found += [
            Problem(REASON_GPU_TOO_SMALL, f"{FIELD}: {text}") for text in memory_problems(shape, settings, smallest)
        ]
    return found


def _data_problems(sources: Sequence[str]) -> list[Problem]:
    return [
        Problem(
            REASON_DATA_INVALID,
            f"{FIELD}.data.train: {source}: there is no such file; mount it (evaluation.template.volumes), or name a "
            "data set of the hub",
        )
        for source in sources
        if not Path(source).exists() and (Path(source).suffix in SUFFIXES or source.count("/") != 1)
    ]


def resolve_model(model: VerlModel) -> Path:
    """The folder of the base: the path itself, else a snapshot of the hub, fetched or from the cache (HF_HOME).

    Raises:
        InvalidInputError: it is neither.
        EngineError: huggingface_hub is not installed.
    """
    where = f"{FIELD}.model.path"
    folder = Path(model.path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InvalidInputError(f"{where}: {folder} holds no config.json, so it is no model of transformers")
        return folder
    if model.path.startswith("/") or model.path.count("/") != 1:
        raise InvalidInputError(
            f"{where}: {model.path}: there is no such folder; mount it (evaluation.template.volumes), or name a model of "
            "the hub such as Qwen/Qwen2.5-Math-1.5B"
        )
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise EngineError(
            f"{where}: {model.path} is no folder, and huggingface_hub is not installed: pip install 'poise-operator[verl]'"
        ) from error
    try:
        return Path(snapshot_download(model.path, revision=model.revision))
    except Exception as error:  # network, authentication, cache: the library has an exception for each
        cache = os.environ.get("HF_HOME", "~/.cache/huggingface")
        raise InvalidInputError(
            f"{where}: {model.path} is no folder here, and cannot be had from the hub or its cache ({cache}): "
            f"{str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error

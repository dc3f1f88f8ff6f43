"""What would stop a run, found before it starts: each problem a sentence that names the field and the way out.

:func:`problems` is pure and judges :class:`Machine`, which :func:`look` fills in.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poise_lib.errors import EngineError, InvalidInputError
from poise_lib.evaluation.verl.memory import memory_problems, read_shape
from poise_lib.evaluation.verl.tables import SUFFIXES
from poise_lib.evaluation.verl.versions import installed_version, version_problem
from poise_lib.resources.verl import RolloutEngine, VerlModel, VerlSettings

FIELD = "evaluation.verl"


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


def look() -> Machine:
    """This machine."""
    version = installed_version()
    try:
        import torch
    except ImportError:
        return Machine(version, False, cuda_problem="PyTorch is not installed")
    if torch.version.cuda is None:
        return Machine(version, False, cuda_problem=f"PyTorch {torch.__version__} is built for CPUs")
    if not torch.cuda.is_available():
        return Machine(version, False, cuda_problem="PyTorch sees no GPU (driver, device plugin, or no GPU requested)")
    cards = tuple(torch.cuda.get_device_properties(index).total_memory for index in range(torch.cuda.device_count()))
    return Machine(version, True, cards)


def problems(settings: VerlSettings, machine: Machine, model: Path | None) -> tuple[str, ...]:
    """Everything that would stop the run.

    Args:
        settings: the protocol.
        machine: where it would run.
        model: folder of the base, if it is there; without it memory is not estimated.
    """
    found: list[str] = []
    if problem := version_problem(machine.verl):
        found.append(problem)
    found += _data_problems(settings.data.train)
    reward = settings.data.reward.path
    if reward is not None and not Path(reward).is_file():
        found.append(f"{FIELD}.data.reward.path: {reward}: there is no such file")
    if settings.rollout.engine is RolloutEngine.HF:
        return tuple(found)
    if not machine.cuda:
        found.append(
            f"{FIELD}.rollout.engine {settings.rollout.engine.value} needs CUDA: {machine.cuda_problem}; request GPUs "
            "(evaluation.template.resources, nvidia.com/gpu), or use engine hf for a tiny model on a CPU"
        )
        return tuple(found)
    if len(machine.cards) < settings.gpus_per_node:
        found.append(
            f"{FIELD}.gpusPerNode is {settings.gpus_per_node}, but this node has {len(machine.cards)}; request more, or "
            "lower it"
        )
    shape = read_shape(model) if model is not None else None
    if shape is not None and machine.cards:
        found += [f"{FIELD}: {text}" for text in memory_problems(shape, settings, float(min(machine.cards)))]
    return tuple(found)


def _data_problems(sources: Sequence[str]) -> list[str]:
    return [
        f"{FIELD}.data.train: {source}: there is no such file; mount it (evaluation.template.volumes), or name a data "
        "set of the hub"
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

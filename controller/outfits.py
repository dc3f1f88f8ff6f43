"""What the engine of a task asks of its pod: image, time, resources, room to write, what training by VeRL needs beside. Pure.

The embedded engine takes the worker's image and a little of everything.  Engine verl takes the trainer's image for the
tasks that train and score, GPUs as its settings say, a large /dev/shm (Ray's objects and NCCL's buffers lie there), a
cache of the hub that is read and never filled, and for training a volume that outlives an attempt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Final

from controller.settings import Settings
from controller.templates import is_shared, layered
from poise_lib.errors import InvalidInputError
from poise_lib.resources.template import DataVolume, PodTemplate, Resources, VolumeUser
from poise_lib.resources.verl import Platform, VerlSettings
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskKind, TaskRequest, time_limit

GPU: Final = "nvidia.com/gpu"
HEAVY_KINDS: Final = (TaskKind.VERIFY, TaskKind.TRAIN, TaskKind.SCORE)
LIGHT: Final = Resources(requests={"cpu": "250m", "memory": "256Mi"}, limits={"memory": "2Gi"})

_HEAVY: Final = Resources(requests={"cpu": "1", "memory": "1Gi"}, limits={"memory": "6Gi"})
_ON_CPU: Final = Resources(requests={"cpu": "1", "memory": "2Gi"}, limits={"memory": "8Gi"})
"""For VeRL without a GPU, that is for tiny models: a dozen processes that each import PyTorch."""
_A_GPU: Final = (4, 24, 64)
"""CPUs and GiB of memory that are requested for each GPU, and the limit in GiB: a node with one card of 24 GB often has 32 GiB,
and one with eight cards of 80 GB 1 TiB or more.  Weights on their way to a checkpoint and what is offloaded lie there."""
SCRATCH: Final = "/tmp"  # noqa: S108 - a volume of the pod's own
_ROOM: Final = "1Gi"


@dataclass(frozen=True, slots=True)
class Nodes:
    """Pods that train together, as one Ray cluster."""

    count: int
    service: str
    """Headless Service that names them."""
    head: str
    """Host name of the first one, within the namespace."""


@dataclass(frozen=True, slots=True)
class VerlTask:
    """A task that trains or scores with engine verl."""

    settings: VerlSettings
    seconds: int
    """Time limit."""
    place: str = ""
    """A folder of its own in the checkpoint volume, the same for every attempt."""
    nodes: Nodes | None = None

    @property
    def on_gpus(self) -> bool:
        """Whether it needs any."""
        return self.settings.platform is Platform.CUDA

    def gpus(self, kind: TaskKind) -> int:
        """Of a pod: scoring samples from one copy of the weights on one card."""
        return 0 if not self.on_gpus else self.settings.gpus_per_node if kind is TaskKind.TRAIN else 1


def verl_task(request: TaskRequest, nodes: Nodes | None = None) -> VerlTask | None:
    """What engine verl is asked for; None for a task of another engine."""
    if request.verl is None:
        return None
    place = f"{request.name[:200]}-{request.digest.removeprefix('sha256:')[:16]}"
    return VerlTask(VerlSettings.model_validate(request.verl), request.time_limit, place, nodes)


@dataclass(frozen=True, slots=True)
class Outfit:
    """Of a pod."""

    image: str
    seconds: int
    resources: Resources
    """Of the container that does the work."""
    judging: Resources
    """Of the trusted container beside candidate code."""
    volumes: tuple[DataVolume, ...]
    room: str = _ROOM
    """Most that each of its writable volumes holds."""
    shared_memory: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of whoever looks at models: the container that does the work, and the one that judges what it left."""
    nccl: Mapping[str, str] = field(default_factory=dict)
    """Of the container that trains."""
    judge_sees_volumes: bool = False
    """Tensors are checked against the base, which lies there."""
    checkpoint_claim: str | None = None
    place: str = ""
    nodes: Nodes | None = None


def outfit(
    kind: TaskKind, template: PodTemplate, settings: Settings, asks_a_model: bool, task: VerlTask | None
) -> Outfit:
    """What the pod of a task gets.

    Args:
        kind: of the task.
        template: the Search's over the platform's.
        settings: the images.
        asks_a_model: whether the task asks a language model.
        task: of engine verl, if it is one.

    Raises:
        InvalidInputError: the template does not fit the settings of the engine; the message names the field.
    """
    volumes = tuple(item for item in template.volumes or () if _sees(kind, item))
    if task is None:
        seconds = time_limit(kind, asks_a_model=asks_a_model)
        resources = _embedded_resources(kind, template)
        return Outfit(settings.worker_image, seconds, resources, resources, volumes)
    _require(settings)
    if kind is TaskKind.TRAIN:
        _check(template, task)
    resources = _verl_resources(kind, template, task)
    training = kind is TaskKind.TRAIN
    return Outfit(
        image=settings.trainer_image,
        seconds=task.seconds,
        resources=resources,
        judging=_without_devices(resources),
        volumes=volumes,
        room=template.scratch or ("128Gi" if task.on_gpus else "4Gi"),
        shared_memory=template.shared_memory or ("16Gi" if task.on_gpus else "1Gi"),
        environment=_environment(template),
        nccl={"NCCL_DEBUG": "WARN", **template.nccl} if training and task.on_gpus else {},
        judge_sees_volumes=True,
        checkpoint_claim=template.checkpoint_claim if training else None,
        place=task.place,
        nodes=task.nodes if training else None,
    )


def _require(settings: Settings) -> None:
    """What the platform has to give to engine verl."""
    if not settings.trainer_image:
        raise InvalidInputError(
            "evaluation.engine: verl needs the trainer's image, and the platform names none: set images.trainer"
        )
    store = settings.artifacts.store
    if store is not None and not store.egress:
        raise InvalidInputError(
            "evaluation.engine: verl needs sockets for Ray, so candidate code cannot give the network up by itself, and the "
            f"platform's default for object stores lets it reach every server on port {store.port}: set the chart's "
            "artifacts.egress to the addresses of the store"
        )


def _sees(kind: TaskKind, volume: DataVolume) -> bool:
    """Whether tasks of a kind mount a data volume."""
    if kind in SPLIT_KINDS:
        return VolumeUser.TRAIN in volume.used_by
    return kind is not TaskKind.SCORE or VolumeUser.SCORE in volume.used_by


def _check(template: PodTemplate, task: VerlTask) -> None:
    problems = task.settings.problems
    shown = [volume for volume in template.volumes or () if problems and _shows(volume, problems, template)]
    for volume in shown:
        if VolumeUser.TRAIN in volume.used_by:
            raise InvalidInputError(
                f"evaluation.template.volumes: {volume.claim_name} at {volume.mount_path} would show the benchmark problems "
                f"(evaluation.verl.problems: {problems}) to candidate code; keep them in a volume of their own with "
                "usedBy: [score]"
            )
    if task.nodes is not None and template.checkpoint_claim is None:
        raise InvalidInputError(
            f"evaluation.template.checkpointClaim is missing, and evaluation.verl.nodes is {task.nodes.count}: name a claim "
            "that all nodes can write (ReadWriteMany), or set nodes: 1"
        )


def _shows(volume: DataVolume, path: str, template: PodTemplate) -> bool:
    """Whether a volume is the one that a path lies in, or is mounted below it."""
    within = [item.mount_path for item in template.volumes or () if PurePosixPath(path).is_relative_to(item.mount_path)]
    return volume.mount_path == max(within, key=len, default="") or PurePosixPath(volume.mount_path).is_relative_to(
        path
    )


def _embedded_resources(kind: TaskKind, template: PodTemplate) -> Resources:
    """The template's resources go to the tasks that verify, train and score; the rest need little."""
    if kind not in HEAVY_KINDS:
        return LIGHT
    wanted = [template.resources, template.scoring_resources if kind is TaskKind.SCORE else None]
    return _over(_HEAVY, *wanted)


def _verl_resources(kind: TaskKind, template: PodTemplate, task: VerlTask) -> Resources:
    gpus = task.gpus(kind)
    base = _ON_CPU
    if gpus:
        cpus, memory, limit = (amount * gpus for amount in _A_GPU)
        devices = {GPU: str(gpus)}
        base = Resources(
            requests={"cpu": str(cpus), "memory": f"{memory}Gi", **devices}, limits={"memory": f"{limit}Gi", **devices}
        )
    name = "resources" if kind is TaskKind.TRAIN else "scoringResources"
    found = _over(base, template.resources if kind is TaskKind.TRAIN else template.scoring_resources)
    if gpus and found.limits.get(GPU) != str(gpus):
        wants = f"evaluation.verl.gpusPerNode is {gpus}" if kind is TaskKind.TRAIN else "scoring takes one GPU"
        raise InvalidInputError(
            f"evaluation.template.{name}: {GPU} is {found.limits.get(GPU)}, but {wants}; leave it out"
        )
    return found


def _over(base: Resources, *wanted: Resources | None) -> Resources:
    for more in wanted:
        base = base if more is None else layered(base, more)
    return base


def _without_devices(resources: Resources) -> Resources:
    """What is judged is tensors in memory; a pod's GPUs are for the container that trains."""
    sides: dict[str, Any] = {
        side: {name: amount for name, amount in getattr(resources, side).items() if is_shared(name)}
        for side in ("requests", "limits")
    }
    return Resources.model_construct(**sides)


def _environment(template: PodTemplate) -> dict[str, str]:
    found = {"HF_HUB_OFFLINE": "1"}  # pods reach no hub, and what a candidate could fetch nobody has seen
    if template.hf_home is not None:
        # The volume is read-only, and these are written to.
        found |= {
            "HF_HOME": template.hf_home,
            "HF_MODULES_CACHE": f"{SCRATCH}/hf/modules",
            "HF_DATASETS_CACHE": f"{SCRATCH}/hf/datasets",
        }
    return found

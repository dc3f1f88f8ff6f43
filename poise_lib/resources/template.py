"""What a tenant may ask of the pods that run tasks in a cluster: typed and allow-listed, never a free merge.

The controller puts it over the platform's default, which has the same shape, and its hardening over both, last; nothing
here can undo that.  On one machine it has no effect.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from poise_lib.resources.base import Model, ObjectName, ShortText

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$", max_length=20)]
"""A Kubernetes quantity such as 500m, 4 or 16Gi."""
LabelKey = Annotated[
    str, StringConstraints(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$", max_length=253)
]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$", max_length=63)]
MountPath = Annotated[
    str, StringConstraints(pattern=r"^/(data|models|mnt)(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$", max_length=256)
]
"""Below /data, /models or /mnt, so that no mount covers what a task rests on; no part begins with a dot, which leads out."""


class Resources(Model):
    """Requests and limits of a container."""

    requests: dict[LabelKey, Quantity] = Field(
        default_factory=dict, max_length=16, description="What the scheduler sets aside, such as cpu: 2."
    )
    limits: dict[LabelKey, Quantity] = Field(
        default_factory=dict, max_length=16, description="What the container may not exceed, such as nvidia.com/gpu: 1."
    )


class Toleration(Model):
    """A taint that the pods tolerate."""

    key: LabelKey | None = Field(None, description="Key of the taint; any key when missing.")
    operator: Literal["Exists", "Equal"] = Field("Exists", description="Exists, or Equal with a value.")
    value: LabelValue | None = Field(None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; any effect when missing."
    )
    toleration_seconds: int | None = Field(None, ge=0, description="How long NoExecute is tolerated.")


class NodeRequirement(Model):
    """One condition on a node's labels."""

    key: LabelKey = Field(description="Label of the node.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="How the values are compared.")
    values: tuple[LabelValue, ...] = Field((), max_length=32, description="Values, for In and NotIn.")


NcclVariable = Annotated[str, StringConstraints(pattern=r"^NCCL_[A-Z0-9_]+$", max_length=63)]
"""A setting of NCCL, which connects GPUs: what it does depends on the cluster's network, which only its people know."""


class VolumeUser(StrEnum):
    """Who sees a data volume."""

    TRAIN = "train"
    """Tasks that run candidate code: train, and verify."""
    SCORE = "score"
    """The task that scores, which never has candidate code."""


class DataVolume(Model):
    """A claim of the namespace that is mounted read-only, such as a cache of models."""

    claim_name: ObjectName = Field(description="Name of the PersistentVolumeClaim.")
    mount_path: MountPath = Field(description="Where it appears, below /data, /models or /mnt.")
    used_by: tuple[VolumeUser, ...] = Field(
        tuple(VolumeUser),
        min_length=1,
        max_length=2,
        description="Which tasks see it: train and score. Benchmark problems are for score alone.",
    )


class PodTemplate(Model):
    """Where and with what the pods of tasks run; else as the platform's default, the chart's podTemplate, says."""

    # A list that is not there says nothing, so that the platform's default holds; an empty one says: none.

    resources: Resources | None = Field(
        None,
        description="Resources of tasks that verify, train or score; of engine verl only of those that train, whose GPUs "
        "follow from gpusPerNode.",
    )
    scoring_resources: Resources | None = Field(
        None, description="Resources of tasks that score, over resources; of engine verl over one GPU and its share."
    )
    node_selector: dict[LabelKey, LabelValue] = Field(
        default_factory=dict, max_length=16, description="Labels that a node must have."
    )
    node_affinity: tuple[NodeRequirement, ...] | None = Field(
        None, max_length=16, description="Conditions on a node's labels; all must hold."
    )
    tolerations: tuple[Toleration, ...] | None = Field(None, max_length=16, description="Taints that are tolerated.")
    runtime_class_name: ObjectName | None = Field(None, description="RuntimeClass, such as gvisor or nvidia.")
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    image_pull_secrets: tuple[ObjectName, ...] | None = Field(
        None, max_length=8, description="Secrets of the namespace with credentials of a registry."
    )
    volumes: tuple[DataVolume, ...] | None = Field(None, max_length=8, description="Claims that are mounted read-only.")
    checkpoint_claim: ObjectName | None = Field(
        None,
        description="Claim of the namespace that keeps the checkpoints of engine verl, so that a training which was "
        "pre-empted goes on; several nodes need one that all of them can write (ReadWriteMany).",
    )
    hf_home: MountPath | None = Field(
        None, description="A cache of the Hugging Face hub (HF_HOME) in one of the volumes, for engine verl."
    )
    shared_memory: Quantity | None = Field(
        None, description="Size of /dev/shm for engine verl: 16Gi with GPUs and 1Gi without when missing."
    )
    scratch: Quantity | None = Field(
        None,
        description="Most that each of the volumes on which a task of engine verl writes may hold: 128Gi with GPUs and "
        "4Gi without when missing.",
    )
    nccl: dict[NcclVariable, ShortText] = Field(
        default_factory=dict, max_length=32, description="Settings of NCCL for training by engine verl."
    )
    annotations: dict[LabelKey, ShortText] = Field(
        default_factory=dict, max_length=16, description="Annotations of the pods."
    )

    def pod_fields(self) -> dict[str, Any]:
        """The fields of a PodSpec that this decides."""
        document = self.to_document()
        names = ("nodeSelector", "tolerations", "runtimeClassName", "priorityClassName")
        fields = {name: document[name] for name in names if document.get(name)}
        if self.image_pull_secrets:
            fields["imagePullSecrets"] = [{"name": name} for name in self.image_pull_secrets]
        if self.node_affinity:
            terms = [{"matchExpressions": [rule.to_document() for rule in self.node_affinity]}]
            required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            fields["affinity"] = {"nodeAffinity": required}
        return fields

"""What the pod of a task that asks a language model has and no other pod has: a label, the key, a team's literature.

The key is a reference to a Secret, which the kubelet resolves; the controller never reads one.  Its place is the one
container of a trusted task: kinds that run candidate code are none of those that may ask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from controller.api import Document
from poise_lib.llm.config import ENV_KEY, ENV_LITERATURE
from poise_lib.names import GROUP
from poise_lib.resources import Search
from poise_lib.resources.llm import LLMSettings
from poise_lib.tasks.protocol import SPLIT_KINDS, TaskRequest

LABEL_ASKS: Final = f"{GROUP}/asks-model"
LITERATURE: Final = "/literature"
_VOLUME: Final = "literature"


@dataclass(frozen=True, slots=True)
class Extras:
    """What is added to a pod and to its trusted container."""

    labels: dict[str, str] = field(default_factory=dict)
    environment: tuple[Document, ...] = ()
    mounts: tuple[Document, ...] = ()
    volumes: tuple[Document, ...] = ()


NOTHING: Final = Extras()


def extras(request: TaskRequest, search: Search) -> Extras:
    """For the pod of this task: nothing, unless it asks the model that the search names now."""
    settings = search.spec.proposer.llm
    if settings is None or not request.asks_a_model or request.kind in SPLIT_KINDS:
        return NOTHING
    environment, mounts, volumes = _key(settings), [], []
    texts = settings.literature.config_map if settings.literature is not None else None
    if texts is not None:
        environment.append({"name": ENV_LITERATURE, "value": LITERATURE})
        mounts.append({"name": _VOLUME, "mountPath": LITERATURE, "readOnly": True})
        volumes.append({"name": _VOLUME, "configMap": {"name": texts}})
    return Extras({LABEL_ASKS: "true"}, tuple(environment), tuple(mounts), tuple(volumes))


def _key(settings: LLMSettings) -> list[Document]:
    """The key by reference; a server that asks for none needs no Secret."""
    wanted = settings.secret_ref
    if wanted is None:
        return []
    return [{"name": ENV_KEY, "valueFrom": {"secretKeyRef": {"name": wanted.name, "key": wanted.key}}}]

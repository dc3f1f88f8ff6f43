"""A task's input: its request, compressed, in one ConfigMap or in several, all of them owned by the task's Job.

Nearly every task needs one.  Archives of more than a thousand candidates need more, because an object of the API server
holds 1 MiB: the pod mounts them all into one folder, waits until all are there, and the task joins them.

The Job comes first, since it owns them.  A Job whose own parts are not all there (we died in between, or an answer was
lost) is found by :func:`lacking`, and let go.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from controller.api import CONFIG_MAPS, JOBS, Api, ApiError, Document
from controller.cache import Key
from controller.groups import companions
from controller.jobs import INPUT_VOLUME, JobView, controlled_by
from poise_lib.artifacts.digest import canonical_json
from poise_lib.errors import InvalidInputError
from poise_lib.names import LABEL_SEARCH
from poise_lib.tasks.protocol import TaskRequest

INPUT_FILE: Final = "request.json.gz"
PART_BYTES: Final = 750_000
"""Of an object's 1 MiB: as base64 it is a third more, and names and labels come on top."""
MAX_PARTS: Final = 16
"""12 MB: twice what choosing parents among 10,000 candidates takes, and little for an etcd of 2 GiB."""


def packed(request: TaskRequest) -> tuple[bytes, ...]:
    """A task's request in the parts that its ConfigMaps hold.

    Raises:
        InvalidInputError: compressed, it is still larger than all of them together may be.
    """
    data = gzip.compress(canonical_json(request.to_document()), mtime=0)
    parts = tuple(data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES))
    if len(parts) > MAX_PARTS:
        raise InvalidInputError(
            f"the input of {request.name} has {len(data)} bytes compressed, too many for {MAX_PARTS} objects"
        )
    return parts


def numbered(first: str, count: int) -> tuple[str, ...]:
    """Names of the parts: of a Job's ConfigMaps, or of their files.  No Job is named so: there is no dot in its name."""
    return (first, *(f"{first}.{number:02}" for number in range(2, count + 1)))


def volume(job: str, count: int) -> Document:
    """The volume of a pod that holds the parts; no container starts before all are there."""
    names = numbered(job, count)
    if count == 1:
        return {"name": INPUT_VOLUME, "configMap": {"name": job}}
    sources = [{"configMap": {"name": name, "optional": False}} for name in names]
    return {"name": INPUT_VOLUME, "projected": {"sources": sources}}


def documents(parts: Sequence[bytes], job: Document) -> Iterator[Document]:
    """The ConfigMaps with the parts, owned by the Job as the API server has it."""
    metadata = job["metadata"]
    owner = controlled_by("batch/v1", "Job", metadata["name"], metadata["uid"])
    names, files = numbered(metadata["name"], len(parts)), numbered(INPUT_FILE, len(parts))
    for name, file, part in zip(names, files, parts, strict=True):
        yield {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": metadata["labels"],
                "ownerReferences": [owner],
            },
            "immutable": True,
            "binaryData": {file: base64.b64encode(part).decode()},
        }


async def start(api: Api, namespace: str, job: Document, parts: Sequence[bytes]) -> Document | None:
    """Create a Job, then what goes with it, its input last; None when a deleted Job of this name has left some of its own there.

    A Job whose input is all there therefore has everything.

    Raises:
        ApiError: the API server refused one of them; the Job is gone again, unless that failed too.
        OSError: as before, for an answer that did not come.
    """
    made = await api.create(JOBS, namespace, job)
    try:
        for resource, document in companions(made):
            await api.create(resource, namespace, document)
        for document in documents(parts, made):
            await api.create(CONFIG_MAPS, namespace, document)
    except (ApiError, OSError) as error:
        with contextlib.suppress(ApiError, OSError):
            await api.delete(JOBS, namespace, made["metadata"]["name"])
        if isinstance(error, ApiError) and error.reason == "AlreadyExists":
            return None
        raise
    return made


async def lacking(api: Api, key: Key, jobs: Iterable[JobView]) -> list[JobView]:
    """The Jobs of a search whose input is not all there; what another Job of the same name has left is not theirs."""
    found = await api.versions(CONFIG_MAPS, key[0], labelSelector=f"{LABEL_SEARCH}={key[1]}")
    there = {(item.owner, item.name) for item in found if item.version}
    return [job for job in jobs if not there.issuperset((job.uid, name) for name in job.inputs)]

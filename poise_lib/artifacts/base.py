"""What an artifact store is, whatever it lies on.

Layout: ``blobs/<2 hex>/<62 hex>`` holds bytes by their own digest; ``results/<64 hex>.json`` holds a task's result by
the digest of its input.  A reader never sees half of an object, and whatever is read is checked against its digest.  A
result is written once: the first writer wins, and a later one is told so.

Whoever finds an object that it was about to write renews its time (:meth:`Store.rely_on`), so that a collection of what
nobody needs (:mod:`poise_lib.artifacts.collect`) leaves alone what a task has just relied on.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.errors import StateError

_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")
_KEY: Final = re.compile(r"(?:blobs/([0-9a-f]{2})/([0-9a-f]{62})|results/([0-9a-f]{64})\.json)")
BLOBS: Final = "blobs"
RESULTS: Final = "results"
FRESH: Final = 3600.0
"""Seconds for which an object's time is not renewed: in an object store that costs as much as to write it."""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object of a store, as a listing shows it."""

    key: str
    digest: str
    """Of its content for a blob; of the task's input for a result."""
    is_result: bool
    size: int
    """Bytes."""
    modified: float
    """When it was written or last relied on, in seconds since 1970."""


def _hexadecimal(digest: str) -> str:
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise StateError(f"{digest!r} is no artifact digest; expected sha256: and 64 hexadecimal digits")
    return match[1]


def blob_key(digest: str) -> str:
    """Where the blob of ``digest`` lies, whether it is there or not.

    Raises:
        StateError: ``digest`` is not of the form ``sha256:<64 hex>``.
    """
    name = _hexadecimal(digest)
    return f"{BLOBS}/{name[:2]}/{name[2:]}"


def result_key(input_digest: str) -> str:
    """Where the result of the task with this input lies; raises as :func:`blob_key`."""
    return f"{RESULTS}/{_hexadecimal(input_digest)}.json"


def stored(key: str, size: int, modified: float) -> StoredObject | None:
    """The object of a key; None for what is no object of a store, such as a file that is half written."""
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    name = match[3] or match[1] + match[2]
    return StoredObject(key, f"sha256:{name}", match[3] is not None, size, modified)


class Store(ABC):
    """Artifacts by their digest and results by that of their input; safe for several processes at once.

    Every method raises :class:`~poise_lib.errors.StateError` where the store cannot be reached, read or written; the
    message names the way out.
    """

    @property
    @abstractmethod
    def place(self) -> str:
        """What messages call it."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """The content of an object; None when there is none."""

    @abstractmethod
    def write(self, key: str, data: bytes, *, replace: bool = True) -> bool:
        """Write an object, all of it or nothing.

        Args:
            key: from :func:`blob_key` or :func:`result_key`.
            data: the whole content.
            replace: with False an object that is there is left as it is.

        Returns:
            Whether ``data`` is what was written.
        """

    @abstractmethod
    def modified(self, key: str) -> float | None:
        """When the object was written or last relied on, in seconds since 1970; None when there is none."""

    @abstractmethod
    def touch(self, key: str) -> None:
        """Set an object's time to now.  One that may not be written, or is gone, is left as it is."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; removing what is not there is no error."""

    @abstractmethod
    def objects(self) -> Iterator[StoredObject]:
        """All blobs and results, in no order; other things in the same place are left out."""

    @abstractmethod
    def put_file(self, source: Path) -> str:
        """Store the content of ``source``; returns its digest."""

    @abstractmethod
    def copy(self, key: str, target: Path) -> bool:
        """Write the content of an object to a file, a piece at a time; whether there is such an object."""

    def get_file(self, digest: str, target: Path) -> None:
        """Write the bytes of ``digest`` to a file, checked, without holding them in memory.

        Raises:
            StateError: the blob is missing or damaged, or the file cannot be written; then there is no file.
        """
        key = blob_key(digest)
        try:
            if not self.copy(key, target):
                raise StateError(f"artifact {digest} is missing from {self.place}")
            with target.open("rb") as file:
                found = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            if found != digest:
                raise self._damaged(key, digest)
        except BaseException:
            target.unlink(missing_ok=True)
            raise

    def _damaged(self, key: str, digest: str) -> StateError:
        return StateError(
            f"{self.place}/{key}: damaged: its content does not have the digest {digest}; remove it and run again"
        )

    def rely_on(self, key: str) -> None:
        """Note that an object is needed from now on; one whose time is within the last hour is fresh enough."""
        modified = self.modified(key)
        if modified is not None and time.time() - modified >= FRESH:
            self.touch(key)

    def has(self, digest: str) -> bool:
        """Whether the blob is there; its content is checked when it is read."""
        return self.modified(blob_key(digest)) is not None

    def put(self, data: bytes) -> str:
        """Store ``data``; returns its digest.  Storing the same bytes again only notes that they are needed."""
        digest = digest_of(data)
        key = blob_key(digest)
        if self.has(digest):
            self.rely_on(key)
        else:
            self.write(key, data)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, checked.

        Raises:
            StateError: the blob is missing or damaged.
        """
        key = blob_key(digest)
        data = self.read(key)
        if data is None:
            raise StateError(f"artifact {digest} is missing from {self.place}")
        if digest_of(data) != digest:
            raise self._damaged(key, digest)
        return data

    def remove(self, digest: str) -> None:
        """Remove a blob; removing what is not there is no error."""
        self.delete(blob_key(digest))

    def result(self, input_digest: str) -> dict[str, Any] | None:
        """The accepted result of the task with this input, or None; it and its blobs are relied on.

        A result that is damaged, or names a blob that is gone, counts as none: the task runs again.
        """
        key = result_key(input_digest)
        result = decoded(self.read(key))
        if result is None or not all(self.has(blob) for blob in named(result)):
            return None
        for used in (key, *map(blob_key, named(result))):
            self.rely_on(used)
        return result

    def put_result(self, input_digest: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """Keep ``result`` unless one is there already; returns the one that is kept."""
        kept = dict(result)
        document = canonical_json({"digest": digest_of(canonical_json(kept)), "result": kept})
        key = result_key(input_digest)
        if not self.write(key, document, replace=False):
            existing = self.result(input_digest)
            if existing is not None:
                return existing
            self.write(key, document)
        return kept


def decoded(data: bytes | None) -> dict[str, Any] | None:
    """The result in an object's content; None for one that is missing or damaged."""
    try:
        document = json.loads(data or b"")
        payload = canonical_json(document["result"])
    except (ValueError, KeyError, TypeError):
        return None
    if digest_of(payload) != document.get("digest") or not isinstance(document["result"], dict):
        return None
    result: dict[str, Any] = document["result"]
    return result


def named(result: Mapping[str, Any]) -> tuple[str, ...]:
    """The blobs that a result needs."""
    return tuple(result.get("artifacts", ()))

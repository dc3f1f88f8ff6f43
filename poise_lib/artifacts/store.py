"""The artifact store on a folder or a mounted volume.

Layout: ``blobs/<2 hex>/<62 hex>`` holds bytes by their own digest; ``results/<64 hex>.json`` holds a task's result by
the digest of its input.  Files appear by rename or link, so a reader never sees half of one, and whatever is read is
checked against its digest.  A result is written once: the first writer wins, and a later one is told so.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.errors import StateError

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_CHUNK = 1 << 20
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Error numbers of a full disk."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn an operating-system error on ``path`` into a :class:`StateError` that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            hint = "the disk is full: free some space and run the same command again; everything before this is kept"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "it cannot be written: check its owner and mode, or choose another --state directory"
        else:
            hint = os.strerror(error.errno) if error.errno else str(error)
        raise StateError(f"{path}: {hint}") from error


def write_atomically(path: Path, data: bytes, *, replace: bool = True) -> bool:
    """Write ``data`` so that ``path`` holds either its old content or all of the new, also after a crash.

    Args:
        path: the file; its folder is made when it is missing.
        data: the whole new content.
        replace: with False an existing file is left as it is, even if another process wins the race for it.

    Returns:
        Whether ``data`` is what ``path`` now holds.

    Raises:
        StateError: the disk is full or cannot be written.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if replace:
                os.replace(temporary, path)
                return True
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            return True
        finally:
            Path(temporary).unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """The content of a file; None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: cannot be read: {error.strerror}; check its owner, its mode and the disk") from error


class ArtifactStore:
    """Artifacts below one folder; safe for several processes at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, digest: str) -> Path:
        """Where the blob of ``digest`` lies, whether it is there or not.

        Raises:
            StateError: ``digest`` is not of the form ``sha256:<64 hex>``.
        """
        match = _DIGEST.fullmatch(digest)
        if match is None:
            raise StateError(f"{digest!r} is no artifact digest; expected sha256: and 64 hexadecimal digits")
        return self.root / "blobs" / match[1][:2] / match[1][2:]

    def has(self, digest: str) -> bool:
        """Whether the blob is there; its content is checked when it is read."""
        return self.path(digest).is_file()

    def put(self, data: bytes) -> str:
        """Store ``data``; returns its digest.  Storing the same bytes again does nothing."""
        digest = digest_of(data)
        if not self.has(digest):
            write_atomically(self.path(digest), data)
        return digest

    def put_file(self, source: Path) -> str:
        """Store the content of ``source``; returns its digest."""
        with disk_errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(dir=self.root, prefix=".put.")
            hasher = hashlib.sha256()
            try:
                with os.fdopen(descriptor, "wb") as target, source.open("rb") as file:
                    while chunk := file.read(_CHUNK):
                        hasher.update(chunk)
                        target.write(chunk)
                    target.flush()
                    os.fsync(target.fileno())
                digest = "sha256:" + hasher.hexdigest()
                path = self.path(digest)
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of ``digest``, checked.

        Raises:
            StateError: the blob is missing or damaged.
        """
        path = self.path(digest)
        data = _read(path)
        if data is None:
            raise StateError(f"artifact {digest} is missing from {self.root}")
        if digest_of(data) != digest:
            raise StateError(f"{path}: damaged: its content does not have the digest {digest}; remove it and run again")
        return data

    def remove(self, digest: str) -> None:
        """Remove a blob; removing what is not there is no error."""
        path = self.path(digest)
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def clean(self) -> None:
        """Remove what writers that were killed left half written; for when no writer is at work."""
        for pattern in (".put.*", "blobs/*/.*", "results/.*"):
            for half in self.root.glob(pattern):
                half.unlink(missing_ok=True)

    def _result_path(self, input_digest: str) -> Path:
        return self.root / "results" / (self.path(input_digest).parent.name + self.path(input_digest).name + ".json")

    def result(self, input_digest: str) -> dict[str, Any] | None:
        """The accepted result of the task with this input, or None.

        A result that is damaged, or names a blob that is gone, counts as none: the task runs again.

        Raises:
            StateError: the store cannot be read.
        """
        data = _read(self._result_path(input_digest))
        try:
            document = json.loads(data or b"")
            payload = canonical_json(document["result"])
        except (ValueError, KeyError, TypeError):
            return None
        if digest_of(payload) != document.get("digest"):
            return None
        result: dict[str, Any] = document["result"]
        return result if all(self.has(blob) for blob in result.get("artifacts", ())) else None

    def put_result(self, input_digest: str, result: Mapping[str, Any]) -> dict[str, Any]:
        """Keep ``result`` unless one is there already; returns the one that is kept."""
        kept = dict(result)
        document = canonical_json({"digest": digest_of(canonical_json(kept)), "result": kept})
        path = self._result_path(input_digest)
        if not write_atomically(path, document, replace=False):
            existing = self.result(input_digest)
            if existing is not None:
                return existing
            write_atomically(path, document)
        return kept

"""The artifact store on a folder or a mounted volume: files appear by rename or link, so a reader never sees half of one."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from poise_lib.artifacts.base import BLOBS, RESULTS, Store, StoredObject, blob_key, stored
from poise_lib.errors import StateError

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


class ArtifactStore(Store):
    """Artifacts below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.root)

    def path(self, digest: str) -> Path:
        """Where the blob of ``digest`` lies, whether it is there or not; raises as :func:`blob_key`."""
        return self.root / blob_key(digest)

    def read(self, key: str) -> bytes | None:
        """See :class:`Store`."""
        path = self.root / key
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(
                f"{path}: cannot be read: {error.strerror}; check its owner, its mode and the disk"
            ) from error

    def write(self, key: str, data: bytes, *, replace: bool = True) -> bool:
        """See :class:`Store`."""
        return write_atomically(self.root / key, data, replace=replace)

    def modified(self, key: str) -> float | None:
        """See :class:`Store`."""
        try:
            return (self.root / key).stat().st_mtime
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StateError(
                f"{self.root / key}: cannot be read: {error.strerror}; check its owner and mode"
            ) from error

    def touch(self, key: str) -> None:
        """See :class:`Store`."""
        with contextlib.suppress(OSError):  # a volume that is mounted read-only, or a file that goes at this moment
            os.utime(self.root / key)

    def put_file(self, source: Path) -> str:
        """See :class:`Store`."""
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

    def copy(self, key: str, target: Path) -> bool:
        """See :class:`Store`."""
        if self.modified(key) is None:
            return False
        with disk_errors(target):
            shutil.copyfile(self.root / key, target)
        return True

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        path = self.root / key
        with disk_errors(path):
            path.unlink(missing_ok=True)

    def objects(self) -> Iterator[StoredObject]:
        """See :class:`Store`."""
        for pattern in (f"{BLOBS}/*/*", f"{RESULTS}/*"):
            for path in self.root.glob(pattern):
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue  # another collection is at work
                found = stored(path.relative_to(self.root).as_posix(), status.st_size, status.st_mtime)
                if found is not None:
                    yield found

    def clean(self) -> None:
        """Remove what writers that were killed left half written; for when no writer is at work."""
        for pattern in (".put.*", f"{BLOBS}/*/.*", f"{RESULTS}/.*"):
            for half in self.root.glob(pattern):
                half.unlink(missing_ok=True)

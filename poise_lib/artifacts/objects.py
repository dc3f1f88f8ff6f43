"""The artifact store in an object store, through fsspec.

What a scheme means is fsspec's business: any file system that is installed will do, if it writes an object whole or not
at all, as object stores do.  For ``s3``, ``gs``, ``az`` and ``abfs`` it is obstore's: its package stands alone, where
s3fs holds back what the Kubernetes client needs, and it writes under a condition.

**First writer wins.**  A result is written with ``If-None-Match: *`` where obstore serves the scheme; S3, Google Cloud
Storage, Azure, MinIO, Ceph and R2 honour it, and then exactly one of several writers wins.  A file system or a server
that knows no condition gets a last look before the write instead: two writers that look at the same instant both write,
the later one stays, and each has used a valid result of the same task.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import fsspec
from obstore.exceptions import AlreadyExistsError, BaseError, NotSupportedError
from obstore.fsspec import FsspecStore
from obstore.store import ObjectStore as Bucket

from poise_lib.artifacts.base import Store, StoredObject, blob_key, stored
from poise_lib.artifacts.store import disk_errors
from poise_lib.errors import StateError

_OBSTORE_SCHEMES: Final = ("s3", "gs", "az", "abfs")
_CONNECT_TIMEOUT: Final = timedelta(seconds=5)
_TIMEOUT: Final = timedelta(seconds=60)
"""Of one request; weights of a small model take a fraction of it on any network that a training would be run on."""
_RETRIES: Final = 6
_RETRY_TIMEOUT: Final = timedelta(seconds=60)
"""After which no further try begins; a task is an attempt, and its starter tries again later."""
_CHUNK: Final = 1 << 20


class _Conditional(FsspecStore):
    """obstore's file system, with two things that it leaves out: the condition of a write, and times in a listing."""

    cachable = False  # the environment that it reads is not part of fsspec's key

    async def _pipe_file(self, path: str, value: Any, mode: str = "overwrite", **_: Any) -> Any:
        bucket, key = self._split_path(path)
        target: Bucket = self._construct_store(bucket)
        try:
            return await target.put_async(key, value, mode="create" if mode == "create" else "overwrite")
        except AlreadyExistsError as error:
            raise FileExistsError(path) from error

    async def _find(
        self, path: str, maxdepth: int | None = None, withdirs: bool = False, **_: Any
    ) -> dict[str, dict[str, Any]]:
        bucket, prefix = self._split_path(path)
        target: Bucket = self._construct_store(bucket)
        found: dict[str, dict[str, Any]] = {}
        async for batch in target.list(prefix=prefix):
            for item in batch:
                name = f"{bucket}/{item['path']}"
                found[name] = {"name": name, "size": item["size"], "last_modified": item["last_modified"]}
        return found


def _filesystem(scheme: str) -> Any:
    if scheme not in _OBSTORE_SCHEMES:
        return fsspec.filesystem(scheme)
    make: Any = _Conditional  # its overloads want one scheme each
    return make(
        scheme,
        client_options={
            "allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://"),
            "connect_timeout": _CONNECT_TIMEOUT,
            "timeout": _TIMEOUT,
        },
        retry_config={"max_retries": _RETRIES, "retry_timeout": _RETRY_TIMEOUT},
    )


class ObjectStore(Store):
    """Artifacts below one prefix of a bucket."""

    def __init__(self, filesystem: Any, root: str, place: str) -> None:
        """
        Args:
            filesystem: fsspec's.
            root: bucket and prefix as the file system names them.
            place: what messages call it.
        """
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._place = place.rstrip("/")

    @classmethod
    def at(cls, url: str) -> Self:
        """The store at a URL with a scheme of fsspec's.

        Raises:
            StateError: fsspec does not know the scheme, or lacks the package for it.
        """
        scheme, _, root = url.partition("://")
        try:
            return cls(_filesystem(scheme), root, url)
        except (ImportError, ValueError) as error:
            raise StateError(f"{url}: cannot be opened: {error}") from error

    @property
    def place(self) -> str:
        """The URL."""
        return self._place

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextlib.contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        """Turn whatever a backend raises into one line that names the way out; what is missing passes."""
        try:
            yield
        except FileExistsError:
            raise
        except (BaseError, OSError, TimeoutError) as error:
            missing = isinstance(error, FileNotFoundError)
            # A bucket that is not there must not look like an object that is not: a task would work, and lose it all.
            if "NoSuchBucket" in str(error) or (missing and doing == "written"):
                raise StateError(f"{self.place}: there is no such bucket: make it, or correct the URL") from error
            if missing:
                raise
            raise StateError(f"{self.place}: cannot be {doing}: {_explained(error)}") from error

    def read(self, key: str) -> bytes | None:
        """See :class:`Store`."""
        try:
            with self._errors("read"):
                return bytes(self._filesystem.cat_file(self._path(key)))
        except FileNotFoundError:
            return None

    def write(self, key: str, data: bytes, *, replace: bool = True) -> bool:
        """See :class:`Store`, and the module on two writers of one result."""
        path = self._path(key)
        with self._errors("written"):
            if replace:
                self._filesystem.pipe_file(path, data)
                return True
            try:
                self._filesystem.pipe_file(path, data, mode="create")
            except FileExistsError:
                return False
            except (NotImplementedError, TypeError, BaseError) as error:
                if isinstance(error, BaseError) and not _without_conditions(error):
                    raise
            else:
                return True
        if self.modified(key) is not None:
            return False
        return self.write(key, data)

    def _info(self, key: str) -> dict[str, Any] | None:
        try:
            with self._errors("read"):
                found: dict[str, Any] = self._filesystem.info(self._path(key))
        except FileNotFoundError:
            return None
        return found if found.get("type") == "file" else None

    def modified(self, key: str) -> float | None:
        """See :class:`Store`."""
        found = self._info(key)
        return None if found is None else _time(found)

    def touch(self, key: str) -> None:
        """See :class:`Store`."""
        data = self.read(key)
        if data is not None:
            # An object store has no other way to renew a time everywhere; the content is the same.
            self.write(key, data)

    def put_file(self, source: Path) -> str:
        """See :class:`Store`."""
        hasher = hashlib.sha256()
        with disk_errors(source), source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hasher.update(chunk)
        digest = "sha256:" + hasher.hexdigest()
        key = blob_key(digest)
        if self.has(digest):
            self.rely_on(key)
        else:
            with self._errors("written"):
                self._filesystem.put_file(str(source), self._path(key))
        return digest

    def copy(self, key: str, target: Path) -> bool:
        """See :class:`Store`."""
        try:
            with self._errors("read"):
                self._filesystem.get_file(self._path(key), str(target))
        except FileNotFoundError:
            return False
        return True

    def delete(self, key: str) -> None:
        """See :class:`Store`."""
        with self._errors("written"), contextlib.suppress(FileNotFoundError):
            self._filesystem.rm_file(self._path(key))

    def objects(self) -> Iterator[StoredObject]:
        """See :class:`Store`."""
        try:
            with self._errors("listed"):
                found: dict[str, dict[str, Any]] = self._filesystem.find(self._root, detail=True)
        except FileNotFoundError:
            return
        for path, about in found.items():
            key = path.partition(f"{self._root.strip('/')}/")[2]
            item = stored(key, int(about.get("size") or 0), _time(about))
            if item is not None:
                yield item


def _time(about: dict[str, Any]) -> float:
    """Seconds since 1970 from what a file system calls it; now where it does not say, which is the safe side."""
    for name in ("last_modified", "LastModified", "mtime", "updated", "created"):
        match about.get(name):
            case datetime() as moment:
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
            case int() | float() as seconds:
                return float(seconds)
            case _:
                pass
    return time.time()


def _without_conditions(error: BaseError) -> bool:
    """Whether the server says that it knows no If-None-Match."""
    return isinstance(error, NotSupportedError) or "501 Not Implemented" in str(error)


_HINTS: Final = (
    (("403 Forbidden", "AccessDenied", "PermissionDenied", "PermissionError"),
     "access denied: check the credentials, and that they may list, get, put and delete objects below the prefix"),
    (("401 Unauthorized", "Unauthenticated", "InvalidAccessKeyId", "SignatureDoesNotMatch"),
     "the credentials are not accepted: check the Secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (("169.254.", "metadata", "CredentialsNotLoaded"),
     "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, in a cluster by the chart's artifacts.secret"),
    (("301 Moved", "PermanentRedirect", "AuthorizationHeaderMalformed"), "the bucket is in another region: set AWS_REGION"),
    (("error sending request", "ConnectionError", "operation timed out", "TimeoutError", "dns error"),
     "the endpoint does not answer: check AWS_ENDPOINT_URL, name resolution and network policies"),
)  # fmt: skip


def _explained(error: Exception) -> str:
    """One line: the way out where the cause is known, and what the backend said."""
    text = str(error)
    said = " ".join(text.partition("Debug source:")[0].split())[:300] or type(error).__name__
    everything = f"{type(error).__name__} {text}"
    hint = next((way_out for words, way_out in _HINTS if any(word in everything for word in words)), "")
    return f"{hint} ({said})" if hint else said

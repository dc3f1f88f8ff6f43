"""One way to name an artifact store: a path, or a URL."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from poise_lib.artifacts.base import Store
from poise_lib.artifacts.store import ArtifactStore
from poise_lib.errors import InvalidInputError, StateError

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*://")


def is_url(where: str) -> bool:
    """Whether ``where`` names an object store rather than a folder."""
    return _SCHEME.match(where) is not None


def open_store(where: str) -> Store:
    """The store at a path, or at a URL such as ``s3://bucket/prefix``; nothing is made or looked at yet.

    ``file://`` is a folder like any path: files appear there whole, which fsspec's local file system does not promise.
    Endpoint, region and credentials of an object store come from its usual environment variables.

    Raises:
        InvalidInputError: the URL has no bucket, or carries what does not belong into it.
        StateError: the packages for this kind of URL are not installed.
    """
    if not is_url(where):
        return ArtifactStore(Path(where))
    parts = urlsplit(where)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidInputError(
            f"{parts.scheme}://: the URL of an artifact store is scheme, bucket and prefix; credentials and the endpoint "
            "go into environment variables such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL"
        )
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidInputError(f"{where}: a folder's URL has three slashes, such as file:///srv/artifacts")
        return ArtifactStore(Path(unquote(parts.path)))
    if not parts.netloc:
        raise InvalidInputError(f"{where}: no bucket; expected {parts.scheme}://BUCKET/PREFIX")
    try:
        from poise_lib.artifacts.objects import ObjectStore
    except ImportError as error:
        raise StateError(
            f"{where}: {error.name} is not installed: pip install 'poise-operator[s3]' brings what object stores need"
        ) from error
    return ObjectStore.at(where)

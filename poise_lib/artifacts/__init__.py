"""Content-addressed artifacts, and results of tasks by the digest of their input; on a folder or in an object store."""

from poise_lib.artifacts.base import Store, StoredObject
from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.artifacts.opening import open_store
from poise_lib.artifacts.store import ArtifactStore

__all__ = ["ArtifactStore", "Store", "StoredObject", "canonical_json", "digest_of", "open_store"]

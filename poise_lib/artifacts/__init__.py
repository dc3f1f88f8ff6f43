"""Content-addressed artifacts, and results of tasks by the digest of their input."""

from poise_lib.artifacts.digest import canonical_json, digest_of
from poise_lib.artifacts.store import ArtifactStore

__all__ = ["ArtifactStore", "canonical_json", "digest_of"]

"""Canonical JSON and SHA-256 digests of the form ``sha256:<hex>``."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(document: Any) -> bytes:
    """One byte string per document: sorted keys, no spaces, UTF-8, no NaN or infinity.

    Raises:
        ValueError: the document holds NaN or an infinity.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(data: bytes) -> str:
    """``sha256:<hex>`` of ``data``."""
    return "sha256:" + hashlib.sha256(data).hexdigest()

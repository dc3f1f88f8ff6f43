"""The objects of a namespace, read from inside a pod with its service account: the images hold no kubectl.

As text: whoever asks looks for digests, and must not depend on what this version can parse.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import quote

from poise_lib.errors import ClusterError
from poise_lib.names import GROUP, VERSION

ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PLURALS: Final = ("searches", "candidates", "evaluations")
_PAGE: Final = 500
_TIMEOUT: Final = 30.0


def is_pod() -> bool:
    """Whether this process has a service account of a cluster."""
    return "KUBERNETES_SERVICE_HOST" in os.environ and (ACCOUNT / "token").exists()


def texts(namespace: str) -> Iterator[str]:
    """Every search, candidate and evaluation of the namespace, as JSON.

    Raises:
        ClusterError: the API server does not answer, or refuses; nothing may be concluded from what came before.
    """
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    context = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    headers = {"Authorization": f"Bearer {(ACCOUNT / 'token').read_text().strip()}", "Accept": "application/json"}
    for plural in PLURALS:
        path = f"/apis/{GROUP}/{VERSION}/namespaces/{quote(namespace, safe='')}/{plural}"
        rest: str | None = ""
        while rest is not None:
            query = f"?limit={_PAGE}" + (f"&continue={quote(rest, safe='')}" if rest else "")
            request = urllib.request.Request(server + path + query, headers=headers)  # noqa: S310 - always https
            try:
                with urllib.request.urlopen(request, timeout=_TIMEOUT, context=context) as answer:  # noqa: S310
                    page = json.loads(answer.read())
                yield from (json.dumps(item) for item in page["items"])
                rest = page["metadata"].get("continue") or None
            except urllib.error.HTTPError as error:
                raise ClusterError(
                    f"namespace {namespace}: {plural}: {error.code} {error.reason}; the service account needs the verb list"
                ) from error
            except (OSError, ValueError, KeyError) as error:
                raise ClusterError(f"namespace {namespace}: {plural} cannot be listed: {error}") from error

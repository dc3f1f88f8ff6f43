"""The project's CRDs, and how to have an API server know them."""

from __future__ import annotations

import time
from typing import Final

import yaml

from tests.kube.client import ApiError, Client, Document
from tests.kube.cluster import ROOT

CRD_PATH: Final = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
ESTABLISH_SECONDS: Final = 30.0


def load_crds() -> dict[str, Document]:
    """The CRDs of ``crds/`` by kind."""
    documents = [yaml.safe_load(file.read_text(encoding="utf-8")) for file in sorted((ROOT / "crds").glob("*.yaml"))]
    return {document["spec"]["names"]["kind"]: document for document in documents}


def install(client: Client, *crds: Document) -> None:
    """Apply CRDs server-side, and wait until their kinds are served, and described to kubectl.

    Raises:
        TimeoutError: some are not.
    """
    for document in crds:
        client.apply(f"{CRD_PATH}/{document['metadata']['name']}", document)
    limit = time.monotonic() + ESTABLISH_SECONDS
    for document in crds:
        while not _served(client, document):
            if time.monotonic() > limit:
                raise TimeoutError(f"{document['metadata']['name']} is not served")
            time.sleep(0.1)


def _served(client: Client, crd: Document) -> bool:
    group, names = crd["spec"]["group"], crd["spec"]["names"]
    path = f"apis/{group}/{crd['spec']['versions'][0]['name']}"
    try:
        resources = {resource["name"] for resource in client.get(f"/{path}")["resources"]}
        if names["plural"] not in resources:
            return False
        openapi = client.get("/openapi/v3")["paths"].get(path)
        schemas = client.get(openapi["serverRelativeURL"])["components"]["schemas"] if openapi else {}
    except ApiError:
        return False
    return any(name.endswith(f".{names['kind']}") for name in schemas)

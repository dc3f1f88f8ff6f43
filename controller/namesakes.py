"""What bears a name that a search wants and is not the search's: nothing would ever bring it into the search's picture."""

from __future__ import annotations

from collections.abc import Iterable

from controller.api import CONFIG_MAPS, CUSTOM, JOBS, Api, Document
from controller.cache import Key


async def in_the_way(api: Api, key: Key, kind: str, name: str) -> str:
    """A sentence on the object of this name, if it is somebody else's; empty when it is the search's own, or gone.

    Args:
        api: the API server.
        key: of the search.
        kind: Candidate, Evaluation or Job.
        name: that the search wants.
    """
    found = await api.items(CUSTOM.get(kind, JOBS), key[0], fieldSelector=f"metadata.name={name}")
    if not found or _may_be_ours(kind, found[0], key[1]):
        return ""
    return f"{kind} {name} is there already and belongs to something else: delete it, or rename the search"


async def in_the_way_of_input(api: Api, namespace: str, names: Iterable[str]) -> str:
    """A sentence on a ConfigMap of one of these names that nobody owns; empty if there is none.

    What a Job of ours has left is owned by it, and goes by itself.
    """
    for name in names:
        found = await api.versions(CONFIG_MAPS, namespace, fieldSelector=f"metadata.name={name}")
        if found and not found[0].owner:
            return f"ConfigMap {name} is there already and belongs to something else: delete it, or rename the search"
    return ""


def _may_be_ours(kind: str, item: Document, search: str) -> bool:
    if kind in CUSTOM:
        return bool(item.get("spec", {}).get("search") == search)
    # One of an earlier search of this name goes by itself.
    owners = item["metadata"].get("ownerReferences", ())
    return any((owner["kind"], owner["name"]) == ("Search", search) for owner in owners)

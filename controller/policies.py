"""The NetworkPolicy of a search whose tasks ask a language model: made, and kept as the search says.

It opens the way to the model for the search's asking pods alone; everything else stays closed by the policy of all tasks.
It belongs to the Search and goes with it.  Level-triggered: what is there is compared with what is wanted when that has
changed, and otherwise once in a while, so that one which somebody has edited or deleted comes right again.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Final

import structlog

from controller import egress
from controller.api import NETWORK_POLICIES, Api, ApiError, Document
from controller.asking import LABEL_ASKS
from controller.cache import Key
from controller.jobs import controlled_by
from poise_lib.errors import InvalidInputError
from poise_lib.names import API_VERSION, LABEL_MANAGED_BY, LABEL_SEARCH, MANAGED_BY
from poise_lib.resources import Search

LOOK_SECONDS: Final = 60.0
"""How long a policy that was as it should be is taken to be so still."""
STALE_SECONDS: Final = 2.0
"""How long to wait for the garbage collector to take the one of a deleted search of the same name."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the policy is not in place, and after how long to try again; no text where it passes by itself."""

    text: str
    seconds: float | None = None


@dataclass(slots=True)
class _Seen:
    wanted: Document
    answered: Document
    """The spec as the server has it, with what it fills in: compared with, so that this is never taken for a change."""
    until: float


@dataclass(slots=True)
class ModelPolicies:
    """The policies of all searches that ask a model."""

    api: Api
    seen: dict[Key, _Seen] = field(default_factory=dict)

    def forget(self, key: Key) -> None:
        """The search is gone, and its policy with it."""
        self.seen.pop(key, None)

    async def keep(self, search: Search) -> Problem | None:
        """See that the policy is there and says what the search says; None when it does.

        One that the search needs no more is left: it opens nothing but to pods that ask a model.

        Raises:
            ApiError: the API server is in trouble.
        """
        key = (search.metadata.namespace or "", search.metadata.name)
        try:
            wanted = policy(search)
        except InvalidInputError as error:
            return Problem(str(error))
        if wanted is None:
            self.forget(key)
            return None
        seen = self.seen.get(key)
        if seen is not None and seen.wanted == wanted and time.monotonic() < seen.until:
            return None
        try:
            return await self._bring_about(key, search, wanted, seen)
        except ApiError as error:
            if error.refused:
                return Problem(f"NetworkPolicy {wanted['metadata']['name']}: {error}")
            if error.conflict or error.missing:  # somebody else was faster
                return Problem("", STALE_SECONDS)
            raise

    async def _bring_about(self, key: Key, search: Search, wanted: Document, seen: _Seen | None) -> Problem | None:
        name = wanted["metadata"]["name"]
        there = await self._there(key[0], name)
        if there is None:
            there = await self.api.create(NETWORK_POLICIES, key[0], wanted)
            log.info("policy made", policy=name)
        elif not _belongs_to(there, search):
            if _belonged_to(there, search) or "deletionTimestamp" in there["metadata"]:
                return Problem("", STALE_SECONDS)
            return Problem(
                f"NetworkPolicy {name} is there already and belongs to something else: delete it, or rename the search"
            )
        elif not _same(there, wanted, seen):
            labels = there["metadata"].get("labels", {}) | wanted["metadata"]["labels"]
            body = {**there, "metadata": {**there["metadata"], "labels": labels}, "spec": wanted["spec"]}
            there = await self.api.replace(NETWORK_POLICIES, key[0], body)
            log.info("policy changed", policy=name)
        self.seen[key] = _Seen(wanted, there["spec"], time.monotonic() + LOOK_SECONDS)
        return None

    async def _there(self, namespace: str, name: str) -> Document | None:
        try:
            return await self.api.get(NETWORK_POLICIES, namespace, name)
        except ApiError as error:
            if not error.missing:
                raise
            return None


def policy(search: Search) -> Document | None:
    """What a search's asking pods may reach; None for a search that asks no model.

    Raises:
        InvalidInputError: the address of the model is none, or one that no pod should ask.
    """
    settings = search.spec.proposer.llm
    if settings is None:
        return None
    name = search.metadata.name
    labels = {LABEL_MANAGED_BY: MANAGED_BY, LABEL_SEARCH: name}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": policy_name(name),
            "namespace": search.metadata.namespace,
            "labels": labels,
            "ownerReferences": [controlled_by(API_VERSION, "Search", name, search.metadata.uid)],
        },
        "spec": {
            "podSelector": {"matchLabels": {**labels, LABEL_ASKS: "true"}},
            "policyTypes": ["Egress"],
            "egress": egress.rules(settings),
        },
    }


def policy_name(search: str) -> str:
    """Of the policy of a search."""
    return f"poise-model-{search}"


def _same(there: Document, wanted: Document, seen: _Seen | None) -> bool:
    labelled = wanted["metadata"]["labels"].items() <= there["metadata"].get("labels", {}).items()
    expected = [wanted["spec"], *([seen.answered] if seen is not None and seen.wanted == wanted else [])]
    return labelled and there["spec"] in expected


def _belongs_to(there: Document, search: Search) -> bool:
    return any(owner["uid"] == search.metadata.uid for owner in there["metadata"].get("ownerReferences", ()))


def _belonged_to(there: Document, search: Search) -> bool:
    """Whether an earlier search of this name has left it: the garbage collector takes it."""
    owners = there["metadata"].get("ownerReferences", ())
    return any((owner["kind"], owner["name"]) == ("Search", search.metadata.name) for owner in owners)

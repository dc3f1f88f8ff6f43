"""One active controller: a Lease, taken, renewed, and given back.

The Deployment's strategy is Recreate, so two controllers are rare; the Lease covers the rest (a node that is cut off, two
installations).  Whoever loses it stops at once: the process ends, and Kubernetes starts it again as a candidate.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import structlog

from controller.api import LEASES, Api, ApiError, Document

DURATION: Final = 15
RENEW_EVERY: Final = 5.0
RETRY_EVERY: Final = 2.0

log = structlog.get_logger()


class LeaseLost(Exception):
    """Another controller holds the lease, or it could not be renewed in time."""


@dataclass(slots=True)
class Lease:
    """A named lease and who wants it."""

    api: Api
    namespace: str
    name: str
    identity: str
    _seen: str = field(default="", init=False)
    """Who held it and since when, as last read; our own clock says for how long nothing has changed."""
    _since: float = field(default=0.0, init=False)

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        told = False
        while not await self._took():
            if not told:
                log.info("waiting for the lease", lease=self.name, namespace=self.namespace)
                told = True
            await asyncio.sleep(RETRY_EVERY)
        log.info("holding the lease", lease=self.name, identity=self.identity)

    async def keep(self) -> None:
        """Renew until cancelled.

        Raises:
            LeaseLost: it is another's now, or was not renewed for as long as it lasts.
        """
        loop = asyncio.get_running_loop()
        renewed = loop.time()
        while True:
            await asyncio.sleep(RENEW_EVERY)
            try:
                if not await self._take():
                    raise LeaseLost(f"{self.namespace}/{self.name} is held by another controller")
                renewed = loop.time()
            except (ApiError, OSError, TimeoutError) as error:
                # An API server that is away gives the lease to nobody; the expiry still holds once it is back.
                log.warning("the lease could not be renewed", error=str(error))
                if loop.time() - renewed > DURATION and isinstance(error, ApiError):
                    raise LeaseLost(f"not renewed for {DURATION} s: {error}") from error

    async def release(self) -> None:
        """Let the next controller start without waiting for the expiry."""
        try:
            held = await self.api.get(LEASES, self.namespace, self.name)
            if held["spec"].get("holderIdentity") == self.identity:
                held["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
                await self.api.replace(LEASES, self.namespace, held)
        except (ApiError, OSError, TimeoutError) as error:
            log.warning("the lease could not be released", error=str(error))

    async def _took(self) -> bool:
        """Like :meth:`_take`; an API server that cannot answer now is asked again."""
        try:
            return await self._take()
        except (ApiError, OSError) as error:
            log.warning("the lease could not be taken", error=str(error))
            return False

    async def _take(self) -> bool:
        try:
            held = await self.api.get(LEASES, self.namespace, self.name)
        except ApiError as error:
            if not error.missing:
                raise
            body: Document = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self.name, "namespace": self.namespace},
                "spec": self._mine(),
            }
            return await self._attempt(self.api.create(LEASES, self.namespace, body))
        spec = held["spec"]
        if spec.get("holderIdentity") not in (self.identity, "", None) and not self._expired(spec):
            return False
        held["spec"] = {**self._mine(), "leaseTransitions": spec.get("leaseTransitions", 0) + 1}
        if spec.get("holderIdentity") == self.identity:
            held["spec"] |= {key: spec[key] for key in ("acquireTime", "leaseTransitions") if key in spec}
        return await self._attempt(self.api.replace(LEASES, self.namespace, held))

    @staticmethod
    async def _attempt(write: object) -> bool:
        try:
            await write  # type: ignore[misc]
        except ApiError as error:
            if error.conflict:
                return False
            raise
        return True

    def _expired(self, spec: Document) -> bool:
        """Whether nobody has renewed it for as long as it lasts, by our own clock: another's may be wrong."""
        seen, now = f"{spec.get('holderIdentity')} {spec.get('renewTime')}", asyncio.get_running_loop().time()
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since > float(spec.get("leaseDurationSeconds", DURATION))

    def _mine(self) -> dict[str, object]:
        now = _now()
        return {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": DURATION,
            "acquireTime": now,
            "renewTime": now,
        }


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""The cluster of bench_controller: a controller that is started and stopped, searches, archives, and waiting for them."""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from benchmarks.controller_api import POISE, Document, Server, side_by_side
from benchmarks.controller_figures import Figures
from benchmarks.controller_nodes import ANNOTATION_SECONDS, Nodes, tied
from benchmarks.controller_probe import Counts, Delays, Pages, Process, Started, Use
from benchmarks.controller_sample import Archive, Sample
from controller.settings import ArtifactSettings
from poise_lib.names import API_VERSION
from tests.kube.assets import CONTROLLERS
from tests.kube.cluster import ROOT, ControlPlane
from tests.kube.controller import Controller
from tests.kube.processes import Processes

WIDTH: Final = 24
"""Requests in flight while archives are written."""
WATCHED: Final = ("searches", "candidates", "evaluations")
START_SECONDS: Final = 600.0
"""How long a start is waited for."""
LIMITS: Final = ("--kube-api-qps", "400", "--kube-api-burst", "800")
_begun = time.perf_counter()


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"[{time.perf_counter() - _begun:5.0f} s] {text}", file=sys.stderr, flush=True)


class NeverError(Exception):
    """What was waited for did not come."""


class Unhurried(Processes):
    """Starts Kubernetes' controllers with client limits that do not bind."""

    def start(self, name: str, command: Sequence[str], *, pass_fds: Sequence[int] = ()) -> None:
        """Start a child."""
        super().start(name, [*command, *(LIMITS if name in CONTROLLERS else ())], pass_fds=pass_fds)


class Measured(Controller):
    """A controller whose process is known, and ends with this one."""

    def start(self) -> None:
        """Start, and do not wait."""
        environment = {**self._environment, "MALLOC_ARENA_MAX": "2"}  # as in its image
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                tied([sys.executable, "-m", "controller"]), env=environment, stdout=log, stderr=log, cwd=ROOT
            )

    @property
    def pid(self) -> int:
        """Of its process; of an ended one too."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None


@dataclass(slots=True)
class Cluster:
    """One cluster with a controller, and what is done to it."""

    plane: ControlPlane
    server: Server
    nodes: Nodes
    session: aiohttp.ClientSession
    sample: Sample
    options: argparse.Namespace
    figures: Figures
    delays: Delays = field(default_factory=Delays)
    phases: dict[str, str] = field(default_factory=dict)
    """Of every search, by namespace and name."""
    watches: list[asyncio.Task[None]] = field(default_factory=list)
    controller: Measured | None = None
    started: int = 0

    @property
    def process(self) -> Process:
        """The controller's."""
        assert self.controller is not None
        return Process(self.controller.pid)

    @property
    def pages(self) -> Pages:
        """The controller's."""
        assert self.controller is not None
        return Pages(self.controller.port, self.session)

    def saw_search(self, event: str, search: Document) -> None:
        """Take an event of the watch of Searches."""
        metadata, status = search["metadata"], search.get("status", {})
        current = event != "DELETED" and status.get("observedGeneration") == metadata["generation"]
        self.phases[f"{metadata['namespace']}/{metadata['name']}"] = status.get("phase", "") if current else ""

    async def start(self, reconciles: int) -> Started:
        """Start a controller, and wait until it has reconciled so many times."""
        self.started += 1
        folder = self.plane.state / "log"
        self.controller = Measured(self.plane, folder, f"bench-{self.started}", LOG_LEVEL="info")
        began = time.perf_counter()
        self.controller.start()

        async def done(wanted: int) -> bool:
            return (await self.pages.counts()).reconciles >= wanted

        async def seen(look: Callable[[], Any], what: str, every: float) -> float:
            return await self.until(look, what, START_SECONDS, every) - began

        ready = await seen(self.pages.ready, "a controller that is ready", 0.02)
        # Its metrics cost it a few milliseconds each time, which would show in its CPU time.
        first = await seen(lambda: done(min(1, reconciles)), "the first reconcile", 0.25)
        every = await seen(lambda: done(reconciles), "a reconcile of every search", 0.25)
        return Started(ready, first, every, self.process.cpu(), self.process.peak())

    async def stop(self) -> None:
        """Stop the controller, if one runs."""
        if self.controller is not None and self.controller.alive:
            try:
                await asyncio.to_thread(self.controller.stop)
            except subprocess.TimeoutExpired:
                await asyncio.to_thread(self.controller.kill)
        self.controller = None

    async def until(self, look: Callable[[], Any], what: str, seconds: float = 900.0, every: float = 0.2) -> float:
        """Wait for something; when it was seen."""
        limit = time.perf_counter() + seconds
        while not await look():
            for watch in self.watches:
                if watch.done():
                    watch.result()
            if self.controller is not None and not self.controller.alive:
                raise RuntimeError(f"the controller ended:\n{self.controller.log.read_text()[-4000:]}")
            if time.perf_counter() > limit:
                raise NeverError(f"{what} was not seen within {seconds:.0f} s")
            await asyncio.sleep(every)
        return time.perf_counter()

    async def namespace(self, name: str) -> str:
        """A namespace with a volume for the claim of its artifacts."""
        await asyncio.to_thread(self.plane.create_namespace, name)
        claim = ArtifactSettings().claim
        spec = {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "claimRef": {"namespace": name, "name": claim},
            "hostPath": {"path": "/nonexistent"},  # no pod ever runs
        }
        await self.server.call(
            "POST", "/api/v1/persistentvolumes", {"metadata": {"name": f"{claim}-{name}"}, "spec": spec}
        )
        return name

    async def remove(self, namespace: str) -> None:
        """Delete a namespace, and wait until it is gone."""
        path = f"/api/v1/namespaces/{namespace}"
        await self.server.call("DELETE", path)

        async def gone() -> bool:
            listed = await self.server.call("GET", "/api/v1/namespaces")
            return all(item["metadata"]["name"] != namespace for item in listed["items"])

        await self.until(gone, f"the end of namespace {namespace}", every=1.0)

    async def search(self, namespace: str, name: str, candidates: int, seconds: float) -> None:
        """Create a search whose tasks take so long."""
        spec = Archive(self.sample, name, candidates, 0).spec()
        spec["evaluation"]["template"] = {"annotations": {ANNOTATION_SECONDS: f"{seconds:.3f}s"}}
        body = {"apiVersion": API_VERSION, "kind": "Search", "metadata": {"name": name}, "spec": spec}
        await self.server.call("POST", f"{POISE}/namespaces/{namespace}/searches", body)
        self.phases[f"{namespace}/{name}"] = ""

    async def complete(self, namespace: str, *names: str) -> tuple[Use, Counts]:
        """Wait for the end of searches; what the controller used and did meanwhile."""
        keys = [f"{namespace}/{name}" for name in names]
        before, ended = await self.pages.counts(), asyncio.Event()
        watching = asyncio.create_task(self.process.watch(ended))
        feeling = asyncio.create_task(self.delays.feel())
        told = time.perf_counter()

        async def over() -> bool:
            nonlocal told
            phases = Counter(self.phases[key] for key in keys)
            if phases["Failed"]:
                raise RuntimeError(f"a search of namespace {namespace} failed")
            if time.perf_counter() - told > 15:
                told = time.perf_counter()
                say(f"  {phases['Complete']} of {len(keys)} searches complete, {self.delays.jobs} tasks")
            return phases["Complete"] == len(keys)

        try:
            await self.until(over, f"the end of the searches in {namespace}", seconds=3600.0)
        finally:
            ended.set()
            feeling.cancel()
        return await watching, await self.pages.counts() - before

    async def write(self, namespace: str, archives: list[Archive]) -> None:
        """Create the objects of archives; each Search last.  The status subresource is off meanwhile: half the requests."""
        root = f"{POISE}/namespaces/{namespace}"
        size = archives[0].size
        told = time.perf_counter()

        async def both(number: int) -> None:
            archive, index = archives[number // size], number % size
            made = await self.server.call("POST", f"{root}/candidates", archive.candidate(index))
            await self.server.call("POST", f"{root}/evaluations", archive.evaluation(index, made))

        def tell(done: int) -> None:
            nonlocal told
            if time.perf_counter() - told > 15 or done == size * len(archives):
                told = time.perf_counter()
                say(f"  {done} of {size * len(archives)} candidates written, each with an evaluation")

        await self.subresources(present=False)
        await side_by_side(WIDTH, size * len(archives), both, tell)
        for archive in archives:
            body = {**archive.document(), "status": archive.status()}
            made = await self.server.call("POST", f"{root}/searches", body)
            assert "status" in made, "the status was dropped"
            self.phases[f"{namespace}/{archive.search}"] = ""
        await self.subresources(present=True)

    async def subresources(self, *, present: bool) -> None:
        """Give all kinds a status subresource, or none; without one, an object is created with its status."""
        for plural in WATCHED:
            path = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{plural}.poise.dev"
            crd = await self.server.call("GET", path)
            crd["spec"]["versions"][0]["subresources"] = {"status": {}} if present else {}
            await self.server.call("PUT", path, crd)

        async def served() -> bool:
            names = {item["name"] for item in (await self.server.call("GET", POISE))["resources"]}
            return all((f"{plural}/status" in names) == present for plural in WATCHED)

        await self.until(served, "the change of the CRDs")
        await asyncio.sleep(2)  # what serves them changes a moment after what tells of them

    async def rest(self) -> Counts:
        """Wait until nothing has been reconciled for three seconds; the counters then."""
        last = await self.pages.counts()
        while True:
            await asyncio.sleep(3)
            now = await self.pages.counts()
            if now.reconciles == last.reconciles:
                return now
            last = now

    async def versions(self, namespace: str) -> dict[str, str]:
        """The version of every object of ours in a namespace."""
        found: dict[str, str] = {}
        for plural in WATCHED:
            listed = await self.server.versions(f"{POISE}/namespaces/{namespace}/{plural}")
            found |= {f"{plural}{name}": version for name, version in listed.items()}
        return found

"""The operator against a real API server: delays, CPU, memory, requests, start, up to 10,000 candidates.

    python -m benchmarks.bench_controller [--quick] [--searches 100] [--candidates 1000 10000] [--json FILE] [--plot FILE]

Real: etcd, kube-apiserver, Kubernetes' own controllers and scheduler (KUBEBUILDER_ASSETS, with kwok, kubectl and helm
beside them), the controller as a process of its own with the chart's rights, and its settings.  STAND-INS, named as
such in what is printed: kwok pretends to run the pods, and this process pretends to be the node's kubelet and prints made-up
results of real size (controller_nodes); nothing is trained.  The archives are copies of one real candidate
(controller_sample).  Kubernetes' own controllers get higher client limits than by default, so that they are not what is
measured.

What is measured, and how, stands at each figure in controller_figures.  Everything shares this machine: compare figures of one
machine only, and look at the load that is printed with them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from benchmarks.controller_api import POISE, Server, side_by_side
from benchmarks.controller_cluster import Cluster, NeverError, Unhurried, say
from benchmarks.controller_figures import Figures
from benchmarks.controller_nodes import KWOK, OURS, Nodes
from benchmarks.controller_sample import Archive, Sample
from tests.kube.assets import CONTROL_PLANE, CONTROLLERS, REQUIRE_VARIABLE, MissingError, find, tool
from tests.kube.cluster import ControlPlane
from tests.kube.crds import install, load_crds

ARCHIVES: Final = 10
"""Finished searches that the candidates are spread over."""
POKED: Final = 10
"""Candidates and evaluations of each search that are touched to no effect."""


@dataclass(slots=True)
class Bench(Cluster):
    """What is measured, in turn."""

    async def idle(self) -> None:
        """A controller with nothing to do."""
        say("idle: a controller in a cluster without searches")
        started = await self.start(0)
        await asyncio.sleep(5)
        self.figures.idle(started, await self.process.watch(self.options.window))

    async def latency(self, searches: int, candidates: int, seconds: float) -> None:
        """So many searches at once."""
        namespace = await self.namespace(f"searches-{searches}")
        chance = random.Random(self.options.seed)
        names = [f"s{index:03d}" for index in range(searches)]
        say(f"{searches} searches of {candidates} candidates, a task takes about {seconds:.1f} s")
        self.delays.reset()
        began = time.perf_counter()
        for name in names:
            await self.search(namespace, name, candidates, seconds * chance.uniform(0.6, 1.4))
        use, counts = await self.complete(namespace, *names)
        self.figures.latency(searches, self.delays, use, counts, time.perf_counter() - began)
        await self.remove(namespace)

    async def archive(self, candidates: int) -> None:
        """So many candidates, all archived: start, quiet, restart, pokes, and one search that goes on."""
        await self.stop()
        namespace = await self.namespace(f"archive-{candidates}")
        archives = [
            Archive(self.sample, f"a{index:02d}", candidates // ARCHIVES, self.options.seed)
            for index in range(ARCHIVES)
        ]
        await self.write(namespace, archives)
        try:
            await self.archived(namespace, archives, candidates)
        except NeverError as error:
            say(f"  {error}: given up")
            self.figures.never(candidates, str(error), self.process.peak())
        await self.stop()
        await self.remove(namespace)

    async def archived(self, namespace: str, archives: list[Archive], candidates: int) -> None:
        """What is measured of archives that have been written."""
        say(f"{candidates} candidates: first start, which completes the statuses of the searches")
        first = await self.start(ARCHIVES)
        await self.rest()
        self.figures.first_start(candidates, first)
        await self.stop()
        before = await self.versions(namespace)
        say(f"{candidates} candidates: start with nothing to change")
        started = await self.start(ARCHIVES)
        counts = await self.rest()
        self.figures.restart(candidates, started, counts, changed(before, await self.versions(namespace)))
        say(f"{candidates} candidates: quiet")
        zero = await self.pages.counts()
        use = await self.process.watch(self.options.window)
        self.figures.quiet(candidates, use, await self.pages.counts() - zero)
        await self.poke(namespace, archives)
        await self.go_on(namespace, archives[0], candidates)

    async def poke(self, namespace: str, archives: list[Archive]) -> None:
        """Touch every search and some of its objects with an annotation that means nothing."""
        paths = []
        for archive in archives:
            names = [archive.name(index) for index in range(min(POKED, archive.size))]
            paths += [f"searches/{archive.search}", *(f"candidates/{name}" for name in names)]
            paths += [f"evaluations/{name}-full-0" for name in names]
        say(f"  {len(paths)} objects are touched to no effect")
        zero = await self.pages.counts()

        async def touch(index: int) -> None:
            change = {"metadata": {"annotations": {"bench.poise.dev/poked": "yes"}}}
            path = f"{POISE}/namespaces/{namespace}/{paths[index]}"
            await self.server.call("PATCH", path, change, content_type="application/merge-patch+json")

        began, cpu = time.perf_counter(), self.process.cpu()
        await side_by_side(1, len(paths), touch, lambda done: None)
        before = await self.versions(namespace)
        counts = await self.rest() - zero
        cost = self.process.cpu() - cpu, time.perf_counter() - began
        self.figures.poked(len(paths), counts, changed(before, await self.versions(namespace)), cost)

    async def go_on(self, namespace: str, archive: Archive, candidates: int) -> None:
        """One search gets a bigger budget."""
        more = self.options.more
        say(f"{candidates} candidates: one search of {archive.size} goes on for {more} more")
        self.delays.reset()
        key = f"{namespace}/{archive.search}"
        change = {"spec": {"budget": {"candidates": archive.size + more}}}
        path = f"{POISE}/namespaces/{namespace}/searches/{archive.search}"
        await self.server.call("PATCH", path, change, content_type="application/merge-patch+json")
        self.phases[key] = ""
        use, counts = await self.complete(namespace, archive.search)
        self.figures.active(candidates, archive.size, self.delays, use, counts)


def changed(before: dict[str, str], after: dict[str, str]) -> int:
    """How many objects have another version, or are new or gone."""
    return sum(before.get(name) != after.get(name) for name in before.keys() | after.keys())


async def measure(plane: ControlPlane, options: argparse.Namespace, figures: Figures) -> None:
    """All of it, in turn."""
    sample = Sample.load()
    timeout = aiohttp.ClientTimeout(total=300)
    async with Server(plane) as server, aiohttp.ClientSession(timeout=timeout) as session:
        nodes = Nodes(plane, server, sample)
        bench = Bench(plane, server, nodes, session, sample, options, figures)
        bench.watches = [
            asyncio.create_task(server.watch("/apis/batch/v1/jobs", bench.delays.saw_job, labelSelector=OURS)),
            asyncio.create_task(server.watch(f"{POISE}/evaluations", bench.delays.saw_evaluation)),
            asyncio.create_task(server.watch(f"{POISE}/searches", bench.saw_search, replay=True)),
        ]
        try:
            await nodes.start()
            await bench.idle()
            for searches, candidates, seconds in (
                (1, options.one, 0.2),
                (options.searches, options.each, options.task_seconds),
            ):
                if searches and candidates:
                    await bench.latency(searches, candidates, seconds)
            for candidates in options.candidates:
                await bench.archive(candidates)
        finally:
            for watch in bench.watches:
                watch.cancel()
            await bench.stop()
            await nodes.stop()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a small run, to see that everything works")
    parser.add_argument("--searches", type=int, help="searches at once (100); 0 leaves them out")
    parser.add_argument(
        "--candidates", type=int, nargs="*", help="sizes of archives (1000 10000); none leaves them out"
    )
    parser.add_argument("--one", type=int, help="candidates of the single search (25); 0 leaves it out")
    parser.add_argument("--each", type=int, help="candidates of each of many searches (3)")
    parser.add_argument("--task-seconds", type=float, help="how long a task takes when there are many searches (30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="draw the delays here")
    options = parser.parse_args()
    quick = {"searches": 4, "candidates": [40], "task_seconds": 1.0, "one": 3, "each": 2, "more": 2, "window": 10.0}
    full = {
        "searches": 100,
        "candidates": [1000, 10000],
        "task_seconds": 5.0,
        "one": 25,
        "each": 3,
        "more": 12,
        "window": 60.0,
    }
    for name, value in (quick if options.quick else full).items():
        if getattr(options, name, None) is None:
            setattr(options, name, value)
    return options


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # leave through every `with`
    try:
        assets = find((*CONTROL_PLANE, *CONTROLLERS, KWOK, "helm"))
        tool("setpriv", packages="util-linux")
    except MissingError as error:
        print(f"not measured: {error}")
        return int(os.environ.get(REQUIRE_VARIABLE, "") not in ("", "0"))
    figures = Figures(options)
    plane = ControlPlane(controllers=True, assets=assets)
    plane.processes = Unhurried(plane.state)
    try:
        with plane:
            install(plane.client, *load_crds().values())
            asyncio.run(measure(plane, options, figures))
    finally:
        print(figures.table())
        if options.json:
            options.json.write_text(json.dumps(figures.document(), indent=2) + "\n", encoding="utf-8")
        if options.plot:
            figures.plot(options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())

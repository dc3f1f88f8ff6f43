"""A double of the API server, of the watches and of the nodes, in memory.

It stands in for HTTP only: paths, resourceVersions, conflicts, owners and merge patches behave as far as the controller
uses them.  The real API server is tested against in tests/integration/kube.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

from controller.api import WATCHED, Api, ApiError, Document
from controller.cache import parse
from controller.metrics import Metrics
from controller.reconcile import Reconciler
from controller.settings import Settings
from controller.watched import Watched
from poise_lib.archive.digest import archive_digest
from poise_lib.resources import Search
from poise_lib.resources.search import SearchPhase
from poise_lib.tasks.protocol import TaskRequest, TaskResult, frame
from tests.unit.search.world import answer, make_search

KEY = ("default", "s")
SETTINGS = Settings(worker_image="worker")
CREATED = "2026-01-01T00:00:00Z"
Where = tuple[str, str, str]
"""Plural, namespace, name."""
Answer = Callable[[TaskRequest], TaskResult]


class Crashed(BaseException):
    """The controller's process died; no handler of its own runs."""


class Server:
    """Objects by (plural, namespace, name), and everything that a watch would have told of them."""

    def __init__(self, respond: Answer = answer) -> None:
        self.objects: dict[Where, Document] = {}
        self.events: list[tuple[str, Document]] = []
        self.logs: dict[str, str] = {}
        self.respond = respond
        self.store: dict[str, TaskResult] = {}
        self.worked: Counter[str] = Counter()
        self.garbage: list[Where] = []
        self.lazy = False
        """Whether what a deleted object owned stays until :meth:`collect`."""
        self.version = 0

    def answer(self, method: str, path: str, body: Document | None) -> Any:
        path, _, query = path.partition("?")
        parts = [unquote(part) for part in path.split("/") if part]
        parts = parts[3:] if parts[0] == "apis" else parts[2:]
        assert parts[0] == "namespaces", "the tests watch namespaces one by one"
        namespace, plural = parts[1], parts[2]
        name, subresource = (*parts[3:], "", "")[:2]
        asked = dict(parse_qsl(query))
        if method == "POST":
            assert body is not None
            return self.create(plural, namespace, body)
        if not name:
            return {
                "metadata": {"resourceVersion": str(self.version)},
                "items": list(self.matching(plural, namespace, asked)),
            }
        if subresource == "log":
            self.existing((plural, namespace, name))
            return self.logs[name]
        where = (plural, namespace, name)
        if method == "DELETE":
            return self.delete(where)
        if method == "GET":
            return self.existing(where)
        assert body is not None
        return self.write(where, body, method, subresource)

    def matching(self, plural: str, namespace: str, asked: dict[str, str]) -> Iterator[Document]:
        wanted = [term.split("=") for term in asked.get("labelSelector", "").split(",") if term]
        selector = asked.get("fieldSelector", "")
        only = selector.removeprefix("metadata.name=") if selector.startswith("metadata.name=") else None
        for (kind, space, name), item in self.objects.items():
            labels = item["metadata"].get("labels", {})
            if only is not None and name != only:
                continue
            if (kind, space) == (plural, namespace) and all(labels.get(key) == value for key, value in wanted):
                yield item

    def existing(self, where: Where) -> Document:
        if where not in self.objects:
            raise ApiError(404, "NotFound", f"{where} not found")
        return self.objects[where]

    def create(self, plural: str, namespace: str, body: Document) -> Document:
        where = (plural, namespace, body["metadata"]["name"])
        if where in self.objects:
            raise ApiError(409, "AlreadyExists", f"{where} already exists")
        made = copy.deepcopy(body)
        self.version += 1
        made["metadata"] |= {"namespace": namespace, "uid": f"uid-{self.version}", "creationTimestamp": CREATED}
        if plural not in ("jobs", "pods", "configmaps"):
            made["metadata"]["generation"] = 1
            made.pop("status", None)
        return self.put(where, made, "ADDED")

    def write(self, where: Where, body: Document, method: str, subresource: str) -> Document:
        old = self.existing(where)
        given = body["metadata"].get("resourceVersion")
        if given is not None and given != old["metadata"]["resourceVersion"]:
            raise ApiError(409, "Conflict", f"{where} has changed")
        new = copy.deepcopy(old)
        if subresource == "status":
            new["status"] = copy.deepcopy(body["status"])
        elif method == "PATCH":
            merge(new, copy.deepcopy(body))
        else:
            new = copy.deepcopy(body)
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        return old if new == old else self.put(where, new, "MODIFIED")

    def put(self, where: Where, item: Document, event: str) -> Document:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        self.objects[where] = item
        self.events.append((event, item))
        return item

    def delete(self, where: Where) -> Document:
        gone = self.existing(where)
        del self.objects[where]
        self.events.append(("DELETED", gone))
        uid = gone["metadata"]["uid"]
        self.garbage += [
            other
            for other, item in self.objects.items()
            if any(owner["uid"] == uid for owner in item["metadata"].get("ownerReferences", ()))
        ]
        if not self.lazy:
            self.collect()
        return {}

    def collect(self) -> None:
        """The garbage collector's turn; it never takes an object that has another uid meanwhile."""
        while self.garbage:
            where = self.garbage.pop()
            owners = {
                owner["uid"]
                for owner in self.objects.get(where, {"metadata": {}})["metadata"].get("ownerReferences", ())
            }
            if owners and not owners & {item["metadata"]["uid"] for item in self.objects.values()}:
                self.delete(where)

    def jobs(self, *, running: bool = True) -> list[str]:
        """Names of Jobs that can run, or of all."""
        return [
            name
            for (plural, _, name), item in sorted(self.objects.items())
            if plural == "jobs" and (not running or ("status" not in item and self.mounted(item) is not None))
        ]

    def mounted(self, job: Document) -> dict[str, bytes] | None:
        """What a kubelet puts into the folder with a Job's input, whoever owns it; None while it waits for some of it."""
        spec = job["spec"]["template"]["spec"]
        (volume,) = (item for item in spec["volumes"] if item["name"] == "input")
        sources = volume["projected"]["sources"] if "projected" in volume else [volume]
        files: dict[str, bytes] = {}
        for source in sources:
            found = self.objects.get(("configmaps", KEY[0], source["configMap"]["name"]))
            if found is None:
                return None
            files |= {file: base64.b64decode(content) for file, content in found["binaryData"].items()}
        return files

    def request(self, name: str) -> TaskRequest:
        """What the task of a Job is given: the files that its arguments name, joined."""
        job = self.objects["jobs", KEY[0], name]
        files = self.mounted(job)
        assert files is not None
        (task,) = job["spec"]["template"]["spec"]["containers"]
        named = [item.removeprefix("/input/") for item in task["args"] if item.startswith("/input/")]
        assert sorted(named) == sorted(files) == named
        return TaskRequest.model_validate_json(gzip.decompress(b"".join(files[file] for file in named)))

    def finish(self, name: str) -> None:
        """A node runs the Job's pod; a result in the artifact store is printed again."""
        job, request = self.objects["jobs", KEY[0], name], self.request(name)
        if request.digest not in self.store:
            self.store[request.digest] = self.respond(request)
            self.worked[request.name] += 1
        token = job["metadata"]["annotations"]["poise.dev/attempt-token"]
        self.pod(name, {"phase": "Succeeded"})
        self.logs[f"{name}-pod"] = frame(self.store[request.digest].to_document(), token)
        self.end(name, "Complete")

    def pod(self, name: str, status: Document) -> None:
        job = self.objects["jobs", KEY[0], name]
        uid = job["metadata"]["uid"]
        metadata = {
            "name": f"{name}-pod",
            "labels": {"batch.kubernetes.io/controller-uid": uid},
            "ownerReferences": [{"kind": "Job", "uid": uid}],
        }
        self.create("pods", KEY[0], {"kind": "Pod", "metadata": metadata, "status": status})

    def end(self, name: str, condition: str) -> None:
        job = copy.deepcopy(self.objects["jobs", KEY[0], name])
        job["status"] = {"conditions": [{"type": condition, "status": "True", "reason": "BackoffLimitExceeded"}]}
        self.put(("jobs", KEY[0], name), job, "MODIFIED")

    def archive(self) -> str:
        found: dict[str, list[Any]] = {"searches": [], "candidates": [], "evaluations": []}
        for (plural, _, _), item in self.objects.items():
            if plural in found:
                found[plural].append(parse(item))
        search, candidates, evaluations = found.values()
        return archive_digest(search[0], candidates, evaluations)

    @property
    def search(self) -> Search:
        found = parse(self.objects["searches", *KEY])
        assert isinstance(found, Search)
        return found


def merge(into: Document, patch: Document) -> None:
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


class FakeApi(Api):
    """A double of :class:`controller.api.Api` from the HTTP client on: everything above that is the real code."""

    def __init__(self, server: Server) -> None:
        super().__init__(cast(Any, None))
        self.server = server
        self.before: Callable[[str, str], None] = lambda method, path: None
        """Called with every request; what it raises happens instead."""
        self.after: Callable[[str, str], None] = lambda method, path: None
        """Called when the server has done it; what it raises happens to the answer."""
        self.dead = False
        self.writes = 0

    async def _call(
        self,
        verb: str,
        method: str,
        resource: Any,
        path: str,
        body: Document | None,
        content_type: str = "application/json",
        subresource: str = "",
        accept: str = "",
    ) -> bytes:
        await asyncio.sleep(0)
        if self.dead:
            raise Crashed
        self.calls[verb, resource.group, resource.plural] += 1
        try:
            self.before(method, path)
            content = self.server.answer(method, path, json.loads(json.dumps(body)))
            self.writes += method != "GET"
            self.after(method, path)
        except Crashed:
            self.dead = True
            raise
        return content.encode() if isinstance(content, str) else json.dumps(content).encode()


class Watches(Watched):
    """The caches of the watches, and a double of the watches: what has been told so far, never out of order, maybe late."""

    def __init__(self, server: Server) -> None:
        super().__init__(lambda _: None, self.forget)
        self.server = server
        self.seen = len(server.events)
        self.reconciler: Reconciler | None = None
        for item in server.objects.values():
            if item["kind"] in WATCHED:
                self.take(copy.deepcopy(item))

    def forget(self, key: tuple[str, str], item: Document) -> None:
        if self.reconciler is not None:
            self.reconciler.forget(key, item)

    def advance(self, events: int | None = None) -> None:
        """Take in some events, or all."""
        upto = len(self.server.events) if events is None else min(len(self.server.events), self.seen + events)
        for event, item in self.server.events[self.seen : upto]:
            if item["kind"] in WATCHED:
                (self.drop if event == "DELETED" else self.take)(copy.deepcopy(item))
        self.seen = upto


class Controller:
    """One life of the controller's process."""

    def __init__(self, server: Server, settings: Settings = SETTINGS) -> None:
        self.server = server
        self.api = FakeApi(server)
        self.watches = Watches(server)
        self.reconciler = Reconciler(self.api, self.watches, settings, Metrics())
        self.watches.reconciler = self.reconciler

    async def reconcile(self) -> float | None:
        """With watches that have caught up."""
        self.watches.advance()
        return await self.reconciler(KEY)


def apply_search(server: Server, search: Search) -> None:
    server.create("searches", KEY[0], {**search.to_document(), "kind": "Search"})


async def drive(server: Server, controller: Controller, order: random.Random, *, steps: int = 3000) -> None:
    """Reconcile and finish tasks, one by one, in an order of chance, to the end."""
    for _ in range(steps):
        await controller.reconcile()
        running = server.jobs()
        if not running:
            return
        server.finish(order.choice(running))
    raise AssertionError("the search does not end")


def tiny(**spec: Any) -> Search:
    spec.setdefault("budget", {"candidates": 3, "concurrent": 2, "attempts": 10})
    spec.setdefault("evaluation", {"confirmation": {"top": 1, "seeds": 2}})
    return make_search(**spec)


def started(search: Search | None = None) -> tuple[Server, Controller]:
    server = Server()
    apply_search(server, search or tiny())
    return server, Controller(server)


@cache
def undisturbed() -> str:
    server, controller = started()
    asyncio.run(drive(server, controller, random.Random(0)))
    assert server.search.status.phase is SearchPhase.COMPLETE
    return server.archive()

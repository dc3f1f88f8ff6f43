"""Pretended nodes for bench_controller: kwok runs the pods, and a stand-in for the kubelet prints made-up results.

Nothing is trained.  kwok sets a pod's phase to Running and, after as long as an annotation of the pod says, to
Succeeded.  The API server then asks the node's kubelet for the log; here that is a small TLS server in the benchmark's own
process.  The log holds a frame of the real protocol with the attempt's own token, of the size that a real one has.  Its
content is the planner tests' (tests/unit/search/world.py), filled up with parts of a real candidate.  It is ready before the pod
ends, so that the time of a stand-in is in no figure.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from aiohttp import web

from benchmarks.controller_api import Document, Server
from benchmarks.controller_sample import Sample
from controller.pods import TASK_CONTAINER
from poise_lib.names import ANNOTATION_TOKEN, LABEL_ATTEMPT, LABEL_MANAGED_BY, MANAGED_BY
from poise_lib.tasks.protocol import TaskKind, TaskRequest, TaskResult, frame
from tests.kube.cluster import ControlPlane
from tests.kube.pki import SERVER
from tests.kube.processes import free_port
from tests.unit.search.world import answer

NODE: Final = "pretended"
ADDRESS: Final = "127.0.0.1"
ANNOTATION_SECONDS: Final = "bench.poise.dev/seconds"
"""On a pod: how long it runs, such as 5s."""
KWOK: Final = "kwok"
OURS: Final = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_ATTEMPT}"
"""Selects the Jobs of tasks, and their inputs."""
_SELECTOR: Final = "kwok.x-k8s.io/node"
_PODS: Final = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage"}
_EXISTS: Final = {"key": ".metadata.deletionTimestamp", "operator": "Exists"}
_LIVES: Final = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}


def tied(command: list[str]) -> list[str]:
    """A command whose process ends with this one, even if this one is killed."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *command] if sys.platform == "linux" else command


def made_up(request: TaskRequest, sample: Sample) -> TaskResult:
    """A result of the real size: another one for another input, the same for the same."""
    result = answer(request)
    if result.output is None:
        return result
    output: dict[str, Any] = dict(result.output)
    match request.kind:
        case TaskKind.PROPOSE:
            wanted = request.input["strategy"]["proposalsPerParent"]
            own = output["proposals"][0]["composition"][0]
            output["proposals"] = [sample.proposal(own, request.digest, index) for index in range(wanted)]
        case TaskKind.IMPLEMENT:
            output |= {"source": sample.source(request.digest), "composition": sample.composition}
        case TaskKind.VERIFY:
            output["verification"] = {**sample.verification, **output["verification"]}
        case TaskKind.TRAIN:
            output |= {"trajectory": sample.trajectory, "summary": sample.summary}
        case TaskKind.REFLECT:
            output["reflection"] = sample.reflection
    return TaskResult(output=output)


@dataclass(slots=True)
class Nodes:
    """One pretended node with room for everything; its kubelet is this process."""

    plane: ControlPlane
    server: Server
    sample: Sample
    _wanted: dict[tuple[str, str], tuple[str, list[str]]] = field(default_factory=dict)
    """Of each Job, the token and the files of its input."""
    _parts: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    _frames: dict[tuple[str, str], asyncio.Future[str]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Serve logs, start kwok, make the node, and wait until it is ready."""
        port = free_port()
        self.plane.pki.issue("pretended-kubelet", f"/CN={NODE}", SERVER, f"subjectAltName=IP:{ADDRESS}")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(
            str(self.plane.pki.certificate("pretended-kubelet")), str(self.plane.pki.key("pretended-kubelet"))
        )
        app = web.Application()
        app.add_routes([web.get("/containerLogs/{namespace}/{pod}/{container}", self._log)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, ADDRESS, port, ssl_context=context).start()
        for path, handle in (("/apis/batch/v1/jobs", self._saw_job), ("/api/v1/configmaps", self._saw_input)):
            self._tasks.append(asyncio.create_task(self.server.watch(path, handle, labelSelector=OURS)))
        stages = self.plane.state / "kwok.yaml"
        stages.write_text(yaml.safe_dump_all(_stages()), encoding="utf-8")
        # Address and port go into the node's status; by default kwok would serve there itself.
        self.plane.processes.start(KWOK, tied([
            self.plane.assets.binary(KWOK), "--kubeconfig", str(self.plane.kubeconfig), "--config", str(stages),
            "--manage-nodes-with-annotation-selector", f"{_SELECTOR}=fake", "--node-ip", ADDRESS, "--node-port", str(port),
            "--server-address", f"{ADDRESS}:{free_port()}",
        ]))  # fmt: skip
        room = {"cpu": "100k", "memory": "100Ti", "pods": "100k", "ephemeral-storage": "100Ti"}
        node = {
            "metadata": {"name": NODE, "annotations": {_SELECTOR: "fake"}, "labels": {"kubernetes.io/hostname": NODE}},
            "status": {"capacity": room, "allocatable": room},
        }
        await self.server.call("POST", "/api/v1/nodes", node)
        for _ in range(600):
            found = await self.server.call("GET", f"/api/v1/nodes/{NODE}")
            if not found["spec"].get("taints") and self._is_ready(found, port):
                return
            await asyncio.sleep(0.1)
        raise RuntimeError(f"the pretended node is not ready:\n{self.plane.processes.tail(KWOK)}")

    async def stop(self) -> None:
        """Stop kwok and the stand-in."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.plane.processes.stop(KWOK)
        if self._runner is not None:
            await self._runner.cleanup()

    @staticmethod
    def _is_ready(node: Document, port: int) -> bool:
        status = node["status"]
        ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions", ()))
        told: int = status.get("daemonEndpoints", {}).get("kubeletEndpoint", {}).get("Port", 0)
        return ready and told == port

    def _saw_job(self, event: str, job: Document) -> None:
        key = job["metadata"]["namespace"], job["metadata"]["name"]
        if event == "DELETED":
            for memory in (self._wanted, self._parts, self._frames):
                memory.pop(key, None)
        elif event == "ADDED":
            containers = job["spec"]["template"]["spec"]["containers"]
            arguments = next(item["args"] for item in containers if item["name"] == TASK_CONTAINER)
            self._wanted[key] = job["metadata"]["annotations"][ANNOTATION_TOKEN], _files(arguments)
            self._prepare(key)

    def _saw_input(self, event: str, config_map: Document) -> None:
        if event == "ADDED":
            metadata = config_map["metadata"]
            key = metadata["namespace"], metadata["ownerReferences"][0]["name"]
            self._parts.setdefault(key, {}).update(config_map["binaryData"])
            self._prepare(key)

    def _prepare(self, key: tuple[str, str]) -> None:
        """Make the log as soon as both the token and all parts of the input are known."""
        token, files = self._wanted.get(key, ("", []))
        if files and self._parts.get(key, {}).keys() >= set(files):
            parts = self._parts.pop(key)
            data = gzip.decompress(b"".join(base64.b64decode(parts[file]) for file in files))
            text = frame(made_up(TaskRequest.model_validate_json(data), self.sample).to_document(), token)
            future = self._future(key)
            if not future.done():
                future.set_result(text)

    def _future(self, key: tuple[str, str]) -> asyncio.Future[str]:
        if key not in self._frames:
            self._frames[key] = asyncio.get_running_loop().create_future()
        return self._frames[key]

    async def _log(self, request: web.Request) -> web.Response:
        job = request.match_info["pod"].rpartition("-")[0]
        text = await asyncio.wait_for(self._future((request.match_info["namespace"], job)), 30)
        return web.Response(text=text)


def _files(arguments: list[str]) -> list[str]:
    """The files that a task's container is told to read its request from."""
    after = arguments[arguments.index("--request") + 1 :]
    return [Path(file).name for file in itertools.takewhile(lambda word: not word.startswith("--"), after)]


def _stages() -> list[Document]:
    """kwok's stages of a pod: run, succeed after a while, go when deleted."""
    now = "{{ Now | Quote }}"
    runs = f"phase: Running\nhostIP: {ADDRESS}\nstartTime: {now}\n"
    wait = {"durationMilliseconds": 0, "durationFrom": {"expressionFrom": _annotation(ANNOTATION_SECONDS)}}
    return [
        _stage("run", [_LIVES, _phase("Pending")], {"statusTemplate": runs}),
        _stage("succeed", [_LIVES, _phase("Running")], {"statusTemplate": "phase: Succeeded\n"}, wait),
        _stage("delete", [_EXISTS], {"finalizers": {"empty": True}, "delete": True}),
    ]


def _annotation(name: str) -> str:
    return f'.metadata.annotations["{name}"]'


def _phase(phase: str) -> Document:
    return {"key": ".status.phase", "operator": "In", "values": [phase]}


def _stage(name: str, selector: list[Document], then: Document, delay: Document | None = None) -> Document:
    spec: Document = {
        "resourceRef": {"apiGroup": "v1", "kind": "Pod"},
        "selector": {"matchExpressions": selector},
        "next": then,
    }
    if delay:
        spec["delay"] = delay
    return {**_PODS, "metadata": {"name": name}, "spec": spec}

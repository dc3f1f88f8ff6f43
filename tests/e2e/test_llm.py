"""A search with a language model in real pods: the model is a Deployment, its key is in a Secret and stays there."""

from __future__ import annotations

import base64
import contextlib
import copy
import gzip
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controller.asking import LABEL_ASKS
from controller.policies import policy_name
from poise_lib.tasks.protocol import MODEL_KINDS
from tests.e2e import scripted
from tests.e2e.world import POISE, SEARCH_SECONDS, TINY, Cluster
from tests.kube import chart
from tests.kube.client import ApiError, Document, namespaced
from tests.kube.controller import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("e2e")]

SECRET: Final = "openai"
FIELD: Final = "api-key"
ENV: Final = "OPENAI_API_KEY"
KINDS: Final = (
    ("searches", POISE), ("candidates", POISE), ("evaluations", POISE), ("jobs", "batch/v1"), ("pods", "v1"),
    ("configmaps", "v1"), ("events", "v1"), ("persistentvolumeclaims", "v1"), ("networkpolicies", "networking.k8s.io/v1"),
)  # fmt: skip
"""Whatever a namespace with a search holds, but Secrets."""


@dataclass
class Seen:
    """What there was while the search ran: pods go some time after their end, and their logs with them."""

    cluster: Cluster
    namespace: str
    key: str
    pods: dict[str, Document] = field(default_factory=dict)
    logs: dict[tuple[str, str], str] = field(default_factory=dict)
    stalled: str = ""
    """What was told while the Secret was not there."""

    def look(self) -> None:
        """Take in what is there now."""
        for pod in self.cluster.pods(self.namespace):
            name = pod["metadata"]["name"]
            self.pods[name] = pod
            if pod["status"]["phase"] in ("Succeeded", "Failed"):
                for container in containers(pod):
                    if (name, container) not in self.logs:
                        with contextlib.suppress(ApiError):  # it never started, or its pod is gone
                            self.logs[name, container] = self.cluster.node.logs(self.namespace, name, container)

    @property
    def search(self) -> Document:
        """The Search as it stands."""
        return self.cluster.search(self.namespace)

    @property
    def volume(self) -> Path:
        """Where the artifacts lie."""
        return self.cluster.folder / "volumes" / self.namespace


def containers(pod: Document) -> dict[str, Document]:
    """Containers of a pod by name."""
    spec = pod["spec"]
    return {item["name"]: item for item in [*spec.get("initContainers", ()), *spec["containers"]]}


def asking(namespace: str) -> Document:
    """The tiny search, with a model that proposes, implements and reflects."""
    manifest = copy.deepcopy(TINY)
    manifest["spec"]["proposer"] = {
        "type": "LLM",
        "llm": {
            "model": scripted.MODEL,
            "baseURL": scripted.address(namespace),
            "secretRef": {"name": SECRET, "key": FIELD},
            "prices": {"inputPerMillion": 1, "outputPerMillion": 2},
        },
    }
    manifest["spec"]["budget"] |= {"llmTokens": 1_000_000_000, "llmCostUSD": 1000}
    return manifest


@pytest.fixture(scope="module")
def seen(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seen]:
    """A search that has run to its end; its Secret came late."""
    archive = scripted.build_image(tmp_path_factory.mktemp("scripted"))
    cluster.node.load(archive)
    archive.unlink()  # more than a gigabyte
    models = cluster.plane.create_namespace("models")
    key = f"sk-e2e-{secrets.token_hex(16)}"
    cluster.plane.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(scripted.documents(models, key)))
    deployment = namespaced("apps/v1", models, "deployments", scripted.NAME)
    eventually(
        lambda: cluster.plane.client.get(deployment).get("status", {}).get("readyReplicas"), "the model's server", 120.0
    )
    seen = Seen(cluster, cluster.namespace("asking"), key)
    cluster.apply(seen.namespace, asking(models))

    def told() -> str:
        condition = cluster.condition(seen.namespace, "Stalled")
        return str(condition.get("message", "")) if condition.get("status") == "True" else ""

    seen.stalled = eventually(told, "a condition that tells of the Secret", 180.0)
    secret = {"metadata": {"name": SECRET}, "stringData": {FIELD: key}}
    cluster.plane.client.create(namespaced("v1", seen.namespace, "secrets"), secret)

    def over() -> bool:
        seen.look()
        return seen.search.get("status", {}).get("phase") in ("Complete", "Failed")

    eventually(over, "the end of the search", SEARCH_SECONDS)
    seen.look()
    yield seen
    cluster.plane.client.delete(namespaced(POISE, seen.namespace, "searches", "tiny"))


def test_a_secret_that_was_not_there_was_told_with_its_fix_and_the_search_went_on(seen: Seen) -> None:
    assert f'secret "{SECRET}" not found' in seen.stalled
    assert f"kubectl -n {seen.namespace} create secret generic {SECRET} --from-literal={FIELD}=VALUE" in seen.stalled
    status = seen.search["status"]
    assert status["phase"] == "Complete", status["message"]
    assert status["counts"]["archived"] >= 2, "the baseline, and a candidate that the model wrote"


def test_the_ledger_has_counted_and_holds_nothing_back(seen: Seen) -> None:
    ledger = seen.search["status"]["ledger"]
    assert ledger["calls"] > 0
    assert ledger["promptTokens"] > 0
    assert ledger["completionTokens"] > 0
    assert ledger["costUSD"] == pytest.approx((ledger["promptTokens"] + 2 * ledger["completionTokens"]) / 1e6, rel=1e-6)
    assert ledger.get("reservedTokens", 0) == 0
    assert not ledger.get("open")
    assert list((seen.volume / "ledger").rglob("*.jsonl")), "the book of a task lies beside the artifacts"
    name = seen.cluster.controller_pod()
    path = namespaced("v1", chart.NAMESPACE, "pods", f"{name}:8080", "proxy") + "/metrics"
    text = seen.cluster.plane.client.text("GET", path)
    assert f'poise_search_llm_calls{{namespace="{seen.namespace}",search="tiny"}} {float(ledger["calls"])}' in text


def test_only_tasks_that_ask_have_the_key_and_by_reference_alone(seen: Seen) -> None:
    may = {kind.value for kind in MODEL_KINDS}
    asked = set()
    kinds = set()
    for pod in seen.pods.values():
        labels = pod["metadata"]["labels"]
        kind = labels["poise.dev/task-kind"]
        kinds.add(kind)
        asks = labels.get(LABEL_ASKS) == "true"
        assert kind in may or not asks
        for name, container in containers(pod).items():
            given = [item for item in container.get("env", ()) if item["name"] == ENV]
            wanted = [{"name": ENV, "valueFrom": {"secretKeyRef": {"name": SECRET, "key": FIELD}}}]
            assert given == (wanted if asks and name == "task" else []), f"{kind} {name}"
        if asks:
            asked.add(kind)
    assert {"verify", "train", "score", "select"} <= kinds
    assert {"propose", "implement", "reflect"} <= asked


def test_the_way_out_is_open_to_them_alone(seen: Seen) -> None:
    path = namespaced("networking.k8s.io/v1", seen.namespace, "networkpolicies", policy_name("tiny"))
    spec = seen.cluster.plane.client.get(path)["spec"]
    assert spec["podSelector"]["matchLabels"][LABEL_ASKS] == "true"
    assert spec["podSelector"]["matchLabels"]["poise.dev/search"] == "tiny"
    [peer] = spec["egress"][1]["to"]
    assert peer["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "models"}


def test_the_key_is_in_no_object_but_its_secret(seen: Seen) -> None:
    looked_at = 0
    for namespace in (seen.namespace, chart.NAMESPACE):
        for plural, version in KINDS:
            for item in seen.cluster.items(namespace, plural, version):
                looked_at += 1
                hidden(seen.key, readable(item), f"{plural} {item['metadata']['name']}")
    for pod in seen.pods.values():
        hidden(seen.key, readable(pod), f"pod {pod['metadata']['name']}")
    assert looked_at > 20


def test_the_key_is_in_no_log(seen: Seen) -> None:
    assert len(seen.logs) >= len(seen.pods)
    assert any("poise-result" in text for text in seen.logs.values())
    for (pod, container), text in seen.logs.items():
        hidden(seen.key, text.encode(), f"log of {container} of {pod}")
    controller = seen.cluster.node.logs(chart.NAMESPACE, seen.cluster.controller_pod())
    assert '"search": "tiny"' in controller
    hidden(seen.key, controller.encode(), "log of the controller")


def test_the_key_is_in_no_artifact_transcripts_included(seen: Seen) -> None:
    transcripts = 0
    for path in seen.volume.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            content = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
            hidden(seen.key, content, str(path.relative_to(seen.volume)))
            transcripts += b'"exchanges"' in content and b'"endpoint"' in content
    assert transcripts > 0, "what was said to the model is kept"


def readable(item: Document) -> bytes:
    """An object as JSON, with what is packed in a ConfigMap laid open."""
    opened: list[Any] = [item]
    for content in (item.get("binaryData") or {}).values():
        data = base64.b64decode(content)
        with contextlib.suppress(OSError, EOFError):  # a part of a larger input is looked at as it is
            data = gzip.decompress(data)
        opened.append(data.decode("utf-8", "replace"))
    return json.dumps(opened, ensure_ascii=False).encode()


def hidden(key: str, content: bytes, where: str) -> None:
    """Nothing of a key: as it is, in base64, or its random part alone."""
    random = key.rpartition("-")[2]
    for form in (random, *(base64.b64encode(b"x" * shift + key.encode()).decode()[4:-4] for shift in range(3))):
        assert form.encode() not in content, where

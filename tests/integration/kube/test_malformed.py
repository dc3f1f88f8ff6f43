"""Malformed manifests: what the API server refuses, field by field, and what it admits and the controller has to bear.

The first half sends several hundred broken manifests of all kinds (:mod:`tests.integration.kube.malformed`) as kubectl
does.  The second applies objects whose faults no schema can name while a controller runs: each is told, none stops it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml

from poise_lib.errors import InvalidInputError
from poise_lib.resources.loading import parse_documents
from tests.integration.kube.documents import MODELS, merged, minimal, path
from tests.integration.kube.malformed import Malformed, malformed, whole
from tests.kube.client import ApiError, Client, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import Controller, eventually, running

FEWEST: Final = 200
SAMPLED: Final = 10
CODE: Final = {"source": "x = 1", "digest": "sha256:" + "0" * 64, "revision": 1}
KINDS = pytest.mark.parametrize("kind", sorted(MODELS))


def _names(refusal: ApiError, item: Malformed) -> bool:
    """Whether an answer says which field is wrong."""
    said = (f'"{item.named}"', f" {item.named} ")
    return item.named in (field for field, _ in refusal.causes) or any(text in refusal.message for text in said)


def _send(admin: Client, namespace: str, item: Malformed) -> ApiError | None:
    """Create it as ``kubectl apply --dry-run=server`` would; what the server has against it."""
    try:
        admin.create(path(item.kind, namespace), item.document, dryRun="All", fieldValidation="Strict")
    except ApiError as refusal:
        return refusal
    return None


class TestRefused:
    """What never becomes an object."""

    @KINDS
    def test_what_is_broken_was_whole(
        self, admin: Client, crds: dict[str, Document], namespace: str, kind: str
    ) -> None:
        document = whole(kind, crds[kind])
        made = admin.create(path(kind, namespace), document, dryRun="All", fieldValidation="Strict")
        assert made["spec"] == document["spec"]  # no field was left to its default, so each of them gets broken

    @KINDS
    def test_every_one_is_refused_and_the_answer_names_the_field(
        self, admin: Client, crds: dict[str, Document], namespace: str, kind: str
    ) -> None:
        wrong = []
        for item in malformed(kind, crds[kind]):
            refusal = _send(admin, namespace, item)
            if refusal is None or refusal.status not in (400, 422) or not _names(refusal, item):
                wrong.append(f"{item.id} -> {refusal or 'admitted'}")
        assert wrong == []

    def test_they_are_many_and_of_every_sort(self, crds: dict[str, Document]) -> None:
        items = [item for kind in MODELS for item in malformed(kind, crds[kind])]
        assert len(items) >= FEWEST
        assert len({json.dumps(item.document, sort_keys=True) for item in items}) == len(items)
        assert {item.named.count(".") for item in items} >= {0, 1, 2, 3, 4, 5}  # from the top to the bottom
        assert len({item.what for item in items}) >= 30

    def test_kubectl_shows_the_same_text(
        self, control_plane: ControlPlane, admin: Client, crds: dict[str, Document], namespace: str
    ) -> None:
        items = [item for kind in sorted(MODELS) for item in malformed(kind, crds[kind]) if "spec." in item.named]
        for item in random.Random(0).sample(items, SAMPLED):
            refusal = _send(admin, namespace, item)
            assert refusal is not None
            shown = control_plane.kubectl_result(
                "apply", "--dry-run=server", "-n", namespace, "-f", "-", stdin=yaml.safe_dump(item.document)
            )
            assert (shown.returncode, shown.stdout) == (1, ""), item.id
            for field, words in refusal.causes or (("", refusal.message),):
                assert (f"{field}: {words}" if field else words) in shown.stderr, item.id
            assert item.named in shown.stderr, item.id

    @KINDS
    def test_poise_run_names_the_same_field(self, crds: dict[str, Document], kind: str) -> None:
        items = [item for item in malformed(kind, crds[kind]) if item.named.startswith("spec")]
        wrong = []
        for item in random.Random(0).sample(items, 5 * SAMPLED):
            if item.what == "more than 64 bits":
                continue  # one machine has no such bound
            with pytest.raises(InvalidInputError) as refusal:
                parse_documents(yaml.dump(item.document, Dumper=yaml.CSafeDumper), "input")
            if not any(f" {item.named}{end}" in str(refusal.value) for end in (" ", ".", "[")):  # or what is in it
                wrong.append(f"{item.id} -> {refusal.value}")
        assert wrong == []

    @pytest.mark.parametrize("mount", ["/data/../artifacts", "/models/..", "/mnt/./x"])
    def test_no_data_is_mounted_elsewhere_by_dots(self, admin: Client, namespace: str, mount: str) -> None:
        volumes = [{"claimName": "mine", "mountPath": mount}]
        _refused(admin, namespace, _templated(volumes=volumes), "spec.evaluation.template.volumes[0].mountPath")

    @pytest.mark.parametrize("place", ["nodeSelector", "annotations", "resources.limits", "resources.requests"])
    def test_keys_that_no_model_takes(self, admin: Client, namespace: str, place: str) -> None:
        value: Document = {"my key": "1"}
        for step in reversed(place.split(".")):
            value = {step: value}
        _refused(admin, namespace, _templated(**value), f"spec.evaluation.template.{place}")

    @pytest.mark.parametrize(
        ("kind", "name"),
        [
            *((kind, "one.two") for kind in sorted(MODELS)),
            pytest.param("Candidate", "n" * 64, id="Candidate-long"),
            pytest.param("Evaluation", "n" * 64, id="Evaluation-long"),
        ],
    )
    def test_names_that_no_model_takes(self, admin: Client, namespace: str, kind: str, name: str) -> None:
        _refused(admin, namespace, minimal(kind, name), "metadata.name")


def _templated(**template: Any) -> Document:
    return merged(minimal("Search"), {"spec": {"evaluation": {"template": template}}})


def _refused(admin: Client, namespace: str, document: Document, named: str) -> None:
    """This field, and none other, is what the server has against a manifest."""
    item = Malformed(document["kind"], "", document, named)
    refusal = _send(admin, namespace, item)
    assert refusal is not None, "admitted"
    assert _names(refusal, item), refusal


@pytest.fixture(scope="module")
def team(control_plane: ControlPlane) -> Iterator[str]:
    """The namespace of all searches of the second half; nothing stays there for other controllers."""
    yield (namespace := control_plane.create_namespace("malformed"))
    for kind in MODELS:
        control_plane.client.delete(path(kind, namespace))
    control_plane.client.delete(namespaced("batch/v1", namespace, "jobs"), propagationPolicy="Background")


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane, team: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A controller that watches this namespace and nothing that other modules have left."""
    with running(control_plane, tmp_path_factory.mktemp("controller"), "malformed", (team,)) as controller:
        yield controller


class Desk:
    """Somebody who applies objects to the namespace that a controller watches."""

    def __init__(self, client: Client, namespace: str) -> None:
        self.client, self.namespace = client, namespace

    def search(self, name: str, **spec: Any) -> Document:
        document = merged(minimal("Search", name), {"spec": {"budget": {"candidates": 3}, **spec}})
        return self.client.create(path("Search", self.namespace), document)

    def candidate(self, name: str, search: str, metadata: Document | None = None, **spec: Any) -> Document:
        document = merged(minimal("Candidate", name), {"metadata": metadata or {}, "spec": {"search": search, **spec}})
        return self.client.create(path("Candidate", self.namespace), document)

    def evaluation(self, name: str, search: str, candidate: str, **spec: Any) -> Document:
        change = {"spec": {"search": search, "candidate": candidate, **spec}}
        return self.client.create(path("Evaluation", self.namespace), merged(minimal("Evaluation", name), change))

    def job(self, name: str, labels: Document, annotations: Document | None = None) -> None:
        """A Job of somebody's own."""
        container = {"name": "theirs", "image": "theirs"}
        body = {
            "metadata": {"name": name, "labels": labels, "annotations": annotations or {}},
            "spec": {"suspend": True, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        self.client.create(namespaced("batch/v1", self.namespace, "jobs"), body)

    def status(self, kind: str, name: str, **status: Any) -> None:
        """Write a status, as whoever restores an archive may."""
        self.client.patch(path(kind, self.namespace, name, "status"), {"status": status})

    def unreadable(self, kind: str, name: str, search: str) -> None:
        """An object that fits its schema and not its model: the schema of a mapping cannot speak of its keys."""
        if kind == "Candidate":
            self.candidate(name, search)
        else:
            self.evaluation(name, search, "nobody")
        self.status(kind, name, metrics={"my metric": 1.0})

    def field(self, kind: str, name: str, field: str) -> Any:
        """A field of a status; nothing where it is not there."""
        return self.client.get(path(kind, self.namespace, name)).get("status", {}).get(field)

    def stalled(self, name: str) -> str:
        """What the condition Stalled of a search says; nothing where it is not stalled."""
        conditions = self.field("Search", name, "conditions") or ()
        (found,) = [item for item in conditions if item["type"] == "Stalled"] or [{"status": "False"}]
        return f"{found['reason']}: {found['message']}" if found["status"] == "True" else ""

    def told(self, name: str) -> str:
        """What an Event says of an object that cannot be read."""
        query = {"fieldSelector": f"involvedObject.name={name},reason=Unreadable"}
        found = self.client.get(namespaced("v1", self.namespace, "events"), **query)["items"]
        assert len(found) <= 1, "told more than once"
        return str(found[0]["message"]) if found else ""

    def wait_for_job(self, name: str) -> None:
        jobs = namespaced("batch/v1", self.namespace, "jobs")
        query = {"fieldSelector": f"metadata.name={name}"}
        eventually(lambda: self.client.get(jobs, **query)["items"], f"the Job {name}")

    def looked_at(self, search: str) -> None:
        """Wait until the controller has looked at a search from beginning to end, whatever that came to."""
        for number in (1, 2):  # when it tells of the second stray, it is done with the first
            stray = f"stray-{search}-{number}"
            self.unreadable("Evaluation", stray, search)
            eventually(lambda stray=stray: self.told(stray), f"news of {stray}")  # type: ignore[misc]


@pytest.fixture
def desk(operator: Controller, admin: Client, team: str) -> Desk:
    return Desk(admin, team)


NO_POD: Final[dict[str, tuple[Document, str]]] = {
    "exists-with-value": ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "tolerations[0].operator"),
    "seconds-of-no-effect": (
        {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]},
        "tolerations[0].effect",
    ),
    "in-nothing": ({"nodeAffinity": [{"key": "a", "operator": "In"}]}, "matchExpressions[0].values"),
    "no-prefix": ({"nodeAffinity": [{"key": "-./a", "operator": "Exists"}]}, "matchExpressions[0].key"),
    "twice-in-one-place": (
        {"volumes": [{"claimName": "a", "mountPath": "/data"}, {"claimName": "b", "mountPath": "/data"}]},
        'mountPath: Invalid value: "/data": must be unique',
    ),
    "the-artifacts": (
        {"volumes": [{"claimName": "poise-artifacts", "mountPath": "/data"}]},
        "evaluation.template.volumes: poise-artifacts holds the artifacts",
    ),
    "annotation-too-long": ({"annotations": {"a" * 64: "x"}}, "spec.template.annotations"),
    "no-resource": ({"resources": {"requests": {"bananas": "1"}}}, "requests[bananas]"),
    "more-than-the-limit": ({"resources": {"requests": {"cpu": "4"}, "limits": {"cpu": "2"}}}, "cpu limit of 2"),
    "half-a-device": ({"resources": {"limits": {"nvidia.com/gpu": "0.5"}}}, "limits[nvidia.com/gpu]"),
}  # fmt: skip
"""Templates that fit the schema and of which no pod can be made, and what the API server has against them."""


class TestAdmitted:
    """What the schema cannot say, beside a controller that runs."""

    @pytest.mark.parametrize("name", NO_POD)
    def test_what_no_pod_can_be_made_of_is_a_condition(self, desk: Desk, name: str) -> None:
        template, words = NO_POD[name]
        if "resources" in template:  # these count from the first task on that runs code of candidates
            desk.candidate(f"{name}-000-0", name)
            desk.status("Candidate", f"{name}-000-0", phase="Verifying", implementation=CODE)
        desk.search(name, evaluation={"template": template})
        said = eventually(lambda: desk.stalled(name), "a search that is stalled")
        assert said.startswith("TasksDoNotStart: ")
        assert words in said

    def test_what_fits_no_model_is_an_event(self, desk: Desk) -> None:
        desk.search("beside")
        desk.unreadable("Evaluation", "unreadable", "beside")
        said = eventually(lambda: desk.told("unreadable"), "an event")
        assert said.startswith("left out, because it does not fit its model: status.metrics.my metric")
        desk.wait_for_job("beside-000-0-implement-1-1")

    def test_a_suite_that_only_its_model_refuses_is_an_event(self, desk: Desk) -> None:
        """CEL does not know the k of the extended suite."""
        own = {"name": "ours", "extends": "math-v1", "benchmarks": [{"name": "amc_pass32", "samples": 4}]}
        verl = {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}}
        desk.search("own", evaluation={"engine": "verl", "suite": "ours", "suiteDefinition": own, "verl": verl})
        said = eventually(lambda: desk.told("own"), "an event")
        assert said.startswith("left out, because it does not fit its model: spec.evaluation.suiteDefinition: ")
        assert said.endswith("amc_pass32: samples (4) must be at least passK (32)")

    def test_what_is_in_the_way_is_told_until_it_is_gone(self, desk: Desk) -> None:
        desk.unreadable("Candidate", "blocked-000-0", "blocked")
        desk.search("blocked")
        said = eventually(lambda: desk.stalled("blocked"), "a search that is stalled")
        assert said.startswith("TasksDoNotStart: Candidate blocked-000-0 does not fit its model")
        desk.client.delete(path("Candidate", desk.namespace, "blocked-000-0"))
        desk.wait_for_job("blocked-000-0-implement-1-1")
        eventually(lambda: not desk.stalled("blocked"), "a search that goes on")

    @pytest.mark.parametrize("what", ["candidate", "job"])
    def test_a_name_that_something_else_has_is_told(self, desk: Desk, what: str) -> None:
        name = f"taken-{what}"
        if what == "candidate":
            desk.candidate(f"{name}-000-0", "somebody-elses")
        else:
            desk.job(f"{name}-000-0-implement-1-1", {})
        desk.search(name)
        desk.looked_at(name)
        assert f"{name}-000-0" in desk.stalled(name)

    def test_nonsense_beside_a_search_does_not_stop_it(self, desk: Desk) -> None:
        desk.candidate("cross-a", "hand", parents=["cross-b"])
        desk.status("Candidate", "cross-a", phase="Failed")
        desk.candidate("cross-b", "hand", parents=["cross-a", "cross-b", "nobody"])
        desk.candidate("far", "hand", round=2**62, slot=2**63 - 1)
        desk.candidate("nobodys", "no-such-search")
        desk.candidate("x" * 63, "hand")
        desk.candidate(
            "labelled", "hand", {"labels": {"poise.dev/search": "other"}, "annotations": {"poise.dev/depth": "?"}}
        )
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "theirs", "controller": True}
        desk.candidate("owned", "hand", {"ownerReferences": [owner]})
        desk.evaluation("orphan", "hand", "no-such-candidate", suite="no-such-suite")
        desk.evaluation("hand-000-0-full-0", "hand", "far", seed=2**62)
        ours = {"app.kubernetes.io/managed-by": "poise", "poise.dev/search": "hand"}
        desk.job("ours-1", ours)
        desk.job("ours-2", ours | {"poise.dev/attempt": "many"}, {"poise.dev/task": "x"})
        desk.job("ours-3", ours | {"poise.dev/attempt": "9" * 40}, {"poise.dev/task": "x", "poise.dev/outcome": "?"})
        desk.candidate("hand-000-0", "hand")
        desk.status("Candidate", "hand-000-0", phase="Archived", utility=1.0)
        desk.search("hand", deletionPolicy="Delete", budget={"candidates": 20, "concurrent": 20})
        desk.wait_for_job("cross-b-implement-1-1")
        eventually(
            lambda: desk.field("Search", "hand", "progress") == "3/20", "an end of the one whose name is too long"
        )
        assert desk.field("Candidate", "x" * 63, "reason") == "EvaluationFailed"

    def test_statuses_that_contradict_themselves_do_not_stop_a_search(self, desk: Desk) -> None:
        passed = {"passed": True, "revision": 1, "checks": 0}
        for name, status, job in (
            ("no-code", {"phase": "Verifying"}, "000-0-implement-1-1"),
            ("no-score", {"phase": "Archived"}, "001-select-1"),
            ("no-run", {"phase": "Reflecting", "implementation": CODE, "verification": passed}, "000-0-reflect-1"),
        ):
            desk.candidate(f"{name}-000-0", name)
            desk.status("Candidate", f"{name}-000-0", **status)
            desk.search(name)
            desk.wait_for_job(f"{name}-{job}")
        desk.search("done", suspend=True)
        desk.status("Search", "done", phase="Complete", stopReason="CandidatesSpent", round=7, digest="none")
        desk.client.patch(path("Search", desk.namespace, "done"), {"spec": {"suspend": False}})
        desk.wait_for_job("done-000-0-implement-1-1")

    def test_after_all_that_the_controller_is_alive_and_works(self, desk: Desk, operator: Controller) -> None:
        """Last in this module."""
        desk.search("good")
        desk.wait_for_job("good-000-0-implement-1-1")
        assert desk.stalled("good") == ""
        assert operator.ready()
        assert operator.page("/healthz").startswith("heartbeat")
        assert "\npoise_reconcile_errors_total 0.0\n" in operator.page("/metrics")
        assert [record for record in operator.records() if "exception" in record] == []
        told = {"refused", "an object does not fit its model", "a candidate could not be adopted yet"}
        assert {record["event"] for record in operator.complaints()} <= told

"""``poise export`` and ``poise import`` with a real API server: nothing is lost between directories and namespaces.

The archives come from the planner, driven by the stand-in of its unit tests: searches in the middle of their work and at
their end, with every phase in them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from poise_lib.archive.digest import archive_digest
from poise_lib.cli import cluster as module
from poise_lib.cli.cluster import Cluster, fetch
from poise_lib.cli.main import invoke
from poise_lib.errors import ClusterError
from poise_lib.local.state import StateDir
from poise_lib.names import ANNOTATION_IMPORT
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.evaluation import FINAL_EVALUATION_PHASES, EvaluationPhase
from poise_lib.resources.transfer import Bundle, bundle, portable
from poise_lib.search import Create, Observed, StartTask, plan
from tests.integration.kube.documents import path
from tests.kube.client import Client, Document, namespaced
from tests.kube.cluster import ControlPlane
from tests.kube.controller import Controller, eventually
from tests.unit.search.world import World, make_search

SEARCH = "s"


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@pytest.fixture
def poise(control_plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run ``poise`` with the kubectl and the kubeconfig of the control plane."""
    monkeypatch.chdir(tmp_path)
    folder = Path(control_plane.assets.binary("kubectl")).parent
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("KUBECONFIG", str(control_plane.kubeconfig))
    monkeypatch.setenv("KUBECACHEDIR", str(control_plane.state / "kubectl-cache"))
    monkeypatch.delenv("POISE_STATE", raising=False)

    def run(*arguments: object) -> Result:
        with CliRunner().isolation() as (out, err, _):
            code = invoke([str(argument) for argument in arguments])
            return Result(code, out.getvalue().decode(), err.getvalue().decode())

    return run


@pytest.fixture
def other(control_plane: ControlPlane, namespace: str) -> str:
    """A second namespace."""
    return control_plane.create_namespace(f"{namespace}-other")


def midway(steps: int = 60, **spec: Any) -> World:
    """A search that stopped in the middle of its work: tasks were running, some runs are trained and not yet scored."""
    spec.setdefault("budget", {"candidates": 12, "concurrent": 3})
    world, chance = World(make_search(**spec)), random.Random(7)
    for _ in range(steps):
        world.settle()
        world.finish(chance.choice(sorted(world.running)))
    world.settle()
    assert world.running
    return world


def ended(**spec: Any) -> World:
    world = World(make_search(**spec))
    world.run(random.Random(7))
    return world


def whole(world: World) -> Bundle:
    return bundle([world.search, *world.candidates.values(), *world.evaluations.values()])


def written(world: World, file: str = "all.yaml") -> Path:
    """The world as a file of manifests."""
    Path(file).write_text(yaml.safe_dump_all([portable(item) for item in whole(world).resources()]))
    return Path(file)


def digest(found: Bundle | World) -> str:
    if isinstance(found, World):
        found = whole(found)
    return archive_digest(found.search, found.candidates, found.evaluations)


def live(admin: Client, kind: str, namespace: str) -> dict[str, Document]:
    return {item["metadata"]["name"]: item for item in admin.get(path(kind, namespace))["items"]}


def resumed(found: Bundle) -> World:
    """A shell that finds these objects and nothing else: no task, no stored result."""
    world = World(found.search)
    world.candidates = {item.metadata.name: item for item in found.candidates}
    world.evaluations = {item.metadata.name: item for item in found.evaluations}
    return world


def test_a_directory_a_cluster_another_namespace_and_back(
    poise: Callable[..., Result], admin: Client, namespace: str, other: str
) -> None:
    world = ended()
    state = StateDir(Path("first.poise"))
    for item in reversed(whole(world).resources()):
        state.write(item)
    assert poise("export", "first.poise", "-o", "dir.yaml").code == 0
    done = poise("import", "dir.yaml", "-n", namespace)
    assert done.code == 0, done.err
    runs = len(world.evaluations)
    assert done.out == f"namespace {namespace}: search s, {len(world.candidates)} candidates, {runs} evaluations\n"
    assert poise("export", SEARCH, "--namespace", namespace, "-o", "one.yaml").code == 0
    assert poise("import", "one.yaml", "--namespace", other).code == 0
    assert poise("export", "--namespace", other, "--output", "two.yaml").code == 0
    assert Path("one.yaml").read_text() == Path("two.yaml").read_text()
    assert poise("import", "two.yaml", "--state", "last.poise").code == 0
    last = StateDir(Path("last.poise"))
    search = last.search()
    assert search is not None
    assert archive_digest(search, last.candidates(), last.evaluations()) == digest(world)
    assert poise("export", "last.poise").out == Path("two.yaml").read_text()
    candidates, evaluations = live(admin, "Candidate", other), live(admin, "Evaluation", other)
    assert not any(item["metadata"].get("ownerReferences") for item in candidates.values())
    for item in evaluations.values():
        (owner,) = item["metadata"]["ownerReferences"]
        assert owner["uid"] == candidates[item["spec"]["candidate"]]["metadata"]["uid"]
        assert owner["controller"] is True
    made = live(admin, "Search", other)[SEARCH]
    assert made["spec"]["suspend"] is False
    assert ANNOTATION_IMPORT not in made["metadata"].get("annotations", {})
    assert made["status"]["phase"] == "Complete"


def test_candidates_go_with_a_search_that_says_so(poise: Callable[..., Result], admin: Client, namespace: str) -> None:
    world = midway(deletionPolicy="Delete")
    world.search = world.search.model_copy(update={"spec": world.search.spec.model_copy(update={"suspend": True})})
    written(world)
    assert poise("import", "all.yaml", "-n", namespace).code == 0
    search = live(admin, "Search", namespace)[SEARCH]
    assert search["spec"]["suspend"] is True
    for item in live(admin, "Candidate", namespace).values():
        (owner,) = item["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("Search", search["metadata"]["uid"], True)
        assert item["spec"]["proposal"]["title"], "linking owners touches nothing else"


def test_the_search_goes_on_where_it_was(poise: Callable[..., Result], namespace: str) -> None:
    before = midway()
    scoring = [run for run in before.evaluations.values() if run.status.phase is EvaluationPhase.SCORING]
    assert scoring, "the archive has a run that is trained and not scored"
    written(before)
    done = poise("import", "all.yaml", "-n", namespace)
    assert f"{len(scoring)} runs that were trained and not scored will be trained again" in done.err
    found = bundle(fetch(Cluster(namespace), SEARCH))
    assert digest(found) == digest(before)
    after = resumed(found)
    after.run(random.Random(1))
    undisturbed = World(make_search(budget={"candidates": 12, "concurrent": 3}))
    undisturbed.run(random.Random(2))
    assert digest(after) == digest(undisturbed)
    final = {run.metadata.name for run in before.evaluations.values() if run.status.phase in FINAL_EVALUATION_PHASES}
    assert final
    assert not {f"{name}-{task}" for name in final for task in ("train", "score")} & set(after.started)
    assert {f"{run.metadata.name}-train" for run in scoring} <= set(after.started), "their weights stayed behind"


def test_nothing_of_a_finished_search_is_run_again(poise: Callable[..., Result], namespace: str) -> None:
    written(ended())
    assert poise("import", "all.yaml", "-n", namespace).code == 0
    after = resumed(bundle(fetch(Cluster(namespace), SEARCH)))
    after.settle()
    assert after.started == []
    assert after.search.status.phase == "Complete"


def controller_would_act(namespace: str) -> list[object]:
    """What a controller that sees the namespace as it is now would create or start."""
    cluster = Cluster(namespace)
    searches = cluster.searches()
    if not searches:
        return []  # it looks at nothing without a Search
    members = cluster.members(SEARCH)
    candidates = {item.metadata.name: item for item in members if isinstance(item, Candidate)}
    evaluations = {item.metadata.name: item for item in members if isinstance(item, Evaluation)}
    actions = plan(Observed(searches[0], candidates, evaluations, {}, 2_000_000.0))
    return [action for action in actions if isinstance(action, Create | StartTask)]


@pytest.mark.slow
def test_an_import_that_was_interrupted_anywhere_is_completed(
    poise: Callable[..., Result], control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(midway(18, deletionPolicy="Delete"))
    monkeypatch.setattr(module, "BATCH", 4)
    real, calls = Cluster.kubectl, 0

    def failing(self: Cluster, *arguments: str, **more: Any) -> str:
        nonlocal calls
        calls -= arguments[0] != "get"
        if calls < 0:
            raise ClusterError("the network is gone")
        return real(self, *arguments, **more)

    assert poise("import", "all.yaml", "-n", namespace).code == 0
    expected = poise("export", "-n", namespace).out
    number = 0
    while True:
        place = control_plane.create_namespace(f"{namespace}-cut-{number}")
        calls = number
        with monkeypatch.context() as patched:
            patched.setattr(Cluster, "kubectl", failing)
            code = poise("import", "all.yaml", "-n", place).code
        assert controller_would_act(place) == [] or code == 0
        if code == 0:
            break
        if "there is no search" not in (refused := poise("export", SEARCH, "-n", place)).err:
            assert "has not ended; run `poise import` again first" in refused.err
        again = poise("import", "all.yaml", "-n", place)
        assert again.code == 0, again.err
        assert poise("export", "-n", place).out == expected, f"interrupted at call {number}"
        number += 1
    assert number >= 7, "creations, statuses, Search, its status, owners and the last patch in several calls"


@pytest.mark.slow
def test_a_running_controller_waits_for_the_whole_archive(
    poise: Callable[..., Result],
    control_plane: ControlPlane,
    admin: Client,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = midway()
    written(world)
    real = Cluster.kubectl

    def failing(self: Cluster, *arguments: str, **more: Any) -> str:
        if arguments[0] in ("replace", "patch") and admin.get(path("Search", namespace))["items"]:
            raise ClusterError("the network is gone")  # at the worst moment: the Search has no status of its own yet
        return real(self, *arguments, **more)

    def seen() -> bool:
        found = live(admin, "Search", namespace)[SEARCH]
        return bool(found.get("status", {}).get("observedGeneration") == found["metadata"]["generation"])

    def jobs() -> set[str]:
        items = admin.get(namespaced("batch/v1", namespace, "jobs"))["items"]
        return {item["metadata"]["annotations"]["poise.dev/task"] for item in items}

    with Controller(control_plane, tmp_path, namespaces=(namespace,)) as controller:
        with monkeypatch.context() as patched:
            patched.setattr(Cluster, "kubectl", failing)
            assert poise("import", "all.yaml", "-n", namespace).code == 1
        eventually(seen, "the controller's view of half an import")
        assert live(admin, "Candidate", namespace).keys() == world.candidates.keys()
        assert live(admin, "Evaluation", namespace).keys() == world.evaluations.keys()
        assert jobs() == set()
        done = poise("import", "all.yaml", "-n", namespace)
        assert done.code == 0, done.err
        eventually(lambda: len(jobs()) == 3, "as many tasks as may run at the same time")
        eventually(seen, "the controller's view of the whole")
        assert not controller.complaints()
    final = {run.metadata.name for run in world.evaluations.values() if run.status.phase in FINAL_EVALUATION_PHASES}
    assert not {name for name in jobs() if name.rpartition("-")[0] in final}
    status, before = live(admin, "Search", namespace)[SEARCH]["status"], world.search.status
    assert (status["round"], status["startTime"]) == (before.round, before.start_time)
    assert digest(bundle(fetch(Cluster(namespace), SEARCH))) == digest(world)


def test_a_second_import_changes_nothing(poise: Callable[..., Result], admin: Client, namespace: str) -> None:
    written(midway())
    poise("import", "all.yaml", "-n", namespace)
    # The search goes on: what the file says of it is history.
    admin.patch(path("Search", namespace, SEARCH, "status"), {"status": {"round": 99}})
    admin.patch(path("Search", namespace, SEARCH), {"spec": {"suspend": True}})
    before = {kind: live(admin, kind, namespace) for kind in ("Search", "Candidate", "Evaluation")}
    again = poise("import", "all.yaml", "-n", namespace)
    assert again.code == 0
    assert again.out.endswith("; all there already, nothing was changed\n")
    assert before == {kind: live(admin, kind, namespace) for kind in before}


def test_what_differs_is_refused_by_name(poise: Callable[..., Result], admin: Client, namespace: str) -> None:
    world = midway(20)
    written(world)
    candidate = portable(world.candidates["s-001-0"])
    candidate["spec"]["proposal"]["title"] = "Another"
    admin.create(path("Candidate", namespace), candidate)
    refused = poise("import", "all.yaml", "-n", namespace)
    assert refused.code == 2
    assert "Candidate s-001-0 is there already with another spec.proposal.title than in all.yaml" in refused.err
    assert "choose another --namespace" in refused.err
    assert list(live(admin, "Candidate", namespace)) == ["s-001-0"], "nothing was written"
    assert live(admin, "Search", namespace) == {}


def test_an_archive_that_went_on_is_not_set_back(poise: Callable[..., Result], admin: Client, namespace: str) -> None:
    written(midway(20), "old.yaml")
    written(midway(40), "new.yaml")
    assert poise("import", "new.yaml", "-n", namespace).code == 0
    admin.delete(path("Search", namespace, SEARCH))
    refused = poise("import", "old.yaml", "-n", namespace)
    assert refused.code == 2
    assert "is there already, but not in old.yaml" in refused.err
    assert "is there already with another status (" in refused.err
    # One run was cut loose from its candidate.
    admin.patch(path("Evaluation", namespace, "s-000-0-full-0"), {"metadata": {"ownerReferences": []}})
    assert poise("import", "new.yaml", "-n", namespace).code == 0, "the Search alone is made again"
    root = live(admin, "Candidate", namespace)["s-000-0"]["metadata"]["uid"]
    assert live(admin, "Evaluation", namespace)["s-000-0-full-0"]["metadata"]["ownerReferences"][0]["uid"] == root


def test_a_search_without_its_archive_is_not_filled_up(
    poise: Callable[..., Result], admin: Client, namespace: str
) -> None:
    world = midway(20)
    written(world)
    admin.create(path("Search", namespace), portable(world.search))
    refused = poise("import", "all.yaml", "-n", namespace)
    assert refused.code == 2
    assert "Candidate s-000-0 is missing beside the search s" in refused.err


def test_what_kubectl_refuses_is_said_in_a_line(
    poise: Callable[..., Result], control_plane: ControlPlane, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(midway(20))
    assert poise("export", "none", "-n", namespace).err.splitlines() == [
        f"Error: namespace {namespace}: there is no search 'none'; there are: none"
    ]
    lost = poise("import", "all.yaml", "-n", "nowhere")
    assert lost.code == 1
    assert 'namespaces "nowhere" not found' in lost.err
    assert "kubectl create namespace makes it" in lost.err
    unknown = poise("export", SEARCH, "-n", namespace, "--context", "mars")
    assert 'context "mars"' in unknown.err
    nobody = control_plane.kubeconfig_for("nobody", user="nobody")
    monkeypatch.setenv("KUBECONFIG", str(nobody))
    forbidden = poise("export", SEARCH, "-n", namespace)
    assert forbidden.code == 1
    assert len(forbidden.err.splitlines()) == 1
    assert 'cannot list resource "searches"' in forbidden.err


def test_a_running_search_is_exported_as_one_picture(
    poise: Callable[..., Result], admin: Client, namespace: str
) -> None:
    written(midway(20))
    poise("import", "all.yaml", "-n", namespace)
    orphan = {"search": SEARCH, "candidate": "s-made-later"}
    metadata = {"name": "s-made-later-full-0"}
    document = {"apiVersion": "poise.dev/v1alpha1", "kind": "Evaluation", "metadata": metadata, "spec": orphan}
    admin.create(path("Evaluation", namespace), document)
    found = bundle(fetch(Cluster(namespace), SEARCH))
    assert "s-made-later-full-0" not in {run.metadata.name for run in found.evaluations}


def test_a_big_archive_takes_few_calls(
    poise: Callable[..., Result], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = ended(budget={"candidates": 64, "concurrent": 8})
    assert len(world.candidates) == 64
    written(world)
    real, called = Cluster.kubectl, []

    def counting(self: Cluster, *arguments: str, **more: Any) -> str:
        called.append(arguments[0])
        return real(self, *arguments, **more)

    monkeypatch.setattr(Cluster, "kubectl", counting)
    assert poise("import", "all.yaml", "-n", namespace).code == 0
    assert called == ["get", "get", "create", "create", "replace", "create", "replace", "patch"]
    called.clear()
    assert poise("export", "-n", namespace, "-o", "back.yaml").code == 0
    assert called == ["get", "get"]


def test_a_name_that_another_search_has_taken(poise: Callable[..., Result], admin: Client, namespace: str) -> None:
    world = midway(20)
    written(world)
    candidate = portable(world.candidates["s-001-0"])
    candidate["spec"]["search"] = "t"
    admin.create(path("Candidate", namespace), candidate)
    refused = poise("import", "all.yaml", "-n", namespace)
    assert refused.code == 1
    assert '"s-001-0" already exists; it belongs to another search' in refused.err
    assert live(admin, "Search", namespace) == {}
    admin.delete(path("Candidate", namespace, "s-001-0"))
    assert poise("import", "all.yaml", "-n", namespace).code == 0, "what the first try made is taken up"


def test_the_models_read_what_the_server_adds(poise: Callable[..., Result], namespace: str) -> None:
    written(midway(20))
    poise("import", "all.yaml", "-n", namespace)
    search, *_ = fetch(Cluster(namespace), None)
    assert isinstance(search, Search)
    assert search.metadata.uid

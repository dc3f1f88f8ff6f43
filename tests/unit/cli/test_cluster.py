"""What is said to kubectl and made of its answers; a real API server is asked in tests/integration/kube/test_transfer.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from poise_lib.cli.cluster import CONFLICT, TRIES, Cluster, mark_of, owned, parsed, refusal, restore, stream
from poise_lib.errors import ClusterError, InvalidInputError
from poise_lib.resources.transfer import bundle
from poise_lib.search import Create, Observed, plan
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that keeps its arguments and its input, answers with ``answer`` and fails with ``complaint``."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "kubectl"
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        "here = pathlib.Path(__file__).parent\n"
        "(here / 'arguments').write_text('\\n'.join(sys.argv[1:]))\n"
        "(here / 'input').write_text(sys.stdin.read())\n"
        "for name, stream in (('answer', sys.stdout), ('complaint', sys.stderr)):\n"
        "    if (here / name).exists():\n"
        "        stream.write((here / name).read_text())\n"
        "sys.exit((here / 'complaint').exists())\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_kubectl_is_called_for_one_namespace_of_one_context(kubectl: Path) -> None:
    (kubectl / "answer").write_text("done")
    assert Cluster("team", "prod").kubectl("create", "-f", "-", documents=[{"kind": "X"}]) == "done"
    arguments = (kubectl / "arguments").read_text().split("\n")
    assert arguments == ["create", "-f", "-", "--namespace", "team", "--context", "prod"]
    assert json.loads((kubectl / "input").read_text()) == {"apiVersion": "v1", "kind": "List", "items": [{"kind": "X"}]}
    Cluster("team").kubectl("get")
    assert "--context" not in (kubectl / "arguments").read_text()


def test_without_kubectl(poise: Poise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = poise("export", "demo", "--namespace", "team")
    assert found.code == 1
    assert found.err.startswith("Error: kubectl: not found in PATH; clusters are reached through it: https://")
    assert len(found.err.splitlines()) == 1


def test_a_refusal_is_one_line(poise: Poise, kubectl: Path) -> None:
    (kubectl / "complaint").write_text('error: context "mars" does not exist\n')
    found = poise("export", "demo", "--namespace", "team", "--context", "mars")
    assert found.code == 1
    assert found.err == 'Error: namespace team (mars): kubectl get: context "mars" does not exist\n'


LOG = 'E1126 09:00:00.000000    123 memcache.go:265] "Unhandled Error" err="couldn\'t get current server API group list"\n'


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("error: no\n", "no"),
        ("", "no message"),
        (LOG * 3 + "The connection to the server localhost:8080 was refused\n",
         "The connection to the server localhost:8080 was refused"),
        ("Warning: old\nError a\nError b\nError c\n", "Error a (and 2 more lines)"),
        (LOG, LOG.strip()),
        ("error: the server doesn't have a resource type \"searches\"\n",
         "the server doesn't have a resource type \"searches\"; install the CRDs: poise crds | kubectl apply --server-side -f -"),
        ('Error from server (NotFound): namespaces "x" not found\n',
         'Error from server (NotFound): namespaces "x" not found; kubectl create namespace makes it'),
        ("x" * 600, "x" * 500 + "..."),
    ],
)  # fmt: skip
def test_what_kubectl_complains_of(stderr: str, expected: str) -> None:
    assert refusal(stderr) == expected


def test_documents_one_after_the_other() -> None:
    assert list(stream('{"a": 1}\n{"b": {"c": 2}}  \n')) == [{"a": 1}, {"b": {"c": 2}}]
    assert list(stream("")) == []
    with pytest.raises(ClusterError, match="is no JSON"):
        list(stream('{"a": 1} nonsense'))


def test_what_the_server_adds_to_metadata_is_left_out() -> None:
    document = world.candidate("001-0").to_document()
    document["metadata"] |= {"selfLink": "/x", "generateName": "y", "deletionGracePeriodSeconds": 0, "uid": "1"}
    assert parsed(document, "here").metadata.uid == "1"
    document["spec"]["round"] = "one"
    with pytest.raises(ClusterError, match=r"here: Candidate demo-001-0: spec\.round: .* another version of POISE"):
        parsed(document, "here")
    with pytest.raises(ClusterError, match="Pod x is of no kind"):
        parsed({"kind": "Pod", "metadata": {"name": "x"}}, "here")


def test_an_evaluation_goes_with_its_candidate() -> None:
    candidate = world.candidate("001-0")
    candidate = candidate.model_copy(update={"metadata": candidate.metadata.model_copy(update={"uid": "new"})})
    (link,) = owned(world.evaluation("001-0", 0, 68.5), candidate).metadata.owner_references
    assert link == {
        "apiVersion": "poise.dev/v1alpha1",
        "kind": "Candidate",
        "name": "demo-001-0",
        "uid": "new",
        "controller": True,
    }


def test_a_suspended_search_alone_would_get_a_baseline() -> None:
    """Why an import makes the Search last: suspension keeps tasks from starting, not objects from being made."""
    search = world.search()
    search = search.model_copy(update={"spec": search.spec.model_copy(update={"suspend": True})})
    assert [type(action) for action in plan(Observed(search))][:1] == [Create]


class Fake(Cluster):
    """A namespace whose Search is marked and complete but for its status, and whose controller writes at each try."""

    conflicts = 0
    mark = mark_of(bundle([world.search()]))
    commands: list[str]

    def kubectl(self, *arguments: str, documents: Any = None) -> str:
        self.commands.append(arguments[0])
        if arguments[0] == "replace" and self.commands.count("replace") <= self.conflicts:
            raise ClusterError(f"kubectl replace: Error from server {CONFLICT}: the object has been modified")
        if arguments[:2] != ("get", "searches.poise.dev"):
            return ""
        search = world.search().to_document()
        search["metadata"] |= {"uid": "1", "annotations": {"poise.dev/import": self.mark}}
        search["spec"]["suspend"] = self.namespace != "resumed"
        return json.dumps({"items": [search]})


@pytest.mark.parametrize("conflicts", [0, 2, TRIES])
def test_a_controller_that_writes_the_status_too(conflicts: int) -> None:
    cluster = Fake("team")
    object.__setattr__(cluster, "conflicts", conflicts)
    object.__setattr__(cluster, "commands", [])
    wanted = bundle([world.search()])
    if conflicts == TRIES:
        with pytest.raises(ClusterError, match="Conflict"):
            restore(cluster, wanted, "f.yaml", lambda _: None)
        return
    assert restore(cluster, wanted, "f.yaml", lambda _: None)
    assert cluster.commands == ["get", "get", *["replace"] * (conflicts + 1), "patch"]


def test_another_file_does_not_end_an_import() -> None:
    cluster = Fake("team")
    object.__setattr__(cluster, "commands", [])
    with pytest.raises(InvalidInputError, match=r"from another file than f\.yaml has not ended"):
        restore(cluster, bundle([world.search(round=3)]), "f.yaml", lambda _: None)


def test_a_search_resumed_by_hand_is_left_alone() -> None:
    cluster = Fake("resumed")
    object.__setattr__(cluster, "commands", [])
    with pytest.raises(InvalidInputError, match=r"was resumed by hand .* kubectl annotate searches\.poise\.dev demo"):
        restore(cluster, bundle([world.search()]), "f.yaml", lambda _: None)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("export", "demo", "--context", "c"), "--context: say which namespace"),
        (("export", "demo", "-n", "x", "--artifacts", "a.tar"), "--artifacts: works for state directories"),
        (("import", "f.yaml", "-n", "x", "--state", "d"), "give either --state or --namespace"),
        (("export", "demo"), "for a Search of that name in a cluster, add --namespace"),
    ],
)
def test_options_that_do_not_fit(poise: Poise, arguments: tuple[str, ...], expected: str) -> None:
    found = poise(*arguments)
    assert found.code == 2
    assert expected in found.err

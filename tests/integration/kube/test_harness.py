"""The harness itself: other users, and nothing left behind when a test process dies."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from poise_lib.names import API_VERSION
from tests.integration.kube.documents import merged, minimal, path
from tests.kube.assets import ASSETS_VARIABLE, MissingError, find
from tests.kube.client import ApiError, Client
from tests.kube.cluster import ROOT, ControlPlane

REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def who(client: Client) -> tuple[str, set[str]]:
    """The user whom the server takes a client for, and the user's groups."""
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    user = client.create(REVIEW, review)["status"]["userInfo"]
    return user["username"], set(user["groups"])


def test_impersonation(admin: Client) -> None:
    alice = admin.impersonate("alice", "team-one")
    assert who(alice) == ("alice", {"team-one", "system:authenticated"})
    with pytest.raises(ApiError) as refusal:
        alice.get("/api/v1/namespaces")
    assert (refusal.value.status, refusal.value.reason) == (403, "Forbidden")


def test_service_accounts(control_plane: ControlPlane, namespace: str) -> None:
    control_plane.create_service_account(namespace, "worker")
    name, groups = who(control_plane.service_account(namespace, "worker"))
    assert name == f"system:serviceaccount:{namespace}:worker"
    assert f"system:serviceaccounts:{namespace}" in groups


def test_nobody(admin: Client) -> None:
    with pytest.raises(ApiError) as refusal:
        admin.anonymous().get("/api/v1/namespaces")
    assert refusal.value.status == 403


def test_kubeconfigs_of_others(control_plane: ControlPlane, namespace: str) -> None:
    token = control_plane.token(namespace, "default")
    files = {
        f"system:serviceaccount:{namespace}:default": control_plane.kubeconfig_for("default", token=token),
        "alice": control_plane.kubeconfig_for("alice", user="alice", groups=("team-one",)),
    }
    for name, file in files.items():
        shown = control_plane.kubectl("--kubeconfig", str(file), "auth", "whoami", "-o", "jsonpath={.status.userInfo}")
        assert f'"username":"{name}"' in shown


def test_controllers_collect_garbage(controllers: ControlPlane, namespace: str) -> None:
    client = controllers.client
    search = client.create(path("Search", namespace), minimal("Search"))
    owner = {"apiVersion": API_VERSION, "kind": "Search", "name": "one", "uid": search["metadata"]["uid"]}
    child = merged(minimal("Candidate"), {"metadata": {"ownerReferences": [owner]}})
    client.create(path("Candidate", namespace), child)
    client.delete(path("Search", namespace, "one"))
    limit = time.monotonic() + 60
    while client.get(path("Candidate", namespace))["items"]:
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ASSETS_VARIABLE, raising=False)
    with pytest.raises(MissingError, match="KUBEBUILDER_ASSETS is not set"):
        find()
    monkeypatch.setenv(ASSETS_VARIABLE, str(tmp_path))
    (tmp_path / "etcd").touch(mode=0o755)
    with pytest.raises(MissingError, match=r"^kube-apiserver, kubectl: not in "):
        find()


@pytest.mark.slow
def test_a_killed_test_process_leaves_nothing(control_plane: ControlPlane, tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from tests.kube.cluster import ControlPlane\n"
        "plane = ControlPlane(Path(sys.argv[1]))\n"
        "plane.start()\n"
        "print(plane.processes.names(), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    state = tmp_path / "state"
    environment = os.environ | {ASSETS_VARIABLE: str(control_plane.assets.folder)}
    done = subprocess.run(
        [sys.executable, "-c", script, str(state)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "['etcd', 'kube-apiserver']\n", done.stderr
    limit = time.monotonic() + 30
    while found := [pid for pid, words in _commands() if str(state) in words]:
        assert time.monotonic() < limit, found
        time.sleep(0.1)
    assert sorted(path.name for path in state.iterdir()) == ["log", "run"]


def _commands() -> list[tuple[str, str]]:
    """Process ids and command lines of everything that runs."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append((file.parent.name, file.read_bytes().replace(b"\0", b" ").decode(errors="replace")))
        except OSError:  # it has ended
            continue
    return found

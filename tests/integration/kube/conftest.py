"""A control plane with the project's CRDs, one for all tests of this folder, and a namespace of its own for each.

Tests that run pods are marked ``e2e`` and share a second control plane, which has a node: ``pytest -m e2e``.

The tests form one group for pytest-xdist, so that (with ``--dist loadgroup``) one worker starts the control plane and
the others none.  Where Kubernetes is not there the tests are skipped with a reason; with ``POISE_REQUIRE_KUBE=1`` they
fail.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kube import node as nodes
from tests.kube.assets import MissingError, find, unavailable
from tests.kube.client import Client
from tests.kube.cluster import ControlPlane
from tests.kube.crds import install, load_crds
from tests.kube.images import BUSYBOX, busybox_archive
from tests.kube.node import Node

_names = itertools.count()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.xdist_group("kube"))


@pytest.fixture(scope="session")
def crds() -> dict[str, dict[str, Any]]:
    """The CRDs of ``crds/`` by kind."""
    return load_crds()


@pytest.fixture(scope="session")
def control_plane(tmp_path_factory: pytest.TempPathFactory, crds: dict[str, dict[str, Any]]) -> Iterator[ControlPlane]:
    """etcd and an API server that knows the project's kinds; its logs are in pytest's temporary folder."""
    try:
        assets = find()
    except MissingError as reason:
        unavailable(reason)
    with ControlPlane(tmp_path_factory.mktemp("kube") / "state", assets=assets) as plane:
        install(plane.client, *crds.values())
        yield plane


@pytest.fixture(scope="session")
def controllers(control_plane: ControlPlane) -> ControlPlane:
    """The same control plane, with Kubernetes' controllers and scheduler from now on."""
    try:
        control_plane.start_controllers()
    except MissingError as reason:
        unavailable(reason)
    return control_plane


@pytest.fixture(scope="session")
def admin(control_plane: ControlPlane) -> Client:
    """A client that may do everything."""
    return control_plane.client


@pytest.fixture
def namespace(control_plane: ControlPlane) -> str:
    """A fresh namespace; it goes with the control plane."""
    return control_plane.create_namespace(f"test-{next(_names)}")


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, crds: dict[str, dict[str, Any]]) -> Iterator[Node]:
    """A node, with a control plane of its own (``node.plane``) that has controllers and the project's kinds."""
    folder = tmp_path_factory.mktemp("node")
    try:
        assets = nodes.require()
        image = busybox_archive(folder / "busybox.tar")
    except MissingError as reason:
        unavailable(reason)
    with ControlPlane(folder / "state", controllers=True, reachable=True, assets=assets) as plane, Node(plane) as node:
        install(plane.client, *crds.values())
        assert BUSYBOX in node.load(image)
        yield node


@pytest.fixture
def node_namespace(node: Node) -> Iterator[str]:
    """A fresh namespace on the control plane of the node; its pods end with the test."""
    name = node.plane.create_namespace(f"test-{next(_names)}")
    yield name
    node.plane.client.delete(f"/api/v1/namespaces/{name}")

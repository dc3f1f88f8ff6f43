"""A cluster whose node runs real pods, the project's images in it, and the chart installed.  One for all tests."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.world import TINY, Cluster, run_here, small
from tests.kube import chart
from tests.kube import node as nodes
from tests.kube.assets import MissingError, unavailable
from tests.kube.cluster import ControlPlane
from tests.kube.node import Node
from tests.kube.project_images import VALUES, build_images

_names = itertools.count()
SETTINGS: dict[str, Any] = {**VALUES, "artifacts": {"storageClass": ""}, "controller": {"logLevel": "debug"}}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The images' archives; POISE_IMAGES names a folder where they are kept from one run to the next."""
    try:
        return build_images(images_folder(tmp_path_factory))
    except MissingError as reason:
        unavailable(reason)


def images_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where archives of images are kept."""
    kept = os.environ.get("POISE_IMAGES")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("images")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory, images: list[Path]) -> Iterator[Cluster]:
    """The cluster, with the operator at work."""
    folder = tmp_path_factory.mktemp("cluster")
    try:
        assets = nodes.require()
    except MissingError as reason:
        unavailable(reason)
    with ControlPlane(folder / "state", controllers=True, reachable=True, assets=assets) as plane, Node(plane) as node:
        for image in images:
            node.load(image)
        chart.install(plane, SETTINGS)
        yield Cluster(plane, node, folder, SETTINGS)


@pytest.fixture
def team(cluster: Cluster) -> str:
    """A namespace with a volume for its artifacts."""
    return cluster.namespace(f"team-{next(_names)}")


@pytest.fixture(scope="session")
def tiny_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the archive of the tiny search, run on this machine and disturbed by nobody."""
    return digest(run_here(tmp_path_factory.mktemp("tiny"), TINY))


@pytest.fixture(scope="session")
def small_digest(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same of the small one."""
    return digest(run_here(tmp_path_factory.mktemp("small"), small()))


def digest(search: dict[str, Any]) -> str:
    """Of the archive of a search that has found something."""
    found: str = search["status"]["digest"]
    assert found.startswith("sha256:")
    return found

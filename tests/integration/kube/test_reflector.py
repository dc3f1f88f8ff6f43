"""Reflectors against a real API server: pages, changes, and a connection that is cut."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from kubernetes.aio import client, config

from controller import reflector
from controller.api import Api, Document
from controller.reflector import Reflector
from controller.watched import Watched
from tests.integration.kube.documents import merged, minimal, path
from tests.kube.client import Client
from tests.kube.cluster import ControlPlane

KEPT = 7


def names(world: Watched, namespace: str) -> set[str]:
    return set(world.kept["Candidate"].get((namespace, "one"), ()))


async def until(look: Callable[[], bool]) -> None:
    """Give the reflector its turn until it has seen something; the test's own limit is the bound."""
    async with asyncio.timeout(60):
        while not look():
            await asyncio.sleep(0.02)


@pytest.fixture
def api_settings(control_plane: ControlPlane, tmp_path: Path) -> client.Configuration:
    settings = client.Configuration()
    asyncio.run(config.load_kube_config(str(control_plane.kubeconfig), client_configuration=settings))
    return settings


def test_everything_is_seen_in_pages_then_as_it_happens_also_after_a_cut(
    control_plane: ControlPlane,
    admin: Client,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    api_settings: client.Configuration,
) -> None:
    monkeypatch.setattr(reflector, "PAGE", 3)
    made = [f"one-{number:03d}-0" for number in range(KEPT)]
    for name in made:
        admin.create(path("Candidate", namespace), minimal("Candidate", name))

    async def follow() -> None:
        woken: list[tuple[str, str]] = []
        gone: list[str] = []
        world = Watched(woken.append, lambda _, body: gone.append(body["metadata"]["name"]))
        api = Api(client.ApiClient(api_settings))
        one = Reflector(api, "Candidate", namespace, world)
        running = asyncio.create_task(one.run())
        try:
            await one.filled.wait()
            assert names(world, namespace) == set(made)
            assert api.calls["list", "poise.dev", "candidates"] == 3, "seven in pages of three"
            await until(lambda: api.calls["watch", "poise.dev", "candidates"] == 1)

            admin.create(path("Candidate", namespace), minimal("Candidate", "one-100-0"))
            await until(lambda: "one-100-0" in names(world, namespace))
            status = {"status": {"phase": "Archived", "message": "x" * 1500}}
            body: Document = admin.get(path("Candidate", namespace, made[0]))
            admin.replace(path("Candidate", namespace, made[0], "status"), merged(body, status))
            await until(lambda: _message(world, namespace, made[0]) == "x" * 1500)
            admin.delete(path("Candidate", namespace, made[1]))
            await until(lambda: made[1] not in names(world, namespace))
            assert gone == [made[1]]

            running.cancel()  # the connection is cut, and what happens meanwhile is told afterwards
            await asyncio.gather(running, return_exceptions=True)
            admin.delete(path("Candidate", namespace, made[2]))
            running = asyncio.create_task(one.run())
            await until(lambda: made[2] not in names(world, namespace))
            assert api.calls["list", "poise.dev", "candidates"] == 3, "it goes on where it was"

            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            admin.delete(path("Candidate", namespace, made[3]))
            one.version = ""  # what it was told is not to be had any more
            running = asyncio.create_task(one.run())
            await until(lambda: gone == made[1:4])
            assert names(world, namespace) == {made[0], *made[4:], "one-100-0"}
            assert set(woken) == {(namespace, "one")}
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await api.close()

    asyncio.run(follow())


def _message(world: Watched, namespace: str, name: str) -> str:
    found = {item.metadata.name: item for item in world.candidates((namespace, "one"))}
    status = found[name].status
    return status.message if status.message is not None else ""

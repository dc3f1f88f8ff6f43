"""One holder at a time, by the clock of whoever wants the lease."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller import lease as module
from controller.api import ApiError
from controller.lease import DURATION, Lease, LeaseLost
from tests.unit.controller.double import FakeApi, Server

WHERE = ("leases", "sys", "poise")


class Clock:
    """Time passes by hand, through sleeps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, work: Any) -> Any:
        async def timed() -> Any:
            asyncio.get_running_loop().time = lambda: self.now  # type: ignore[method-assign]
            return await work

        return asyncio.run(timed())


class Patient(FakeApi):
    """The double, without its own sleep, which is the clock's here."""

    async def _call(
        self, verb: str, method: str, resource: Any, path: str, body: Any, *rest: Any, **more: Any
    ) -> bytes:
        now = self.clock.now
        try:
            return await super()._call(verb, method, resource, path, body, *rest, **more)
        finally:
            self.clock.now = now

    clock: Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def wants(server: Server, clock: Clock, name: str) -> Lease:
    api = Patient(server)
    api.clock = clock
    return Lease(api, "sys", "poise", name)


def holder(server: Server) -> str:
    return str(server.objects[WHERE]["spec"]["holderIdentity"])


def test_the_first_takes_it_renews_it_and_gives_it_back(clock: Clock) -> None:
    server = Server()
    first = wants(server, clock, "a")
    clock.run(first.acquire())
    assert holder(server) == "a"
    taken = server.objects[WHERE]["spec"]["acquireTime"]
    assert clock.run(first._take())
    assert server.objects[WHERE]["spec"]["acquireTime"] == taken
    clock.run(first.release())
    start = clock.now
    clock.run(wants(server, clock, "b").acquire())
    assert holder(server) == "b"
    assert clock.now == start


@pytest.mark.parametrize("skew", [-3600.0, 0.0, 3600.0])
def test_another_takes_it_only_after_it_was_not_renewed_for_as_long_as_it_lasts(clock: Clock, skew: float) -> None:
    server = Server()
    clock.run(wants(server, clock, "a").acquire())
    renewed = (datetime.now(UTC) + timedelta(seconds=skew)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    server.objects[WHERE]["spec"]["renewTime"] = renewed
    start = clock.now
    clock.run(wants(server, clock, "b").acquire())
    assert holder(server) == "b"
    assert DURATION < clock.now - start <= DURATION + 2 * module.RETRY_EVERY


def test_a_holder_that_renews_is_never_robbed_however_wrong_its_clock(clock: Clock) -> None:
    server = Server()
    clock.run(wants(server, clock, "a").acquire())
    second = wants(server, clock, "b")
    for minute in range(40):
        server.objects[WHERE]["spec"]["renewTime"] = f"2001-01-01T00:{minute:02d}:00.000000Z"
        clock.now += module.RENEW_EVERY
        assert not clock.run(second._take())
    assert holder(server) == "a"


def test_two_that_take_it_at_once_are_told_apart_by_the_server(clock: Clock) -> None:
    server = Server()
    second = wants(server, clock, "b")

    def first_is_faster(method: str, path: str) -> None:
        if method == "POST":
            second.api.before = lambda method, path: None  # type: ignore[attr-defined]
            server.create("leases", "sys", {"metadata": {"name": "poise"}, "spec": {"holderIdentity": "a"}})

    second.api.before = first_is_faster  # type: ignore[attr-defined]
    assert not clock.run(second._take())
    assert holder(server) == "a"


def test_whoever_has_lost_it_stops(clock: Clock) -> None:
    server = Server()
    first = wants(server, clock, "a")
    clock.run(first.acquire())
    server.objects[WHERE]["spec"]["holderIdentity"] = "b"
    with pytest.raises(LeaseLost, match="held by another"):
        clock.run(first.keep())


def test_an_api_server_that_refuses_for_too_long_ends_it(clock: Clock) -> None:
    server = Server()
    first = wants(server, clock, "a")
    clock.run(first.acquire())

    def away(method: str, path: str) -> None:
        raise ApiError(500, "InternalError", "etcd is away")

    first.api.before = away  # type: ignore[attr-defined]
    start = clock.now
    with pytest.raises(LeaseLost, match="not renewed"):
        clock.run(first.keep())
    assert DURATION < clock.now - start <= DURATION + module.RENEW_EVERY


def test_waiting_outlives_an_api_server_that_is_away(clock: Clock) -> None:
    server, failures = Server(), 0
    first = wants(server, clock, "a")

    def away(method: str, path: str) -> None:
        nonlocal failures
        failures += 1
        if failures <= 3:
            raise [ConnectionError("refused"), ApiError(500, "", ""), TimeoutError()][failures - 1]

    first.api.before = away  # type: ignore[attr-defined]
    clock.run(first.acquire())
    assert holder(server) == "a"

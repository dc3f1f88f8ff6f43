"""Settings, audits, Events and metrics."""

from __future__ import annotations

import asyncio
import itertools
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import generate_latest

from controller import health as audits
from controller.api import ApiError, Document, Resource, Version
from controller.cache import Broken
from controller.events import Happening, document, happenings, publish, unreadable
from controller.health import Health, audit
from controller.metrics import Metrics
from controller.settings import Settings
from poise_lib.archive.objective import objective_status
from poise_lib.errors import InvalidInputError
from poise_lib.resources import Search
from poise_lib.resources.gpu import GPULedger
from poise_lib.resources.llm import Ledger
from poise_lib.resources.search import SearchPhase
from tests.unit.controller.double import FakeApi, Server
from tests.unit.search.world import make_search

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_settings_are_read_from_the_environment() -> None:
    found = Settings.from_environment(
        {
            "POISE_WORKER_IMAGE": "w",
            "POISE_NAMESPACES": "a, b,",
            "POISE_JOB_TTL_SECONDS": "5",
            "POISE_PULL_POLICY": "Never",
        }
    )
    assert (found.worker_image, found.namespaces, found.job_ttl_seconds) == ("w", ("a", "b"), 5)
    assert found.artifacts.storage_class is None
    assert Settings.from_environment({"POISE_WORKER_IMAGE": "w"}) == Settings(worker_image="w")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POISE_WORKER_IMAGE", None),
        ("POISE_PULL_POLICY", "Sometimes"),
        ("POISE_ARTIFACTS_ACCESS_MODE", "ReadOnlyMany"),
        ("POISE_LOG_LEVEL", "loud"),
        ("POISE_HEALTH_PORT", "http"),
        ("POISE_JOB_TTL_SECONDS", "-1"),
        ("POISE_POD_TEMPLATE", '{"hostNetwork": true}'),
        ("POISE_ARTIFACTS_URL", "gs://bucket"),
        ("POISE_ARTIFACTS_URL", "s3://key:secret@bucket"),
        ("POISE_ARTIFACTS_SECRET", "of-no-store"),
    ],
)
def test_a_wrong_setting_is_named(variable: str, value: str | None) -> None:
    environment = {"POISE_WORKER_IMAGE": "w", variable: value}
    with pytest.raises(InvalidInputError, match=variable):
        Settings.from_environment({name: text for name, text in environment.items() if text is not None})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("POISE_ARTIFACTS_CLAIM", "poise-artifacts"),
        ("POISE_ARTIFACTS_STORAGE_CLASS", "fast"),
        ("POISE_ARTIFACTS_ENDPOINT", "minio:9000"),
        ("POISE_ARTIFACTS_SECRET", "../other"),
        ("POISE_ARTIFACTS_EGRESS", "{}"),
        ("POISE_ARTIFACTS_EGRESS", "anywhere"),
    ],
)
def test_an_object_store_is_asked_for_alone_and_in_full(variable: str, value: str) -> None:
    plain = {"POISE_WORKER_IMAGE": "w", "POISE_ARTIFACTS_URL": "s3://bucket/prefix/"}
    store = Settings.from_environment(plain).artifacts.store
    assert store is not None
    assert (store.of("team-a"), store.port) == ("s3://bucket/prefix/team-a", 443)
    with pytest.raises(InvalidInputError, match=variable):
        Settings.from_environment({**plain, variable: value})


def test_a_watch_is_dead_when_it_is_behind_twice_without_having_moved() -> None:
    health = Health(leading=True)
    health.compare({"a": 5, "b": 1}, {"a": 5, "b": 1})
    assert health.alive
    health.compare({"a": 9}, {"a": 5})
    assert health.alive
    health.compare({"a": 12}, {"a": 9})
    assert health.alive, "late, but it has moved"
    health.compare({"a": 12}, {"a": 9})
    assert not health.alive
    assert health.behind == "a"
    health.compare({"a": 12}, {"a": 12})
    assert health.alive


def test_a_watch_that_missed_a_creation_or_a_deletion_is_dead() -> None:
    for served, watched in (({"a": 1, "b": 2}, {"a": 1}), ({"a": 1}, {"a": 1, "b": 2})):
        health = Health(leading=True)
        health.compare(served, watched)
        assert health.alive
        health.compare(served, watched)
        assert health.behind == "b"
    health = Health(leading=True)
    for _ in range(3):
        health.compare({"going": 0}, {"going": 7})
    assert health.alive, "what is being deleted may be as old as it likes"


def test_a_heartbeat_that_stops_is_noticed_and_waiting_for_the_lease_is_no_death() -> None:
    health = Health(leading=True)
    health.heartbeat -= 1000
    assert not health.alive
    health.leading = False
    assert health.alive


@pytest.mark.parametrize(
    ("shut", "left_out", "behind"),
    [((), (), ""), (("b",), (), "namespace b"), ((), ("c",), "namespace c"), (("c",), ("c",), "")],
)
def test_rights_that_come_or_go_are_for_the_next_process(
    monkeypatch: pytest.MonkeyPatch, shut: tuple[str, ...], left_out: tuple[str, ...], behind: str
) -> None:
    class Partly(FakeApi):
        async def items(self, resource: Resource, namespace: str, **query: str) -> list[Document]:
            if namespace in shut:
                raise ApiError(403, "Forbidden", "no rights")
            return []

        async def versions(self, resource: Resource, namespace: str, **query: str) -> list[Version]:
            assert namespace not in shut, "there are no rights in it"
            return []

    async def one_round(health: Health) -> None:
        monkeypatch.setattr(audits, "AUDIT_EVERY", 0.0)
        auditing = asyncio.create_task(audit(Partly(Server()), health, dict, ("a", "b"), set(left_out)))
        for _ in range(50):
            await asyncio.sleep(0)
        auditing.cancel()

    health = Health(leading=True)
    asyncio.run(one_round(health))
    assert health.behind == behind
    assert health.alive is not bool(behind)


def observed(**status: Any) -> Search:
    search = make_search()
    metadata = search.metadata.model_copy(update={"uid": "u"})
    return search.model_copy(update={"metadata": metadata, "status": search.status.model_copy(update=status)})


def test_the_same_happening_has_one_name_and_another_another() -> None:
    search = observed()
    first, again = Happening(search, "Complete", "done"), Happening(search, "Complete", "done")
    later = datetime(2027, 1, 1, tzinfo=UTC)
    assert document(first, NOW)["metadata"] == document(again, later)["metadata"]
    others = [Happening(search, "Failed", "done"), Happening(search, "Complete", "done at last")]
    assert len({document(item, NOW)["metadata"]["name"] for item in (first, *others)}) == 3
    assert len(document(Happening(search, "x", "m" * 5000), NOW)["message"]) == 1000


def test_a_change_of_phase_is_told_and_none_is_not() -> None:
    before, after = observed(), observed(phase=SearchPhase.FAILED, message="the baseline could not be evaluated")
    (told,) = happenings(before, after, after)
    assert (told.reason, told.warning) == ("Failed", True)
    assert list(happenings(after, after, after)) == []


def test_an_event_is_posted_once_and_never_worth_a_failure() -> None:
    server = Server()
    api = FakeApi(server)
    happening = unreadable(Broken("Candidate", "default", "a.b", "u", "1", "metadata.name: no"))
    for _ in range(2):
        asyncio.run(publish(api, happening))
    (event,) = server.objects.values()
    assert event["involvedObject"]["name"] == "a.b"
    assert event["type"] == "Warning"
    problems: list[Exception] = [ApiError(403, "Forbidden", ""), ApiError(500, "InternalError", ""), TimeoutError()]

    def fail(method: str, path: str) -> None:
        raise problems.pop()

    api.before = fail
    while problems:
        asyncio.run(publish(api, Happening(observed(), "r", "m")))


def test_metrics_show_searches_and_forget_them_and_count_requests_once() -> None:
    metrics = Metrics()
    metrics.show([observed()])
    text = generate_latest(metrics.registry).decode()
    assert 'poise_searches{phase="Pending"} 1.0' in text
    assert 'poise_search_candidates_ratio{namespace="default",search="s"} 0.0' in text
    metrics.forget("default", "s")
    metrics.forget("default", "never shown")
    assert 'search="s"' not in generate_latest(metrics.registry).decode()
    for count in (3, 5, 5):
        metrics.count_requests({("get", "", "pods"): count})
    assert 'poise_api_requests_total{resource="pods",verb="get"} 5.0' in generate_latest(metrics.registry).decode()


def test_metrics_show_what_a_language_model_has_cost() -> None:
    metrics = Metrics()
    spent = Ledger(calls=3, prompt_tokens=900, completion_tokens=100, cost_usd=0.25)
    metrics.show([observed(ledger=spent)])
    text = generate_latest(metrics.registry).decode()
    assert 'poise_search_llm_calls{namespace="default",search="s"} 3.0' in text
    assert 'poise_search_llm_tokens{direction="in",namespace="default",search="s"} 900.0' in text
    assert 'poise_search_llm_tokens{direction="out",namespace="default",search="s"} 100.0' in text
    assert 'poise_search_llm_cost_usd{namespace="default",search="s"} 0.25' in text
    metrics.forget("default", "s")
    assert 'search="s"' not in generate_latest(metrics.registry).decode()


def test_metrics_show_what_gpus_have_cost() -> None:
    metrics = Metrics()
    metrics.show([observed(gpus=GPULedger(spent_seconds=5400.0, reserved_seconds=3600.0))])
    assert 'poise_search_gpu_hours{namespace="default",search="s"} 1.5' in generate_latest(metrics.registry).decode()
    metrics.forget("default", "s")
    assert 'search="s"' not in generate_latest(metrics.registry).decode()


def test_how_a_directive_is_read_is_told_once_and_again_when_it_is_known_in_numbers() -> None:
    search = Search.model_validate(
        {"metadata": {"name": "s"}, "spec": {"budget": {"candidates": 2}, "directive": "Keep accuracy."}}
    )
    steps = [search]
    for baseline in ({}, {}, {"overall": 50.0}):
        status = steps[-1].status.model_copy(update={"objective": objective_status(steps[-1], baseline)})
        steps.append(steps[-1].model_copy(update={"status": status}))
    told = [[item.message for item in happenings(*pair, search)] for pair in itertools.pairwise(steps)]
    assert [len(step) for step in told] == [1, 0, 1]
    assert "at least 49.0" in told[2][0]

"""The client: paths, pages, bounds, and errors as its callers can tell them apart."""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from controller.api import CANDIDATES, JOBS, MAX_LOG_BYTES, PODS, SEARCHES, Api, ApiError, Version


class Client:
    """A double of the HTTP client: answers in turn, or raises."""

    def __init__(self, *answers: tuple[int, Any] | BaseException) -> None:
        self.configuration = self
        self.host = "https://server"
        self.answers = list(answers)
        self.asked: list[str] = []

    async def update_params_for_auth(self, *_: Any) -> None:
        """No credentials."""

    async def call_api(self, method: str, url: str, *_: Any, **__: Any) -> Any:
        self.asked.append(f"{method} {url.removeprefix(self.host)}")
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        self.status, self.content = answer
        return self

    async def read(self) -> bytes:
        return self.content if isinstance(self.content, bytes) else json.dumps(self.content).encode()


def api(*answers: tuple[int, Any] | BaseException) -> tuple[Api, Client]:
    client = Client(*answers)
    return Api(cast(Any, client)), client


@pytest.mark.parametrize(
    "error",
    [aiohttp.ServerDisconnectedError(), aiohttp.ClientPayloadError("cut"), TimeoutError(), ConnectionResetError()],
)
def test_a_server_that_cannot_be_reached_is_one_kind_of_error(error: Exception) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - what each of them says is its own
        asyncio.run(api(error)[0].get(JOBS, "n", "j"))


@pytest.mark.parametrize(
    ("status", "flag"), [(404, "missing"), (409, "conflict"), (403, "refused"), (422, "refused"), (429, ""), (503, "")]
)
def test_a_refusal_says_what_kind_it_is(status: int, flag: str) -> None:
    body = json.dumps({"reason": "Because", "message": "no"})
    for answer in ((status, body.encode()), _exception(status, body)):
        with pytest.raises(ApiError, match="no") as caught:
            asyncio.run(api(answer)[0].get(JOBS, "n", "j"))
        assert caught.value.reason == "Because"
        assert [name for name in ("missing", "conflict", "refused") if getattr(caught.value, name)] == [flag] * bool(
            flag
        )


def _exception(status: int, body: str) -> ApiException:
    error = ApiException(status=status, reason="x")
    error.body = body
    return error


def test_a_proxy_that_answers_with_a_page_is_an_error_too() -> None:
    with pytest.raises(ApiError, match="gateway"):
        asyncio.run(api((502, b"<h1>bad gateway</h1>"))[0].get(JOBS, "n", "j"))


def test_versions_come_in_pages_with_who_controls_them_and_what_is_being_deleted_has_none() -> None:
    def item(name: str, version: str, **more: Any) -> dict[str, Any]:
        return {"metadata": {"namespace": "n", "name": name, "resourceVersion": version, **more}}

    owners = [{"uid": "one of them"}, {"uid": "the one", "controller": True}]
    first = {
        "metadata": {"resourceVersion": "9", "continue": "more"},
        "items": [item("a", "3", ownerReferences=owners)],
    }
    last = {"metadata": {"resourceVersion": "9"}, "items": [item("b", "5", deletionTimestamp="2026-01-01T00:00:00Z")]}
    found, client = api((200, first), (200, last))
    assert asyncio.run(found.versions(JOBS, "", labelSelector="a=b")) == [
        Version("n", "a", 3, "the one"),
        Version("n", "b", 0),
    ]
    assert client.asked[0] == "GET /apis/batch/v1/jobs?limit=500&labelSelector=a%3Db"
    assert client.asked[1].endswith("&continue=more")
    assert found.calls == {("list", "batch", "jobs"): 2}


def test_an_empty_list_of_metadata_is_null() -> None:
    nothing = {"metadata": {"resourceVersion": "9"}, "items": None}
    some, _ = api((200, nothing), (200, nothing))
    assert asyncio.run(some.versions(JOBS, "n")) == []
    assert asyncio.run(some.items(JOBS, "n")) == []


def test_deleting_what_is_gone_is_no_error() -> None:
    asyncio.run(api((404, {"reason": "NotFound"}))[0].delete(JOBS, "n", "j"))
    with pytest.raises(ApiError):
        asyncio.run(api((403, {"reason": "Forbidden"}))[0].delete(JOBS, "n", "j"))


def test_paths_and_a_bound_on_logs() -> None:
    found, client = api((200, b"text \xff"), (200, {}), (200, {}))
    assert asyncio.run(found.log("n", "p", "task")) == "text \ufffd"
    asyncio.run(found.replace_status(SEARCHES, "n", {"metadata": {"name": "s"}}))
    asyncio.run(found.patch(CANDIDATES, "n", "c", {}))
    assert client.asked == [
        f"GET /api/v1/namespaces/n/pods/p/log?container=task&limitBytes={MAX_LOG_BYTES}",
        "PUT /apis/poise.dev/v1alpha1/namespaces/n/searches/s/status",
        "PATCH /apis/poise.dev/v1alpha1/namespaces/n/candidates/c",
    ]
    assert found.calls["get", "", "pods/log"] == 1
    assert PODS.path("") == "/api/v1/pods"

"""A reflector goes on where it was, lists again when the server has forgotten, and asks less often while it is refused.

The API here is a script; tests/integration/kube/test_reflector.py has a real one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from controller.api import Api, ApiError, Document, Page
from controller.reflector import BACKOFF_MOST, Reflector, Where


class Ended(Exception):
    """The script is over."""


def body(name: str, version: int) -> Document:
    return {"kind": "Candidate", "metadata": {"namespace": "n", "name": name, "resourceVersion": str(version)}}


class Script:
    """Plays one answer after the other: a list of pages, a list of events, or an exception."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def next(self, what: str) -> Any:
        self.asked.append(what)
        if not self.answers:
            raise Ended
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def pages(self, *_: Any, **query: str) -> AsyncIterator[Page]:
        for page in self.next("list"):
            if isinstance(page, Exception):
                raise page
            yield page

    async def watch(
        self, resource: Any, namespace: str, version: str, seconds: int, **query: str
    ) -> AsyncIterator[Document]:
        for event in self.next(f"watch {version}"):
            if isinstance(event, Exception):
                raise event
            yield event


class Seen:
    """A sink that writes down."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def take(self, body: Document) -> None:
        self.told.append(("take", body["metadata"]["name"]))

    def drop(self, body: Document) -> None:
        self.told.append(("drop", body["metadata"]["name"]))

    def keep(self, kind: str, namespace: str, there: set[Where]) -> None:
        self.told.append(("keep", *sorted(name for _, name in there)))


def play(*answers: Any) -> tuple[Script, list[Any], list[float], Reflector]:
    script, seen, waits = Script(*answers), Seen(), []

    async def wait(seconds: float) -> None:
        waits.append(seconds)

    reflector = Reflector(cast(Api, script), "Candidate", "", seen, wait=wait)
    with pytest.raises(Ended):
        asyncio.run(reflector.run())
    return script, seen.told, waits, reflector


def event(kind: str, name: str, version: int) -> Document:
    return {"type": kind, "object": body(name, version)}


def test_it_lists_then_watches_and_goes_on_where_it_was() -> None:
    pages = [Page([body("a", 1)], "5"), Page([body("b", 2)], "5")]
    events = [event("ADDED", "c", 6), event("MODIFIED", "a", 7), event("DELETED", "b", 8), event("BOOKMARK", "", 9)]
    script, told, waits, reflector = play(pages, events, [])
    assert script.asked == ["list", "watch 5", "watch 9", "watch 9"]
    assert told == [("take", "a"), ("take", "b"), ("keep", "a", "b"), ("take", "c"), ("take", "a"), ("drop", "b")]
    assert waits == []
    assert reflector.filled.is_set()


@pytest.mark.parametrize(
    "forgotten",
    [ApiError(410, "Expired", "too old"), [{"type": "ERROR", "object": {"code": 410, "reason": "Expired"}}]],
    ids=["refused", "event"],
)
def test_what_the_server_has_forgotten_is_listed_again(forgotten: Any) -> None:
    script, told, waits, _ = play([Page([body("a", 1)], "5")], forgotten, [Page([body("b", 8)], "9")], [])
    assert script.asked == ["list", "watch 5", "list", "watch 9", "watch 9"]
    assert told == [("take", "a"), ("keep", "a"), ("take", "b"), ("keep", "b")]
    assert waits == []


def test_a_list_that_breaks_off_says_nothing_of_what_is_missing() -> None:
    broken = [Page([body("a", 1)], "5"), ApiError(410, "Expired", "the continue token is too old")]
    script, told, _, reflector = play(broken, ConnectionError("away"), [Page([], "9")])
    assert script.asked == ["list", "list", "list", "watch 9"]
    assert told == [("take", "a"), ("keep",)]
    assert reflector.filled.is_set()


def test_it_is_not_filled_before_it_has_listed() -> None:
    *_, reflector = play(ConnectionError("away"))
    assert not reflector.filled.is_set()


def test_a_connection_that_breaks_goes_on_after_the_last_event() -> None:
    script, told, waits, _ = play([Page([], "5")], [event("ADDED", "a", 6), ConnectionError("cut")], [])
    assert script.asked == ["list", "watch 5", "watch 6", "watch 6"]
    assert told == [("keep",), ("take", "a")]
    assert len(waits) == 1


def test_it_asks_less_and_less_often_and_more_again_after_a_success() -> None:
    refused = ApiError(403, "Forbidden", "no")
    _, _, waits, _ = play(*[refused] * 3, *[TimeoutError()] * 6, [Page([], "5")], [], refused)
    assert waits == [0.5, 1, 2, 4, 8, 16, BACKOFF_MOST, BACKOFF_MOST, BACKOFF_MOST, 0.5]

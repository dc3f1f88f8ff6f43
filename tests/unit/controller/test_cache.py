"""The overlay of own writes over late watches: for any interleaving, the newest of what exists is seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.cache import GONE_KEPT, Broken, Overlay, key_of, parse
from poise_lib.resources import Candidate

KEY = ("default", "s")


def item(name: str, uid: int, version: int) -> Broken:
    return Broken("Candidate", "default", name, f"uid-{uid}", str(version), "")


@given(data=st.data())
def test_the_newest_of_what_exists_is_seen_whatever_order_news_come_in(data: st.DataObject) -> None:
    """One writer (us), users who delete and create, a watch that lags: the overlay never shows what is older."""
    overlay, uid = Overlay(), 0
    server: dict[str, Broken] = {}
    watched: dict[str, Broken] = {}
    news: list[tuple[str, Broken]] = []
    late: list[Broken] = []

    def change(name: str, event: str, new: Broken) -> None:
        news.append((event, new))
        if event == "DELETED":
            del server[name]
        else:
            server[name] = new

    for version in range(1, data.draw(st.integers(2, 30))):
        name = data.draw(st.sampled_from("ab"))
        match data.draw(
            st.sampled_from(["create", "write", "delete", "user deletes", "user writes", "watch", "answer"])
        ):
            case "create" if name not in server:
                uid += 1
                change(name, "ADDED", item(name, uid, version))
                late.append(server[name])
            case "write" if name in server:
                change(name, "MODIFIED", item(name, int(server[name].uid[4:]), version))
                late.append(server[name])
            case "user writes" if name in server:
                change(name, "MODIFIED", item(name, int(server[name].uid[4:]), version))
            case "delete" if name in server and not late:
                overlay.drop(KEY, server[name])
                change(name, "DELETED", server[name])
            case "user deletes" if name in server:
                change(name, "DELETED", server[name])
            case "answer":
                for answer in late:
                    overlay.put(KEY, answer)
                late.clear()
            case "watch" if news:
                event, told = news.pop(0)
                if event == "DELETED":
                    watched.pop(told.name, None)
                    overlay.forget(KEY, told.name, told.uid)
                else:
                    watched[told.name] = told
        for name, shown in overlay.over(KEY, watched.values()).items():
            assert name not in watched or int(shown.resource_version) >= int(watched[name].resource_version)
    for answer in late:
        overlay.put(KEY, answer)
    for event, told in news:
        if event == "DELETED":
            watched.pop(told.name, None)
            overlay.forget(KEY, told.name, told.uid)
        else:
            watched[told.name] = told
    assert overlay.over(KEY, watched.values()) == server
    assert not overlay.written.get(KEY)


def test_own_writes_are_seen_at_once_and_given_up_when_the_watch_has_caught_up() -> None:
    overlay, old, new = Overlay(), item("a", 1, 1), item("a", 1, 2)
    overlay.put(KEY, new)
    assert overlay.over(KEY, [old]) == {"a": new}
    assert overlay.over(KEY, []) == {"a": new}
    assert overlay.over(KEY, [new]) == {"a": new}
    assert not overlay.written[KEY]


def test_own_deletions_are_seen_at_once_but_not_of_an_object_made_anew() -> None:
    overlay, old, new = Overlay(), item("a", 1, 5), item("a", 2, 6)
    overlay.drop(KEY, old)
    assert overlay.over(KEY, [old]) == {}
    assert overlay.over(KEY, [new]) == {"a": new}


def test_an_object_whose_deletion_was_told_before_our_answer_came_does_not_come_back() -> None:
    overlay = Overlay()
    overlay.forget(KEY, "a", "uid-1")
    overlay.put(KEY, item("a", 1, 3))
    overlay.drop(KEY, item("a", 1, 3))
    assert overlay.over(KEY, []) == {}
    assert not overlay.removed


def test_the_end_of_an_object_does_not_forget_the_next_of_its_name() -> None:
    overlay = Overlay()
    overlay.put(KEY, item("a", 2, 9))
    overlay.forget(KEY, "a", "uid-1")
    assert overlay.over(KEY, []) == {"a": item("a", 2, 9)}


def test_memory_of_deletions_is_bounded() -> None:
    overlay = Overlay()
    for number in range(GONE_KEPT + 10):
        overlay.forget(KEY, "a", f"uid-{number}")
    assert len(overlay.gone) == GONE_KEPT
    assert "uid-0" not in overlay.gone


def test_objects_say_what_they_belong_to() -> None:
    metadata = {"name": "c", "namespace": "n", "uid": "u", "resourceVersion": "3"}
    assert key_of({"kind": "Search", "metadata": metadata}) == ("n", "c")
    assert key_of({"kind": "Candidate", "metadata": metadata, "spec": {"search": "s"}}) == ("n", "s")
    assert key_of({"kind": "Job", "metadata": {**metadata, "labels": {"poise.dev/search": "s"}}}) == ("n", "s")
    assert key_of({"kind": "Job", "metadata": metadata}) is None
    proposal = {"title": "t", "hypothesis": "h"}
    body = {"apiVersion": "poise.dev/v1alpha1", "kind": "Candidate", "metadata": {**metadata, "selfLink": "x"}}
    assert isinstance(parse({**body, "spec": {"search": "s", "proposal": proposal}}), Candidate)
    broken = parse({**body, "spec": {"search": "s", "proposal": proposal, "round": -1}})
    assert isinstance(broken, Broken)
    assert (broken.kind, broken.namespace, broken.name, broken.uid) == ("Candidate", "n", "c", "u")
    assert broken.problem.startswith("spec.round: ")

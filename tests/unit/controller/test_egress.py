"""The way to a language model: what an address of it becomes in a NetworkPolicy, and how the policy is kept."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from controller import egress, policies
from controller.api import ApiError
from controller.policies import ModelPolicies, Problem, policy, policy_name
from poise_lib.errors import InvalidInputError
from poise_lib.resources import Search
from poise_lib.resources.llm import LLMSettings
from tests.unit.controller.double import KEY, Controller, FakeApi, Server, started, tiny

WHERE = ("networkpolicies", KEY[0], policy_name(KEY[1]))
SERVICE = "http://vllm.models.svc:8000/v1"


def opened(url: str | None) -> list[dict[str, Any]]:
    return egress.rules(LLMSettings.model_validate({"model": "m", **({"baseURL": url} if url else {})}))


@pytest.mark.parametrize(
    ("url", "cidr", "port"),
    [
        ("http://10.1.2.3:8000/v1", "10.1.2.3/32", 8000),
        ("https://203.0.113.7/v1", "203.0.113.7/32", 443),
        ("http://203.0.113.7", "203.0.113.7/32", 80),
        ("https://[2001:db8::7]:8443/v1", "2001:db8::7/128", 8443),
        ("http://[::ffff:10.1.2.3]:8000/v1", "10.1.2.3/32", 8000),
    ],
)
def test_an_address_is_that_address_and_port_and_no_names(url: str, cidr: str, port: int) -> None:
    assert opened(url) == [{"to": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": port}]}]


@pytest.mark.parametrize(
    "host",
    ["vllm.models.svc", "vllm.models.svc.cluster.local", "VLLM.models.svc.cluster.local.", "vllm-0.vllm.models.svc"],
)
def test_a_service_is_the_pods_of_its_namespace(host: str) -> None:
    names, target = opened(f"http://{host}:8000/v1")
    assert names == egress.NAMES
    [peer] = target["to"]
    assert peer == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "models"}}}
    assert target["ports"] == [{"protocol": "TCP"}], "behind the Service the port is another one"


def test_a_service_of_the_same_namespace() -> None:
    _, target = opened("http://vllm:8000/v1")
    assert target["to"] == [{"podSelector": {}}]


@pytest.mark.parametrize(
    ("url", "port", "private"),
    [
        (None, 443, False),
        ("https://api.openai.com/v1", 443, False),
        ("https://llm.example.com/v1", 443, True),
        ("http://llm.corp.internal:8000/v1", 8000, True),
        ("https://svc.example.com/v1", 443, True),
        ("https://a.svc.example.com/v1", 443, True),
        ("https://0xA9.0xFE.0xA9.0xFE/v1", 443, True),  # an address in disguise
    ],
)
def test_any_other_host_is_its_port_anywhere_but_where_a_nodes_credentials_are(
    url: str | None, port: int, private: bool
) -> None:
    names, target = opened(url)
    assert names == egress.NAMES
    assert target["ports"] == [{"protocol": "TCP", "port": port}]
    blocks = {peer["ipBlock"]["cidr"]: peer["ipBlock"]["except"] for peer in target["to"]}
    assert set(blocks) == {"0.0.0.0/0", "::/0"}
    assert "169.254.0.0/16" in blocks["0.0.0.0/0"]
    assert "fe80::/10" in blocks["::/0"]
    assert {"fc00::/7", "fd00:ec2::/32"} & set(blocks["::/0"])
    assert ("10.0.0.0/8" not in blocks["0.0.0.0/0"]) is private


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/v1", "link-local"),
        ("http://[fe80::1]/v1", "link-local"),
        ("http://[fd00:ec2::254]/v1", "link-local"),
        ("http://[::ffff:169.254.169.254]/v1", "link-local"),
        ("http://127.0.0.1:8000/v1", "is the pod itself"),
        ("http://[::1]:8000/v1", "is the pod itself"),
        ("http://0.0.0.0:8000/v1", "is the pod itself"),
        ("http://localhost:8000/v1", "is the pod itself"),
        ("http://api.localhost/v1", "is the pod itself"),
        ("http://224.0.0.1/v1", "no single host"),
        ("http://:8000/v1", "names no host"),
        ("http://a:99999/v1", "is no address"),
        ("http://[::1/v1", "is no address"),
    ],
)
def test_an_address_that_no_pod_should_ask_is_refused(url: str, why: str) -> None:
    with pytest.raises(InvalidInputError, match=f"^proposer.llm.baseURL: .*{why}"):
        opened(url)


def asking(url: str = SERVICE, uid: str = "uid-1") -> Search:
    metadata = {"name": KEY[1], "namespace": KEY[0], "uid": uid}
    proposer = {"type": "LLM", "llm": {"model": "m", "baseURL": url}}
    return Search.model_validate({"metadata": metadata, "spec": {"budget": {"candidates": 2}, "proposer": proposer}})


def test_a_policy_is_for_the_asking_pods_of_its_search_and_goes_with_it() -> None:
    body = policy(asking())
    assert body is not None
    (owner,) = body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Search", "uid-1")
    assert body["spec"]["policyTypes"] == ["Egress"]
    assert body["spec"]["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/managed-by": "poise", "poise.dev/search": KEY[1], "poise.dev/asks-model": "true",
    }  # fmt: skip
    assert policy(tiny()) is None


class Desk:
    """Policies kept on a double of the API server."""

    def __init__(self, server: Server | None = None) -> None:
        self.server = server or Server()
        self.api = FakeApi(self.server)
        self.kept = ModelPolicies(self.api)

    def keep(self, search: Search) -> Problem | None:
        return asyncio.run(self.kept.keep(search))

    def look_again(self) -> None:
        for seen in self.kept.seen.values():
            seen.until = 0.0


def test_what_is_as_it_should_be_is_neither_read_nor_written_again_for_a_while() -> None:
    desk = Desk()
    assert desk.keep(asking()) is None
    calls = dict(desk.api.calls)
    for _ in range(5):
        assert desk.keep(asking()) is None
    assert desk.api.calls == calls
    desk.look_again()
    desk.keep(asking())
    assert (desk.api.writes, desk.api.calls["get", "networking.k8s.io", "networkpolicies"]) == (1, 2)
    fresh = Desk(desk.server)
    assert fresh.keep(asking()) is None
    assert fresh.api.writes == 0


def test_it_follows_the_search_at_once_and_what_others_did_to_it_in_time() -> None:
    desk = Desk()
    desk.keep(asking())
    desk.keep(asking("http://10.0.0.9:1/v1"))
    assert desk.server.objects[WHERE]["spec"]["egress"] == opened("http://10.0.0.9:1/v1")
    desk.server.write(WHERE, {"metadata": {}, "spec": {"egress": [{}]}}, "PATCH", "")
    desk.look_again()
    desk.keep(asking("http://10.0.0.9:1/v1"))
    assert desk.server.objects[WHERE]["spec"]["egress"] == opened("http://10.0.0.9:1/v1")
    desk.server.delete(WHERE)
    desk.look_again()
    desk.keep(asking("http://10.0.0.9:1/v1"))
    assert WHERE in desk.server.objects


def test_what_a_server_fills_in_is_no_change() -> None:
    desk = Desk()
    made = desk.server.put

    def filled_in(where: Any, item: Any, event: str) -> Any:
        if where == WHERE:
            item["spec"]["filledIn"] = True
        return made(where, item, event)

    desk.server.put = filled_in  # type: ignore[method-assign]
    for _ in range(5):
        desk.look_again()
        assert desk.keep(asking()) is None
    assert desk.api.writes == 1


def test_somebody_elses_policy_is_told_and_that_of_an_earlier_search_waited_for() -> None:
    desk = Desk()
    desk.keep(asking(uid="uid-of-an-earlier-one"))
    assert desk.keep(asking("http://10.0.0.9:1/v1", uid="uid-2")) == Problem("", policies.STALE_SECONDS)
    theirs = copy.deepcopy(desk.server.objects[WHERE])
    theirs["metadata"]["ownerReferences"] = []
    desk.server.put(WHERE, theirs, "MODIFIED")
    problem = desk.keep(asking("http://10.0.0.9:2/v1", uid="uid-2"))
    assert problem is not None
    assert "belongs to something else" in problem.text
    assert desk.api.writes == 1


def test_an_address_that_cannot_be_is_a_problem_and_writes_nothing() -> None:
    desk = Desk()
    problem = desk.keep(asking("http://169.254.169.254/v1"))
    assert problem is not None
    assert problem.text.startswith("proposer.llm.baseURL: http://169.254.169.254/v1 is link-local")
    assert desk.api.writes == 0


def llm(url: str) -> dict[str, Any]:
    return {"type": "LLM", "llm": {"model": "m", "baseURL": url}}


def search_that_asks(url: str) -> tuple[Server, Controller]:
    return started(tiny(proposer=llm(url)))


def test_a_controller_makes_the_policy_before_it_starts_tasks_and_changes_it_with_the_search() -> None:
    server, controller = search_that_asks(SERVICE)
    order: list[str] = []
    controller.api.after = lambda method, path: order.append(path.rpartition("/")[2]) if method == "POST" else None
    asyncio.run(controller.reconcile())
    assert order.index("networkpolicies") < order.index("jobs")
    assert WHERE in server.objects
    asyncio.run(controller.reconcile())
    before = controller.api.writes
    asyncio.run(controller.reconcile())
    assert controller.api.writes == before
    server.write(("searches", *KEY), {"metadata": {}, "spec": {"proposer": llm("http://10.0.0.9:1/v1")}}, "PATCH", "")
    asyncio.run(controller.reconcile())
    assert server.objects[WHERE]["spec"]["egress"] == opened("http://10.0.0.9:1/v1")


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_policy_that_is_refused_is_told_and_no_task_starts_without_it(method: str) -> None:
    server, controller = search_that_asks(SERVICE)
    if method == "PUT":
        other = policy(asking("http://10.0.0.9:1/v1", uid=server.search.metadata.uid or ""))
        assert other is not None
        server.create("networkpolicies", KEY[0], other)

    def refuse(used: str, path: str) -> None:
        if used == method and WHERE[2] in path + str(path.endswith("networkpolicies") and WHERE[2]):
            raise ApiError(403, "Forbidden", "networkpolicies are not for you")

    controller.api.before = refuse
    if method == "POST":
        controller.reconciler.preparations.namespaces.add(KEY[0])
    asyncio.run(controller.reconcile())
    stalled = next(item for item in server.search.status.conditions if item.type == "Stalled")
    assert stalled.message.endswith(f"NetworkPolicy {WHERE[2]}: networkpolicies are not for you")
    assert not server.jobs(running=False)
    controller.api.before = lambda method, path: None
    controller.reconciler.refusals[KEY].until = 0.0
    asyncio.run(controller.reconcile())
    assert server.jobs(running=False)

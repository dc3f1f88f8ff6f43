"""What the chart renders: the values that it takes and refuses, the controller's pod, its rights and the tenants'."""

from __future__ import annotations

import ast
import copy
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from typing import Any, Final, cast

import pytest
import yaml
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics import MetricWrapperBase

from controller.api import Api
from controller.handlers import reflectors
from controller.metrics import Metrics
from controller.settings import ObjectStoreSettings, Settings
from controller.watched import Watched
from tests.kube import chart
from tests.kube.assets import Assets, MissingError, find, unavailable
from tests.kube.chart import CHART, NAMESPACE, HelmError
from tests.kube.client import Document
from tests.kube.cluster import ROOT

Rule = tuple[str, str, str]
"""Verb, API group, resource with its subresource."""

VALUES: Final[Document] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
TENANTS: Final = ["team-a", "team-b"]
DIGEST: Final = "sha256:" + "ab" * 32

SAMPLES: Final[dict[str, tuple[Any, Any]]] = {
    "images.controller.repository": ("registry.example/c", ""),
    "images.controller.tag": ("v9", 9),
    "images.controller.digest": (DIGEST, "sha256:ab"),
    "images.worker.repository": ("registry.example/w", ""),
    "images.worker.tag": ("v9", 9),
    "images.worker.digest": (DIGEST, "latest"),
    "images.trainer.repository": ("registry.example/t", ""),
    "images.trainer.tag": ("v9", 9),
    "images.trainer.digest": (DIGEST, "latest"),
    "images.pullPolicy": ("Always", "Sometimes"),
    "images.pullSecrets": ([{"name": "pull"}], ["pull"]),
    "namespaces": (TENANTS, ["Team_A"]),
    "artifacts.claim": ("other-claim", "Other Claim"),
    "artifacts.size": ("77Gi", "much"),
    "artifacts.storageClass": ("fast", 1),
    "artifacts.accessMode": ("ReadWriteMany", "ReadOnlyMany"),
    "artifacts.url": ("s3://bucket/prefix", "bucket"),
    "artifacts.endpoint": ("http://minio.storage.svc:9000", "minio:9000"),
    "artifacts.region": ("eu-central-1", 1),
    "artifacts.secret": ("store", "The Store"),
    "artifacts.egress": ([{"ports": [{"port": 9000}]}], [9000]),
    "artifacts.collect.namespaces": (TENANTS, ["Team_A"]),
    "artifacts.collect.schedule": ("1 2 * * 3", 3),
    "artifacts.collect.grace": ("48h", "soon"),
    "artifacts.collect.keepResults": ("90d", 90),
    "artifacts.collect.dryRun": (True, "yes"),
    "podTemplate": ({"runtimeClassName": "gvisor"}, {"runtimeClassName": 1}),
    "controller.logLevel": ("debug", "loud"),
    "controller.jobTtlSeconds": (77, -1),
    "controller.resources": ({"requests": {"cpu": "77m"}}, {"request": {"cpu": "77m"}}),
    "controller.nodeSelector": ({"pool": "system"}, {"pool": True}),
    "controller.tolerations": ([{"key": "system", "operator": "Exists"}], ["system"]),
    "controller.affinity": ({"nodeAffinity": {}}, []),
    "controller.priorityClassName": ("system-cluster-critical", 1),
    "controller.podAnnotations": ({"team": "platform"}, {"team": 1}),
    "crds.install": (False, "no"),
    "rbac.aggregate": (False, "no"),
    "metrics.serviceMonitor": (True, "yes"),
    "metrics.dashboard": (True, "yes"),
    "metrics.labels": ({"release": "prometheus"}, {"release": 1}),
}
"""Every value: one that is not the default, and one that is wrong."""
OBJECT_STORE: Final = ("artifacts.endpoint", "artifacts.region", "artifacts.secret", "artifacts.egress")
"""Values that count with ``artifacts.url`` alone."""
LEVELS: Final = ("", *sorted({f"/{'/'.join(p.split('.')[:n])}" for p in SAMPLES for n in range(1, p.count(".") + 1)}))
"""Every object of the values, as helm's schema check names it."""


def assets() -> Assets:
    """The folder with helm; without it the test that asks is skipped."""
    try:
        return find(["helm"], tools=())
    except MissingError as missing:
        unavailable(missing)


def render(values: Document | None = None) -> list[Document]:
    """What helm makes of these values."""
    return copy.deepcopy(_rendered(json.dumps(values or {}, sort_keys=True)))


@cache
def _rendered(values: str) -> list[Document]:
    return [document for document in chart.render(assets(), json.loads(values)) if document]


def only(documents: list[Document], kind: str, suffix: str = "") -> Document:
    """The one document of a kind whose name ends so."""
    found = [item for item in documents if item["kind"] == kind and item["metadata"]["name"].endswith(suffix)]
    assert len(found) == 1, (kind, suffix, [item["metadata"]["name"] for item in found])
    return found[0]


def leaves(values: Document, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value and path != "controller.resources":
            yield from leaves(value, f"{path}.")
        else:
            yield path


def setting(path: str, value: Any) -> Document:
    document: Any = value
    for name in reversed(path.split(".")):
        document = {name: document}
    return document


def merged(*documents: Document) -> Document:
    result: Document = {}
    for document in documents:
        for name, value in document.items():
            both = isinstance(value, dict) and isinstance(result.get(name), dict)
            result[name] = merged(result[name], value) if both else value
    return result


@pytest.fixture(scope="module")
def plain() -> list[Document]:
    return render()


@pytest.fixture(scope="module")
def pod(plain: list[Document]) -> Document:
    spec: Document = only(plain, "Deployment")["spec"]["template"]["spec"]
    return spec


# --- values -----------------------------------------------------------------------------------------------------------


def test_lint_finds_nothing() -> None:
    said = chart.helm(assets(), "lint", "--strict", str(CHART))
    assert "0 chart(s) failed" in said
    assert "[WARNING]" not in said
    assert "[ERROR]" not in said


def test_the_samples_are_all_values() -> None:
    assert sorted(leaves(VALUES)) == sorted(SAMPLES)


@pytest.mark.parametrize("path", sorted(SAMPLES))
def test_every_value_shows_somewhere(path: str) -> None:
    needs: Document = {} if path == "crds.install" else {"crds": {"install": False}}  # they are long to read
    if path == "metrics.labels":
        needs["metrics"] = {"serviceMonitor": True, "dashboard": True}
    if path.startswith("artifacts.collect.") and path != "artifacts.collect.namespaces":
        needs["artifacts"] = {"collect": {"namespaces": TENANTS}}
    if path in OBJECT_STORE:
        needs["artifacts"] = {"url": "s3://bucket"}
    assert render(merged(needs, setting(path, SAMPLES[path][0]))) != render(needs)


@pytest.fixture(scope="module")
def refusal() -> str:
    """What helm says when every value is wrong, and one at each level is misspelt."""
    wrong = [setting(path, bad) for path, (_, bad) in SAMPLES.items()]
    misspelt = [setting(f"{level}/misspelt".lstrip("/").replace("/", "."), "x") for level in LEVELS]
    with pytest.raises(HelmError) as refused:
        chart.render(assets(), merged(*wrong, *misspelt))
    return str(refused.value)


@pytest.mark.parametrize("path", sorted(SAMPLES))
def test_a_wrong_value_is_refused_by_name(path: str, refusal: str) -> None:
    assert f"at '/{path.replace('.', '/')}" in refusal


@pytest.mark.parametrize("level", LEVELS)
def test_a_misspelt_value_is_refused_by_name(level: str, refusal: str) -> None:
    assert f"at '{level}': additional properties 'misspelt' not allowed" in refusal


def test_names_of_the_longest_release_are_valid() -> None:
    options = (
        "--namespace",
        NAMESPACE,
        "--kube-version",
        chart.KUBERNETES,
        "--set",
        "metrics.dashboard=true,crds.install=false",
    )
    text = chart.helm(assets(), "template", "r" * 53, str(CHART), *options)
    for document in filter(None, yaml.safe_load_all(text)):
        if not document["kind"].startswith(
            "ClusterRole"
        ):  # those may be longer: no label and no service is made of them
            assert len(document["metadata"]["name"]) <= 63


# --- custom resource definitions ----------------------------------------------------------------------------------------


def test_the_chart_ships_the_generated_definitions() -> None:
    ours, shipped = ROOT / "crds", CHART / "files" / "crds"
    assert {file.name: file.read_bytes() for file in shipped.iterdir()} == {
        file.name: file.read_bytes() for file in ours.iterdir()
    }, "run: make generate"


def test_the_definitions_are_rendered_whole_and_outlive_the_chart(plain: list[Document]) -> None:
    rendered = [document for document in plain if document["kind"] == "CustomResourceDefinition"]
    assert len(rendered) == 3
    for document in rendered:
        assert document["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
        assert document["metadata"].pop("labels") == {"app.kubernetes.io/name": "poise"}
        [file] = (ROOT / "crds").glob(f"*_{document['spec']['names']['plural']}.yaml")
        assert _numbers(document) == yaml.safe_load(file.read_text(encoding="utf-8"))


def _numbers(document: Any) -> Any:
    """Helm writes 1e-06, which is a number to Kubernetes and to YAML 1.2, and text to PyYAML."""
    if isinstance(document, dict):
        return {key: _numbers(value) for key, value in document.items()}
    if isinstance(document, list):
        return [_numbers(value) for value in document]
    return float(document) if isinstance(document, str) and re.fullmatch(r"\d+e-\d+", document) else document


# --- the controller's pod -----------------------------------------------------------------------------------------------


def test_the_pod_meets_the_restricted_profile(pod: Document) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 65532
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(pod)
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {port["containerPort"] for port in container["ports"]} == {8080}


def test_one_controller_at_a_time(plain: list[Document]) -> None:
    spec = only(plain, "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


class Recorded(Mapping[str, str]):
    """An environment that remembers what was asked of it."""

    def __init__(self, variables: dict[str, str]) -> None:
        self.variables = variables
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        return self.variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.variables)

    def __len__(self) -> int:
        return len(self.variables)


def environment(values: Document) -> dict[str, str]:
    [container] = only(render(merged({"crds": {"install": False}}, values)), "Deployment")["spec"]["template"]["spec"][
        "containers"
    ]
    return {item["name"]: item.get("value", "from the pod") for item in container["env"]}


def test_the_environment_is_what_the_controller_reads() -> None:
    wanted = Recorded(environment({"artifacts": {"storageClass": ""}, "namespaces": TENANTS}))
    settings = Settings.from_environment(wanted)
    other = environment({"artifacts": {"url": "s3://bucket"}})
    assert set(wanted.variables) | set(other) == wanted.asked
    assert settings.artifacts.store is None
    assert settings.artifacts.storage_class == ""
    assert settings.namespaces == tuple(TENANTS)
    assert settings.lease_namespace == NAMESPACE


def test_the_charts_defaults_are_the_controllers() -> None:
    settings = Settings.from_environment(environment({}))
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert settings == Settings(
        worker_image=f"poise-worker:{version}", trainer_image=f"poise-trainer:{version}", identity="from the pod"
    )


def test_an_object_store_takes_the_place_of_the_claim() -> None:
    values = {path.partition(".")[2]: good for path, (good, _) in SAMPLES.items() if re.match(r"artifacts\.\w+$", path)}
    found = environment({"artifacts": values | {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}})
    assert not {name for name in found if re.search("CLAIM|SIZE|STORAGE_CLASS|ACCESS_MODE", name)}
    assert Settings.from_environment(found).artifacts.store == ObjectStoreSettings(
        url="s3://bucket/prefix",
        endpoint="http://minio.storage.svc:9000",
        region="eu-central-1",
        secret="store",
        egress=({"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]},),
    )


def test_a_digest_goes_before_a_tag() -> None:
    image = {"repository": "registry.example/w", "tag": "v9", "digest": DIGEST}
    assert environment({"images": {"worker": image}})["POISE_WORKER_IMAGE"] == f"registry.example/w@{DIGEST}"


# --- rights -------------------------------------------------------------------------------------------------------------

CUSTOM: Final = "poise.dev"
REFLECTED: Final = ((CUSTOM, "candidates"), (CUSTOM, "evaluations"), ("batch", "jobs"))
"""What the reflectors of controller/handlers.py list and watch."""
CALLS: Final[dict[tuple[str, str, str], tuple[Rule, ...]]] = {
    ("health", "versions", "resource"): (("list", CUSTOM, "searches"), ("list", "batch", "jobs")),
    ("health", "items", "SEARCHES"): (("list", CUSTOM, "searches"),),
    ("events", "create", "EVENTS"): (("create", "", "events"),),
    ("inputs", "create", "JOBS"): (("create", "batch", "jobs"),),
    ("inputs", "create", "resource"): (
        ("create", "", "services"),
        ("create", "networking.k8s.io", "networkpolicies"),
    ),
    ("inputs", "create", "CONFIG_MAPS"): (("create", "", "configmaps"),),
    ("inputs", "versions", "CONFIG_MAPS"): (("list", "", "configmaps"),),
    ("inputs", "delete", "JOBS"): (("delete", "batch", "jobs"),),
    ("namesakes", "items", "CUSTOM.get(kind, JOBS)"): (
        ("list", CUSTOM, "candidates"),
        ("list", CUSTOM, "evaluations"),
        ("list", "batch", "jobs"),
    ),
    ("namesakes", "versions", "CONFIG_MAPS"): (("list", "", "configmaps"),),
    ("reflector", "pages", "self.resource"): tuple(("list", *kind) for kind in REFLECTED),
    ("reflector", "watch", "self.resource"): tuple(("watch", *kind) for kind in REFLECTED),
    ("lease", "get", "LEASES"): (("get", "coordination.k8s.io", "leases"),),
    ("lease", "create", "LEASES"): (("create", "coordination.k8s.io", "leases"),),
    ("lease", "replace", "LEASES"): (("update", "coordination.k8s.io", "leases"),),
    ("outcomes", "items", "PODS"): (("list", "", "pods"),),
    ("outcomes", "log", "job.namespace"): (("get", "", "pods/log"),),
    ("outcomes", "patch", "JOBS"): (("patch", "batch", "jobs"),),
    ("policies", "get", "NETWORK_POLICIES"): (("get", "networking.k8s.io", "networkpolicies"),),
    ("policies", "create", "NETWORK_POLICIES"): (("create", "networking.k8s.io", "networkpolicies"),),
    ("policies", "replace", "NETWORK_POLICIES"): (("update", "networking.k8s.io", "networkpolicies"),),
    ("preparing", "create", "resource"): (
        ("create", "", "persistentvolumeclaims"),
        ("create", "networking.k8s.io", "networkpolicies"),
    ),
    ("progress", "items", "PODS"): (("list", "", "pods"),),
    ("progress", "tail", "job.namespace"): (("get", "", "pods/log"),),
    ("reconcile", "create", "CUSTOM[resource.kind]"): (
        ("create", CUSTOM, "candidates"),
        ("create", CUSTOM, "evaluations"),
    ),
    # A Search's annotations are its user's: the planner changes those of candidates and evaluations only.
    ("reconcile", "patch", "CUSTOM[wanted.kind]"): (("patch", CUSTOM, "candidates"), ("patch", CUSTOM, "evaluations")),
    ("reconcile", "patch", "CANDIDATES"): (("patch", CUSTOM, "candidates"),),
    ("reconcile", "replace_status", "CUSTOM[wanted.kind]"): tuple(
        ("update", CUSTOM, f"{plural}/status") for plural in ("searches", "candidates", "evaluations")
    ),
    ("reconcile", "delete", "JOBS"): (("delete", "batch", "jobs"),),
    ("troubles", "items", "PODS"): (("list", "", "pods"),),
    ("troubles", "items", "EVENTS"): (("list", "", "events"),),
}
"""(module, method of Api, first argument) -> what it asks of the API server.  Reviewed by hand; a call that is not here fails."""

WATCHES: Final = frozenset(product(("list", "watch"), (CUSTOM,), ("searches",)))
"""What kopf lists and watches."""


def called() -> set[tuple[str, str, str]]:
    """Every call of a method of Api in the controller's source."""
    api = ast.parse((ROOT / "controller" / "api.py").read_text(encoding="utf-8"))
    [methods] = [
        {item.name for item in node.body if isinstance(item, ast.AsyncFunctionDef) and not item.name.startswith("_")}
        for node in api.body
        if isinstance(node, ast.ClassDef) and node.name == "Api"
    ]
    found = set()
    for file in sorted((ROOT / "controller").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
                continue
            if node.func.attr in methods and re.fullmatch(r"(\w+\.)*api", ast.unparse(node.func.value)):
                found.add((file.stem, node.func.attr, ast.unparse(node.args[0])))
    return found


def allowed(role: Document) -> set[Rule]:
    return {rule for item in role["rules"] for rule in product(item["verbs"], item["apiGroups"], item["resources"])}


def needed() -> set[Rule]:
    return {rule for rules in CALLS.values() for rule in rules} | WATCHES


def test_the_table_of_calls_is_complete() -> None:
    assert called() == set(CALLS), "review the call, then add what it needs here and in _helpers.tpl"


def test_the_watches_are_those_of_the_handlers() -> None:
    text = (ROOT / "controller" / "handlers.py").read_text(encoding="utf-8")
    assert re.findall(r"kopf\.\w+(?:\.\w+)?\(GROUP, VERSION, (.*?),", text) == ['"searches"']
    resources = [one.resource for one in reflectors(cast(Api, None), cast(Watched, None), ())]
    assert tuple((item.group, item.plural) for item in resources) == REFLECTED


def test_the_controller_may_do_what_it_does_and_nothing_more(plain: list[Document]) -> None:
    rules = allowed(only(plain, "ClusterRole", "-controller"))
    lease = allowed(only(plain, "Role", "-lease"))
    assert rules | lease == needed()
    assert {group for _, group, _ in lease} == {"coordination.k8s.io"}
    assert not rules & lease
    assert not any("*" in part for rule in rules for part in rule)


@pytest.mark.parametrize("values", [{}, {"namespaces": TENANTS}], ids=["everywhere", "namespaces"])
def test_nobody_of_the_chart_may_read_secrets(values: Document) -> None:
    """Keys are given to pods by the kubelet, by reference."""
    for role in render(values):
        if role["kind"] in ("Role", "ClusterRole"):
            assert not [rule for rule in allowed(role) if "secrets" in rule[2]], role["metadata"]["name"]


def test_with_namespaces_nothing_is_cluster_wide_but_definitions_and_roles_for_people() -> None:
    documents = render({"namespaces": TENANTS, "metrics": {"serviceMonitor": True, "dashboard": True}})
    for document in documents:
        if document["kind"] == "CustomResourceDefinition":
            continue
        if document["kind"] == "ClusterRole":
            name, labels = document["metadata"]["name"], document["metadata"]["labels"]
            assert name.endswith("-restore") or any("aggregate-to" in label for label in labels), name
            continue
        assert document["metadata"]["namespace"] in {NAMESPACE, *TENANTS}, document["metadata"]["name"]
        assert not document["kind"].startswith("Cluster")
    for tenant in TENANTS:
        [role] = [d for d in documents if d["kind"] == "Role" and d["metadata"]["namespace"] == tenant]
        assert allowed(role) == {rule for rule in needed() if rule[1] != "coordination.k8s.io"}
        [binding] = [d for d in documents if d["kind"] == "RoleBinding" and d["metadata"]["namespace"] == tenant]
        assert binding["roleRef"]["name"] == role["metadata"]["name"]
        assert [subject["namespace"] for subject in binding["subjects"]] == [NAMESPACE]


def test_bindings_name_the_service_account_of_the_pod(plain: list[Document], pod: Document) -> None:
    bindings = [document for document in plain if document["kind"].endswith("Binding")]
    assert len(bindings) == 2
    for binding in bindings:
        [subject] = binding["subjects"]
        assert (subject["name"], subject["namespace"]) == (pod["serviceAccountName"], NAMESPACE)
    assert only(plain, "ServiceAccount")["metadata"]["name"] == pod["serviceAccountName"]


def test_tenants_write_specs_and_no_status(plain: list[Document]) -> None:
    roles = {name: only(plain, "ClusterRole", f"{chart.RELEASE}-{name}") for name in ("view", "edit", "admin")}
    kinds = ("searches", "candidates", "evaluations")
    assert allowed(roles["view"]) == set(product(("get", "list", "watch"), (CUSTOM,), kinds))
    assert {resource for _, _, resource in allowed(roles["edit"])} == {"searches", "candidates"}
    more = allowed(roles["admin"]) - allowed(roles["edit"])
    assert more == {(verb, CUSTOM, "evaluations") for verb in ("delete", "deletecollection")}
    for name, role in roles.items():
        labels = {label for label in role["metadata"]["labels"] if label.startswith("rbac.")}
        assert labels == {f"rbac.authorization.k8s.io/aggregate-to-{name}"}
    restore = only(plain, "ClusterRole", "-restore")
    assert not [label for label in restore["metadata"]["labels"] if label.startswith("rbac.")]


# --- collection ---------------------------------------------------------------------------------------------------------


def collector(values: Document) -> tuple[list[Document], Document]:
    """What the chart makes in a namespace that is collected, and the spec of the CronJob's pod."""
    artifacts = merged({"collect": {"namespaces": ["team-a"]}}, values)
    documents = render({"crds": {"install": False}, "artifacts": artifacts})
    mine = [item for item in documents if item["metadata"].get("namespace") == "team-a"]
    return mine, only(mine, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]


def test_nothing_is_collected_unless_it_is_asked_for(plain: list[Document]) -> None:
    assert not [item for item in plain if item["kind"] == "CronJob" or "collector" in item["metadata"]["name"]]


def test_the_collector_may_list_what_exists_and_nothing_more() -> None:
    documents, spec = collector({})
    assert sorted(item["kind"] for item in documents) == ["CronJob", "Role", "RoleBinding", "ServiceAccount"]
    assert allowed(only(documents, "Role")) == set(
        product(("list",), (CUSTOM,), ("searches", "candidates", "evaluations"))
    )
    [subject] = only(documents, "RoleBinding")["subjects"]
    assert subject["name"] == spec["serviceAccountName"] == only(documents, "ServiceAccount")["metadata"]["name"]
    assert only(documents, "RoleBinding")["roleRef"]["name"] == only(documents, "Role")["metadata"]["name"]
    service = only(render(), "Service")["spec"]["selector"]
    labels = only(documents, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["labels"]
    assert not service.items() <= labels.items()
    assert "app.kubernetes.io/managed-by" not in labels, "the policy of tasks would cut it off from the API server"


@pytest.mark.parametrize("values", [{}, {"url": "s3://bucket/prefix/", "endpoint": "http://minio:9000", "secret": "s"}])
def test_the_collectors_pod_meets_the_restricted_profile_and_sees_its_own_store(values: Document) -> None:
    _, spec = collector(values)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    [container] = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    claims = [item["persistentVolumeClaim"]["claimName"] for item in spec["volumes"] if "persistentVolumeClaim" in item]
    told = {item["name"]: item.get("value", item.get("valueFrom")) for item in container["env"]}
    if not values:
        assert (container["args"][0], claims) == ("/artifacts", ["poise-artifacts"])
        assert set(told) == {"HOME"}
        return
    assert (container["args"][0], claims) == ("s3://bucket/prefix/team-a", [])
    assert told["AWS_ENDPOINT_URL"] == "http://minio:9000"
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert told[key] == {"secretKeyRef": {"name": "s", "key": key}}


def test_the_collectors_command_is_one_that_the_command_line_takes() -> None:
    _, spec = collector({"collect": {"dryRun": True}})
    [container] = spec["containers"]
    group, name = container["command"][1:]
    assert (group, name) == ("artifacts", "collect")
    command = importlib.import_module("poise_lib.cli.commands.artifacts").collect
    context = command.make_context("collect", list(container["args"]))
    assert context.params["namespace"] == "team-a"
    assert context.params["dry_run"] is True


# --- metrics ------------------------------------------------------------------------------------------------------------

ENDINGS: Final[dict[type[MetricWrapperBase], tuple[str, ...]]] = {
    Counter: ("_total",),
    Gauge: ("",),
    Histogram: ("_bucket", "_count", "_sum"),
}


def series() -> dict[str, set[str]]:
    """The series that the controller shows, with their labels."""
    metrics = Metrics()
    found: dict[str, set[str]] = {}
    for name in Metrics.__dataclass_fields__:
        metric = getattr(metrics, name)
        if isinstance(metric, MetricWrapperBase):
            for ending in ENDINGS[type(metric)]:
                labels = {*metric._labelnames, *(("le",) if ending == "_bucket" else ())}
                found[f"{metric._name}{ending}"] = labels
    return found


def queries() -> list[str]:
    """Every query of the dashboard, and of the alerts in docs/operations.md."""
    dashboard = json.loads((CHART / "dashboards" / "poise.json").read_text(encoding="utf-8"))
    panels = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    variables = [item["query"] for item in dashboard["templating"]["list"] if item["type"] == "query"]
    alerts = re.findall(r"^ *expr: (.*)$", (ROOT / "docs" / "operations.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert panels
    assert alerts
    return [*panels, *variables, *alerts]


@pytest.mark.parametrize("query", queries())
def test_queries_ask_for_series_and_labels_that_exist(query: str) -> None:
    shown = series()
    named = re.findall(r"poise_\w+", query)
    assert named
    assert set(named) <= set(shown)
    labels = set(re.findall(r"[{,]\s*(\w+)\s*[=!]~?", query))
    labels |= {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
    labels |= set(re.findall(r"label_values\(.*, (\w+)\)", query))
    assert labels <= {label for name in named for label in shown[name]}


def test_the_dashboard_is_a_config_map_with_every_file() -> None:
    data = only(render({"crds": {"install": False}, "metrics": {"dashboard": True}}), "ConfigMap")["data"]
    files = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in (CHART / "dashboards").iterdir()}
    assert {name: json.loads(text) for name, text in data.items()} == files


def test_scraping_keeps_the_namespace_of_a_search() -> None:
    documents = render({"crds": {"install": False}, "metrics": {"serviceMonitor": True}})
    [endpoint] = only(documents, "ServiceMonitor")["spec"]["endpoints"]
    service = only(documents, "Service")
    assert endpoint["honorLabels"] is True
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    wanted = only(documents, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= service["metadata"]["labels"].items()


def test_version_is_the_packages() -> None:
    version = re.search(r'__version__ = "(.+)"', (ROOT / "poise_lib" / "__init__.py").read_text(encoding="utf-8"))
    described = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert version is not None
    assert described["appVersion"] == version[1]

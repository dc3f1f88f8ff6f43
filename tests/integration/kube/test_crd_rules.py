"""Every CEL rule of the CRDs, judged by a real API server: what it lets pass, what it refuses, and with which words.

A rule that stands in ``crds/`` and has no case here fails :func:`test_every_rule_has_a_case`.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import ValidationError

from tests.integration.kube.documents import MODELS, PLURALS, merged, minimal, nodes, schema
from tests.kube.client import ApiError, Client, Document, namespaced
from tests.kube.crds import install

Rule = dict[str, str]


@dataclass(frozen=True)
class Case:
    """One rule, and changes (JSON merge patches) of the smallest manifest that it lets pass or refuses."""

    kind: str
    path: str
    says: str
    """Part of its message that no other rule of this place has."""
    passes: tuple[Document, ...]
    refuses: tuple[Document, ...]
    update: bool = False
    """It compares with the old object: the smallest manifest is created first, then changed."""
    start: Document = field(default_factory=dict)
    """For an update: what the smallest manifest is created with."""
    widened: bool = False
    """A list of allowed values stands before the rule: it is seen at work where that list is longer."""

    @property
    def id(self) -> str:
        """For pytest's ``-k``."""
        return f"{self.kind}{self.path}-{self.says.split(' cannot')[0].replace(' ', '_')}"


def _spec(**fields: Any) -> Document:
    return {"spec": fields}


def _metric(name: str, weight: float = 1.0) -> Document:
    """A metric of the objective, written out in full."""
    return {"name": name, "weight": weight, "direction": "Maximize"}


def _fixed(name: str, *refuses: Document, widened: bool = False, start: Document | None = None) -> Case:
    more = _spec(budget={"candidates": 9}, suspend=True)
    says = f"spec.{name} cannot change"
    return Case("Search", ".spec", says, (more,), refuses, update=True, widened=widened, start=start or {})


def _verl(**settings: Any) -> Document:
    """Settings of engine verl: the smallest, and these."""
    return {"model": {"path": "org/model"}, "data": {"train": ["train.jsonl"]}, **settings}


def _on_verl(kind: str, **settings: Any) -> Document:
    """A change that makes a Search or an Evaluation one of engine verl."""
    evaluation = {"engine": "verl", "suite": "math-v1", "verl": _verl(**settings)}
    return _spec(evaluation=evaluation) if kind == "Search" else _spec(**evaluation)


def _on_sums(change: Document) -> Document:
    """A Search of engine verl on the suite for its tiny model, changed."""
    return merged(merged(_on_verl("Search"), _spec(evaluation={"suite": "sums-v1"})), change)


def _engine_cases(kind: str) -> tuple[Case, ...]:
    """The engine's settings, in a Search and in an Evaluation."""
    nano = {"verl": _verl()}
    idle = _spec(evaluation=nano) if kind == "Search" else _spec(**nano)
    without = {"engine": "verl", "suite": "math-v1"}
    bare = _spec(evaluation=without) if kind == "Search" else _spec(**without)
    above = ".spec.evaluation" if kind == "Search" else ".spec"
    path = f"{above}.verl"

    def of(says: str, passes: Document, *refuses: Document) -> Case:
        wrong = tuple(_on_verl(kind, **settings) for settings in refuses)
        return Case(kind, path, says, (_on_verl(kind, **passes),), wrong)

    def stopping(*shares: float) -> Document:
        change: Document = {"earlyStopping": {"hopeless": {"rungs": list(shares)}}}
        return merged(_on_verl(kind), _spec(evaluation=change) if kind == "Search" else _spec(**change))

    return (
        Case(
            kind,
            f"{above}.earlyStopping.hopeless",
            "rungs must lie between 0 and 1",
            (stopping(0.5), stopping(0.1, 0.25, 0.999)),
            (stopping(0.5, 1.0), stopping(0.0), stopping(-0.5), stopping(2.0)),
        ),
        Case(kind, above, "engine verl needs the settings verl", (_on_verl(kind),), (bare,)),
        Case(kind, above, "settings verl are of no use to engine nano", (_spec(),), (idle,)),
        of(
            "platform cpu needs rollout.engine hf",
            {"platform": "cpu", "rollout": {"engine": "hf"}},
            {"platform": "cpu"},
            {"platform": "cpu", "rollout": {"engine": "sglang"}},
        ),
        of(
            "batchSize must be a multiple",
            {"batchSize": 32, "miniBatches": 4},
            {"miniBatches": 3, "gpusPerNode": 1},
            {"batchSize": 255, "gpusPerNode": 1},
        ),
        of(
            "gpusPerNode * nodes must be a multiple",
            {"parallelism": {"tensor": 4, "sequence": 2}},
            {"parallelism": {"tensor": 3}},
            {"parallelism": {"sequence": 16}},
        ),
        of(
            "the samples of a mini-batch",
            {"gpusPerNode": 4, "batchSize": 4, "miniBatches": 2, "groupSize": 2, "parallelism": {"sequence": 2}},
            {"gpusPerNode": 4, "batchSize": 3, "miniBatches": 1, "groupSize": 2},
            {"nodes": 512, "batchSize": 1, "miniBatches": 1, "groupSize": 1},
        ),
        of(
            "tokensPerGpu * parallelism.sequence must hold",
            {"tokensPerGpu": 2012, "parallelism": {"sequence": 2}},
            {"tokensPerGpu": 4023},
            {"responseLength": 16384},
        ),
        *_override_keys(kind, path),
    )


_HOUSE: Document = {"files": ["house.jsonl"]}
_EXTENDED: Document = {
    "name": "ours",
    "extends": "math-v1",
    "benchmarks": [
        {"name": "minerva_acc1", "weight": 0},
        {"name": "aime24_pass32", "samples": 64, "weight": 0.25},
        {"name": "house_acc1", "weight": 0.1, "source": _HOUSE},
    ],
}


def _own(kind: str = "Search", definition: Document = _EXTENDED, **beside: Any) -> Document:
    """A Search or an Evaluation on a suite of its own."""
    fields = {"engine": "verl", "suite": "ours", "verl": _verl(), "suiteDefinition": definition, **beside}
    return _spec(evaluation=fields) if kind == "Search" else _spec(**fields)


def _of(*benchmarks: Document, **fields: Any) -> Document:
    """The definition of a suite."""
    return {"name": "ours", "benchmarks": list(benchmarks), **fields}


def _benchmark(name: str = "house_acc1", weight: float | None = 1.0, **fields: Any) -> Document:
    """A benchmark, written out in full but for a weight of None."""
    given = {"name": name, "source": _HOUSE, **fields}
    return given if weight is None else {**given, "weight": weight}


def _definition_cases(kind: str) -> tuple[Case, ...]:
    """A suite that a team defines in the Search, and that its Evaluations carry."""
    above = ".spec.evaluation" if kind == "Search" else ".spec"
    below = f"{above}.suiteDefinition.benchmarks[]"
    named = _of(_benchmark(), name="math-v1")
    idle = {"suite": "ours", "suiteDefinition": _of(_benchmark())}
    half = _benchmark("house_acc1", 0.5), _benchmark("garden_acc1", 0.5)

    def of(path: str, says: str, passes: tuple[Document, ...], refuses: tuple[Document, ...]) -> Case:
        good, bad = ([_own(kind, definition) for definition in group] for group in (passes, refuses))
        return Case(kind, path, says, tuple(good), tuple(bad))

    def sources(field: str) -> Case:
        nowhere = (_of(_benchmark(**{"source": _HOUSE, field: empty})) for empty in ({"split": "test"}, {"files": []}))
        hub = {"dataset": "org/set"}
        found = _of(_benchmark(**{"source": _HOUSE, field: hub}))
        return of(f"{below}.{field}", "give files, a dataset", (found,), tuple(nowhere))

    return (
        Case(
            kind,
            above,
            "suiteDefinition is for engine verl",
            (_own(kind),),
            (_spec(evaluation=idle) if kind == "Search" else _spec(**idle),),
        ),
        Case(
            kind,
            above,
            "suite must be suiteDefinition.name",
            (_own(kind), _own(kind, _of(_benchmark(), name="Ours.2"), suite="Ours.2")),
            (_own(kind, suite="our"), _own(kind, suite="math-v1"), _own(kind, suite="chains-v1")),
        ),
        Case(kind, above, "suiteDefinition.name must be none of", (_own(kind),), (_own(kind, named, suite="math-v1"),)),
        of(
            above,
            "suiteDefinition.extends must be one of",
            (_of(extends="math-v1"), _of(extends="sums-v1")),
            (_of(extends="math-v2"), _of(extends="chains-v1"), _of(extends="ours")),
        ),
        of(
            above,
            "does not have needs weight and source",
            (_EXTENDED, _of({"name": "amc_pass32", "samples": 40}, extends="math-v1"), _of(*half)),
            (
                _of({"name": "house_acc1"}, extends="math-v1"),
                _of({"name": "sums_acc1", "samples": 2}, extends="math-v1"),
                _of(*half, {"name": "third_acc1", "weight": 0}),
                _of(*half, {"name": "third_acc1", "source": _HOUSE}),
            ),
        ),
        of(
            above,
            "must sum to 1",
            (
                _EXTENDED,
                _of(*half),
                _of({"name": "sums_acc1", "weight": 0.25}, {"name": "sums_mean8", "weight": 0.75}, extends="sums-v1"),
                _of({"name": "sums_acc1", "weight": 0}, _benchmark("house_acc1", 0.5), extends="sums-v1"),
            ),
            (
                _of(),
                _of(_benchmark(weight=0.9)),
                _of(*half, _benchmark("third_acc1", 0.01)),
                _of(_benchmark(weight=0.1), extends="math-v1"),
                _of({"name": "sums_acc1", "weight": 0}, extends="sums-v1"),
                _of({"name": "aime24_pass32", "weight": 0.3}, extends="math-v1"),
            ),
        ),
        of(
            below,
            "samples must be at least passK",
            (_of(_benchmark(passK=4, samples=4)), _of(_benchmark(passK=4)), _of(_benchmark(samples=3))),
            (_of(_benchmark(passK=4, samples=3)),),
        ),
        of(
            below,
            "name must be none of",
            (_of(_benchmark("Overall")),),
            tuple(_of(_benchmark(name)) for name in ("overall", "response_length", "format_valid")),
        ),
        sources("source"),
        sources("confirm"),
    )


def _override_keys(kind: str, path: str) -> tuple[Case, ...]:
    keys = ("data.shuffle", "+ray_kwargs.ray_init.num_gpus", "++a_b.c")
    wrong = ("data shuffle", "~data.shuffle", "a..b", "k" * 129)
    good, bad = ([_on_verl(kind, overrides={key: "1"}) for key in group] for group in (keys, wrong))
    return (Case(kind, f"{path}.overrides", "every key must match", tuple(good), tuple(bad)),)


_LABELS: Document = {"metadata": {"labels": {"team": "one"}}}


def _keyed(
    place: str,
    value: str,
    keys: tuple[str, ...] = ("example.com/good", "a"),
    wrong: tuple[str, ...] = ("my key", "-a", "k" * 254),
) -> Case:
    """The keys of a map in the template of pods."""

    def patch(key: str) -> Document:
        document: Document = {key: value}
        for step in reversed(f"evaluation.template.{place}".split(".")):
            document = {step: document}
        return {"spec": document}

    path = f".spec.evaluation.template.{place}"
    return Case("Search", path, "every key must match", tuple(map(patch, keys)), tuple(map(patch, wrong)))


def _literature(**fields: str) -> Document:
    return _spec(proposer={"type": "LLM", "llm": {"model": "m", "literature": fields}})


CASES = (
    Case(
        "Search",
        ".spec",
        "suite chains-v1 has only the metrics",
        (
            _spec(objective={"metrics": [_metric("plus3")]}),
            _spec(objective={"constraints": [{"metric": "response_length", "maximum": 40}]}),
        ),
        (
            _spec(objective={"metrics": [{"name": "aime24"}]}),
            _spec(objective={"constraints": [{"metric": "aime24", "minimum": 1}]}),
        ),
    ),
    _fixed("baseline", _spec(baseline={"algorithm": "dapo"}), _spec(baseline={"algorithm": None, "source": "x = 1"})),
    _fixed("seed", _spec(seed=1)),
    _fixed("strategy.mode", _spec(strategy={"mode": "Continuous"})),
    _fixed("evaluation.engine", _spec(evaluation={"engine": "other"}), widened=True),
    _fixed("evaluation.suite", _spec(evaluation={"suite": "other"}), widened=True),
    _fixed(
        "evaluation.suiteDefinition",
        _spec(evaluation={"suiteDefinition": {"description": "Another text."}}),
        _spec(evaluation={"suiteDefinition": {"benchmarks": []}}),
        _spec(evaluation={"suiteDefinition": {"extends": None, "benchmarks": [_benchmark()]}}),
        start=_own(),
    ),
    _fixed("evaluation.seeds", _spec(evaluation={"seeds": 2})),
    _fixed("evaluation.fidelities", _spec(evaluation={"fidelities": {"full": {"steps": 31}}})),
    _fixed(
        "evaluation.verl",
        _spec(evaluation={"verl": {"learningRate": 1e-5}}),
        _spec(evaluation={"verl": {"model": {"path": "org/other"}}}),
        start=_on_verl("Search"),
    ),
    _fixed("objective", _spec(objective={"metrics": [{"name": "plus3"}]})),
    Case(
        "Search",
        ".spec",
        "suite math-v1 has only the metrics",
        (merged(_on_verl("Search"), _spec(objective={"metrics": [_metric("aime24_pass32")]})),),
        (
            merged(_on_verl("Search"), _spec(objective={"metrics": [_metric("plus3")]})),
            merged(_on_verl("Search"), _spec(objective={"constraints": [{"metric": "plus3", "minimum": 1}]})),
        ),
    ),
    Case(
        "Search",
        ".spec",
        "suite sums-v1 has only the metrics",
        (_on_sums(_spec(objective={"metrics": [_metric("sums_mean8")]})),),
        (
            _on_sums(_spec(objective={"metrics": [_metric("plus3")]})),
            _on_sums(_spec(objective={"constraints": [{"metric": "aime24_pass32", "minimum": 1}]})),
        ),
    ),
    Case(
        "Search",
        ".spec",
        "the suite of evaluation.suiteDefinition does not have",
        (
            merged(_own(), _spec(objective={"metrics": [_metric("house_acc1", 0.5), _metric("amc_pass32", 0.5)]})),
            merged(_own(), _spec(objective={"constraints": [{"metric": "aime24_pass32", "minimum": 1}]})),
            merged(_own(definition=_of(_benchmark())), _spec(objective={"metrics": [_metric("response_length")]})),
        ),
        (
            merged(_own(), _spec(objective={"metrics": [_metric("minerva_acc1")]})),  # taken out
            merged(_own(), _spec(objective={"constraints": [{"metric": "sums_acc1", "minimum": 1}]})),
            merged(_own(definition=_of(_benchmark())), _spec(objective={"metrics": [_metric("amc_pass32")]})),
        ),
    ),
    Case(
        "Search",
        ".spec",
        "budget.gpuHours caps engine verl",
        (merged(_on_verl("Search"), _spec(budget={"candidates": 4, "gpuHours": 0.5})),),
        (
            _spec(budget={"candidates": 4, "gpuHours": 0.5}),
            merged(
                _on_verl("Search", platform="cpu", rollout={"engine": "hf"}),
                _spec(budget={"candidates": 4, "gpuHours": 0.5}),
            ),
        ),
    ),
    Case(
        "Search",
        ".spec.evaluation",
        "engine nano scores the suites",
        (_spec(evaluation={"suite": "chains-v1"}),),
        (_spec(evaluation={"suite": "math-v1"}),),
    ),
    Case(
        "Search",
        ".spec.evaluation",
        "engine verl scores the suites",
        (_on_verl("Search"),),
        (merged(_on_verl("Search"), _spec(evaluation={"suite": "chains-v1"})),),
    ),
    *_engine_cases("Search"),
    *_engine_cases("Evaluation"),
    *_definition_cases("Search"),
    *_definition_cases("Evaluation"),
    Case(
        "Search",
        ".spec.objective.metrics",
        "weights must sum to 1",
        (
            _spec(objective={"metrics": [_metric("plus3", 0.9995)]}),
            _spec(objective={"metrics": [_metric("plus3", 0.1), _metric("plus5", 0.2), _metric("plus8", 0.7)]}),
        ),
        (
            _spec(objective={"metrics": [{"name": "plus3", "weight": 0.9}]}),
            _spec(objective={"metrics": [{"name": "plus3"}, {"name": "plus5"}]}),
        ),
    ),
    Case(
        "Search",
        ".spec.objective.constraints[]",
        "give minimum, maximum or both",
        (
            _spec(objective={"constraints": [{"metric": "plus3", "minimum": 1}]}),
            _spec(objective={"constraints": [{"metric": "plus3", "minimum": 1, "maximum": 1}]}),
        ),
        (
            _spec(objective={"constraints": [{"metric": "plus3"}]}),
            _spec(objective={"constraints": [{"metric": "plus3", "minimum": 2, "maximum": 1}]}),
        ),
    ),
    Case(
        "Search",
        ".spec.baseline",
        "give exactly one of",
        (_spec(baseline={"algorithm": "dapo"}), _spec(baseline={"source": "x = 1"})),
        (_spec(baseline={"algorithm": "dapo", "source": "x = 1"}), _spec(baseline={})),
    ),
    Case(
        "Search",
        ".spec.strategy.acquisition",
        "must be 1",
        (_spec(strategy={"acquisition": {"pareto": 1, "performance": 0, "diversity": 0, "bayes": 0}}),),
        (_spec(strategy={"acquisition": {"pareto": 0.5}}), _spec(strategy={"acquisition": {"bayes": 0.2}})),
    ),
    Case(
        "Search",
        ".spec.proposer",
        "LLM needs proposer.llm",
        (_spec(proposer={"type": "LLM", "llm": {"model": "m"}}),),
        (_spec(proposer={"type": "LLM"}),),
    ),
    Case(
        "Search",
        ".spec.proposer",
        "Library calls no model",
        (_spec(proposer={"type": "Library"}), _spec(proposer={})),
        (_spec(proposer={"type": "Library", "llm": {"model": "m"}}), _spec(proposer={"llm": {"model": "m"}})),
    ),
    Case(
        "Search",
        ".spec.proposer.llm.literature",
        "give exactly one of",
        (_literature(configMap="papers"), _literature(file="papers.txt")),
        (_literature(), _literature(configMap="papers", file="papers.txt")),
    ),
    Case(
        "Candidate",
        ".spec",
        "a Candidate's spec cannot change",
        (_LABELS,),
        (_spec(round=1), _spec(source="x = 1"), _spec(proposal={"title": "Other"})),
        update=True,
    ),
    Case(
        "Candidate",
        ".spec",
        "give either spec.algorithm or spec.source",
        (_spec(), _spec(algorithm="grpo"), _spec(source="x = 1")),
        (_spec(algorithm="grpo", source="x = 1"),),
    ),
    Case(
        "Evaluation",
        ".spec",
        "an Evaluation's spec cannot change",
        (_LABELS,),
        (_spec(seed=1), _spec(nano={"steps": 31}), _spec(fidelity="probe")),
        update=True,
    ),
    *(
        _keyed(place, value)
        for place, value in {
            "nodeSelector": "x",
            "annotations": "x",
            "resources.requests": "1",
            "resources.limits": "1",
            "scoringResources.requests": "1",
            "scoringResources.limits": "1",
        }.items()
    ),
    _keyed("nccl", "x", ("NCCL_DEBUG", "NCCL_P2P_LEVEL"), ("NCCL_", "nccl_debug", "LD_PRELOAD")),
)


def _rules(crd: Document) -> list[tuple[str, Rule]]:
    return [(at, rule) for at, node in nodes(schema(crd)) for rule in node.get("x-kubernetes-validations", ())]


def _rule(case: Case, crds: dict[str, Document]) -> Rule:
    (found,) = (rule for at, rule in _rules(crds[case.kind]) if at == case.path and case.says in rule["message"])
    return found


def _each(which: str) -> list[Any]:
    """Parameters: a case and one change, of those that it lets pass or of those that it refuses."""
    return [
        pytest.param(case, change, id=f"{case.id}-{number}")
        for case in CASES
        for number, change in enumerate(getattr(case, which))
    ]


@pytest.fixture(scope="session")
def widened(admin: Client, crds: dict[str, Document]) -> Document:
    """A kind like Search that admits more engines and suites than there are yet."""
    crd = copy.deepcopy(crds["Search"])
    crd["metadata"]["name"] = "widenedsearches.test.poise.dev"
    crd["spec"]["group"] = "test.poise.dev"
    crd["spec"]["names"] = {
        "kind": "WidenedSearch",
        "listKind": "WidenedSearchList",
        "plural": "widenedsearches",
        "singular": "widenedsearch",
    }
    for at, node in nodes(schema(crd)):
        if at == ".spec.evaluation.engine":
            node["enum"] = [*node["enum"], "other"]
        if at == ".spec.evaluation":  # each engine has a list of its suites
            for rule in node["x-kubernetes-validations"]:
                rule["rule"] = rule["rule"].replace("['chains-v1']", "['chains-v1', 'other']")
    install(admin, crd)
    return crd


@dataclass(frozen=True)
class Judge:
    """Creates, or creates and changes, an object as a case says."""

    admin: Client
    namespace: str
    widened: Document | None

    def __call__(self, case: Case, change: Document) -> Document:
        """What the server answers to the last step."""
        document, group, plural = minimal(case.kind), "poise.dev", PLURALS[case.kind]
        if self.widened:
            group, plural = self.widened["spec"]["group"], self.widened["spec"]["names"]["plural"]
            document |= {"apiVersion": f"{group}/v1alpha1", "kind": "WidenedSearch"}
        collection = namespaced(f"{group}/v1alpha1", self.namespace, plural)
        if not case.update:
            return self.admin.create(collection, merged(document, change))
        self.admin.create(collection, merged(document, case.start))
        return self.admin.patch(f"{collection}/one", change)


@pytest.fixture
def judge(request: pytest.FixtureRequest, admin: Client, namespace: str, case: Case) -> Judge:
    return Judge(admin, namespace, request.getfixturevalue("widened") if case.widened else None)


REPEATED = {("Search", ".status.objective.constraints[]")}
"""Where the controller writes what the model of .spec.objective.constraints[] has checked."""


def test_every_rule_has_a_case(crds: dict[str, Document]) -> None:
    covered = [(case.kind, case.path, _rule(case, crds)["rule"]) for case in CASES]
    present = [
        (kind, at, rule["rule"]) for kind, crd in crds.items() for at, rule in _rules(crd) if (kind, at) not in REPEATED
    ]
    assert sorted(covered) == sorted(present)
    assert all(case.passes and case.refuses for case in CASES)
    assert all(case.update == ("oldSelf" in _rule(case, crds)["rule"]) for case in CASES)


@pytest.mark.parametrize(("case", "change"), _each("passes"))
def test_passes(judge: Judge, case: Case, change: Document) -> None:
    answer = judge(case, change)
    assert merged(answer, change) == answer  # it holds what was asked for


@pytest.mark.parametrize(("case", "change"), _each("refuses"))
def test_refuses(judge: Judge, case: Case, change: Document, crds: dict[str, Document]) -> None:
    with pytest.raises(ApiError) as refusal:
        judge(case, change)
    assert (refusal.value.status, refusal.value.reason) == (422, "Invalid")
    ((where, words),) = refusal.value.causes  # this rule and no other
    assert re.sub(r"\[\d+\]", "[]", f".{where}") == case.path
    assert words.endswith(": " + _rule(case, crds)["message"])


def test_a_definition_neither_comes_nor_goes_once_a_search_exists(admin: Client, namespace: str) -> None:
    """Because the suite's name is fixed, and says whether there is one."""
    collection = namespaced("poise.dev/v1alpha1", namespace, PLURALS["Search"])
    for name, start, change in (
        ("with", _own(), {"suiteDefinition": None}),
        ("without", _on_verl("Search"), {"suite": "ours", "suiteDefinition": _EXTENDED}),
    ):
        admin.create(collection, merged(minimal("Search", name), start))
        with pytest.raises(ApiError) as refusal:
            admin.patch(f"{collection}/{name}", _spec(evaluation=change))
        assert refusal.value.status == 422


def test_a_benchmark_is_named_once(admin: Client, namespace: str) -> None:
    """The list is a map by name, so an API server refuses a second entry, and applying merges by name."""
    collection = namespaced("poise.dev/v1alpha1", namespace, PLURALS["Search"])
    twice = _own(definition=_of(_benchmark(weight=0.5), _benchmark(weight=0.5)))
    with pytest.raises(ApiError, match="Duplicate value"):
        admin.create(collection, merged(minimal("Search"), twice))


@pytest.mark.parametrize(("case", "change"), [one for one in _each("passes") if not one.values[0].update])
def test_models_let_pass_the_same(case: Case, change: Document) -> None:
    MODELS[case.kind].model_validate(merged(minimal(case.kind), change))


@pytest.mark.parametrize(("case", "change"), [one for one in _each("refuses") if not one.values[0].update])
def test_models_refuse_the_same(case: Case, change: Document) -> None:
    with pytest.raises(ValidationError):
        MODELS[case.kind].model_validate(merged(minimal(case.kind), change))

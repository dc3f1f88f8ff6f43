"""What must hold between a Search or an Evaluation and the suite that it is scored on: for the models, and for the API server.

A suite is one that comes with POISE, or one that a team defines in the document itself (``suiteDefinition``).  CEL sees no
more than the document, so the suites that come with POISE stand in the rules as literals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from pydantic import JsonValue

from poise_lib.resources.engine import Engine
from poise_lib.resources.suites import EXTRA_METRICS, SUITES, Suite, SuiteFile, suites_of

_WEIGHTS_TOLERANCE: Final = "0.000001"
_ENGINE: Final = (
    f"suiteDefinition is for engine verl; engine {Engine.NANO.value} makes the problems of its own suite: set engine: verl, "
    "or remove suiteDefinition"
)
_NAME: Final = "suite must be suiteDefinition.name; write the same name in both places"
_SHIPPED: Final = (
    f"suiteDefinition.name must be none of {', '.join(sorted(SUITES))}, which come with POISE; choose another name"
)
_EXTENDS: Final = f"suiteDefinition.extends must be one of {', '.join(suites_of(Engine.VERL))}; name one of them, or leave extends out"
_WHOLE: Final = "a benchmark of suiteDefinition that the extended suite does not have needs weight and source"
_WEIGHTS: Final = "the weights of the suite that suiteDefinition makes must sum to 1"


def check_definition(engine: Engine, suite: str, definition: SuiteFile | None) -> None:
    """Raise ValueError for what the first three of :func:`definition_rules` refuse."""
    if definition is None:
        return
    if engine is not Engine.VERL:
        raise ValueError(_ENGINE)
    if suite != definition.name:
        raise ValueError(
            f"suite is {suite!r}, but suiteDefinition.name {definition.name!r}; write the same name in both places"
        )
    if definition.name in SUITES:
        raise ValueError(_SHIPPED)


def makes_a_suite(definition: SuiteFile | None) -> SuiteFile | None:
    """The definition, if benchmarks and weights fit together.

    Raises:
        ValueError: they do not.
    """
    if definition is not None:
        definition.suite(SUITES)
    return definition


def check_shipped(engine: Engine, suite: str) -> None:
    """Raise ValueError for what :func:`shipped_rules` refuse, of a document without a definition."""
    if suite not in SUITES:
        raise ValueError(f"unknown suite {suite!r}; known: {', '.join(sorted(SUITES))}{_or_your_own(engine)}")
    if SUITES[suite].engine is not engine:
        known = ", ".join(suites_of(engine))
        raise ValueError(
            f"suite {suite!r} is not for engine {engine.value}, which scores {known}; set suite to one of them"
            f"{_or_your_own(engine)}"
        )


def _or_your_own(engine: Engine) -> str:
    return ", or define your own in suiteDefinition" if engine is Engine.VERL else ""


def shipped_rules() -> list[JsonValue]:
    """Each engine scores suites of its own, where none is defined."""
    return [
        _rule(
            f"has(self.suiteDefinition) || self.engine != '{engine.value}' || self.suite in {_list(suites_of(engine))}",
            f"engine {engine.value} scores the suites {', '.join(suites_of(engine))}; set suite to one of them"
            f"{_or_your_own(engine)}",
        )
        for engine in Engine
    ]


def definition_rules() -> list[JsonValue]:
    """What a definition owes to the fields beside it, and its benchmarks to each other."""
    given, shipped = "!has(self.suiteDefinition) || ", _list(sorted(SUITES))
    each = "self.suiteDefinition.benchmarks"
    return [
        _rule(f"{given}self.engine == '{Engine.VERL.value}'", _ENGINE),
        _rule(f"{given}self.suite == self.suiteDefinition.name", _NAME),
        _rule(f"{given}!(self.suiteDefinition.name in {shipped})", _SHIPPED),
        _rule(
            f"{given}!has(self.suiteDefinition.extends) || self.suiteDefinition.extends in {_list(suites_of(Engine.VERL))}",
            _EXTENDS,
        ),
        _rule(
            given
            + _for_each_base(
                "self.suiteDefinition",
                lambda base: f"{each}.all(b, {_inherited('b.name', base)} || (has(b.weight) && has(b.source)))",
            ),
            _WHOLE,
        ),
        _rule(given + _for_each_base("self.suiteDefinition", lambda base: _sums_to_one(each, base)), _WEIGHTS),
    ]


def metric_rules() -> list[JsonValue]:
    """Every metric of the objective exists in the suite; of a whole Search's spec."""
    rules: list[JsonValue] = []
    for suite in SUITES.values():
        known = sorted(suite.metric_names())
        among = _list(known)
        rules.append(
            _rule(
                f"self.evaluation.suite != '{suite.name}' || "
                f"(self.objective.metrics.all(m, m.name in {among}) "
                f"&& self.objective.constraints.all(c, c.metric in {among}))",
                f"suite {suite.name} has only the metrics {', '.join(known)}",
            )
        )
    rules.append(
        _rule(
            "!has(self.evaluation.suiteDefinition) || "
            f"(self.objective.metrics.all(m, {_is_measured('m.name')}) "
            f"&& self.objective.constraints.all(c, {_is_measured('c.metric')}))",
            "the objective names a metric that the suite of evaluation.suiteDefinition does not have; it has its benchmarks, those of "
            f"the extended suite, and {', '.join(EXTRA_METRICS)}",
        )
    )
    return rules


def _is_measured(name: str) -> str:
    """Whether the suite of a definition has a metric; a benchmark of weight 0 is taken out."""
    each = "self.evaluation.suiteDefinition.benchmarks"
    inherited = _for_each_base("self.evaluation.suiteDefinition", lambda base: _inherited(name, base))
    return (
        f"{name} in {_list(EXTRA_METRICS)} || {each}.exists(b, b.name == {name} && (!has(b.weight) || b.weight > 0.0)) || "
        f"(!{each}.exists(b, b.name == {name}) && {inherited})"
    )


def _sums_to_one(each: str, base: Suite | None) -> str:
    """Weights of the base sum to 1, so those that are given must change them by nothing."""
    known = "{" + ", ".join(f"'{name}': {weight!r}" for name, weight in base.weights().items()) + "}" if base else ""
    gained = f"b.weight - (b.name in {known} ? {known}[b.name] : 0.0)" if base else "b.weight"
    total = f"{each}.map(b, has(b.weight) ? {gained} : 0.0).sum()"
    wanted = "0.0" if base else "1.0"
    return f"({total} <= {wanted} + {_WEIGHTS_TOLERANCE} && {total} >= {wanted} - {_WEIGHTS_TOLERANCE})"


def _inherited(name: str, base: Suite | None) -> str:
    return f"{name} in {_list(base.weights())}" if base else "false"


def _for_each_base(definition: str, condition: Callable[[Suite | None], str]) -> str:
    """A condition that depends on the extended suite; None: none is.  One that is not known meets it, and another rule."""
    parts = [f"(has({definition}.extends) || {condition(None)})"]
    for name in suites_of(Engine.VERL):
        other = f"!has({definition}.extends) || {definition}.extends != '{name}'"
        parts.append(f"({other} || {condition(SUITES[name])})")
    return f"({' && '.join(parts)})"


def _list(names: Iterable[str]) -> str:
    return "[" + ", ".join(f"'{name}'" for name in names) + "]"


def _rule(rule: str, message: str) -> JsonValue:
    return {"rule": rule, "message": message}

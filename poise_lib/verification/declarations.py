"""Read what a candidate declares (hyperparameters, mechanisms, needs) from its syntax tree, without running it.

The declarations therefore have to be literal.  The parent plans its probes by them, so it never has to believe what a
child says about itself.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from poise_lib.algorithms.allowed import MAX_HYPERPARAMETERS, MAX_MECHANISMS, MAX_TEXT
from poise_lib.algorithms.contract import AGGREGATIONS, NEEDS_ALLOWED, Family, Hyperparameter, Mechanism
from poise_lib.verification.violations import Code, Violation

FUNCTIONS: Final = {
    "advantages": ("batch", "hyper"),
    "policy_loss": ("inputs", "hyper"),
    "rewards": ("outcomes", "hyper"),
    "schedule": ("history", "hyper"),
}
"""Contract functions and what their two arguments are customarily called; the first two are required."""
_REQUIRED: Final = ("advantages", "policy_loss")


@dataclass(frozen=True, slots=True)
class Declarations:
    """What a candidate says about itself."""

    title: str
    aggregation: str
    needs: tuple[str, ...]
    hyperparameters: Mapping[str, Hyperparameter]
    mechanisms: tuple[Mechanism, ...]
    functions: frozenset[str]
    """Which of :data:`FUNCTIONS` it defines."""
    strings: frozenset[str]
    """Every string in its contract functions and what they call: a hyperparameter whose name is not among them is never
    read."""

    @property
    def hyper(self) -> dict[str, float]:
        """Every hyperparameter at its default."""
        return {name: declared.default for name, declared in self.hyperparameters.items()}


class _Refused(Exception):
    def __init__(self, node: ast.AST, message: str, hint: str) -> None:
        super().__init__(message)
        self.violation = Violation.at(node, Code.DECLARATION, message, hint)


def read_declarations(tree: ast.Module) -> tuple[Declarations | None, tuple[Violation, ...]]:
    """The declarations of a module that the static policy has passed, or what is wrong with them."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assigned = _assigned(tree)
    problems: list[Violation] = []

    def read(name: str, reader: Any, default: Any = None) -> Any:
        """``reader`` of the value assigned to ``name``; notes what is wrong and returns ``default``."""
        if name not in assigned:
            if default is None:
                problems.append(Violation(0, 0, Code.DECLARATION, f"{name} is missing", f"define {name} at the top"))
            return default
        try:
            return reader(assigned[name], assigned)
        except _Refused as refused:
            problems.append(refused.violation)
            return default

    title = read("TITLE", _text)
    read("SOURCE", _text, "")
    aggregation = read("AGGREGATION", _aggregation)
    needs = read("NEEDS", _needs, ())
    hyperparameters = read("HYPERPARAMETERS", _hyperparameters)
    mechanisms = read("MECHANISMS", _mechanisms)
    for name in _REQUIRED:
        if name not in functions:
            signature = f"def {name}({', '.join(FUNCTIONS[name])})"
            problems.append(Violation(0, 0, Code.DECLARATION, f"function {name} is missing", f"define {signature}"))
    for name in FUNCTIONS.keys() & functions.keys():
        problems.extend(_signature(functions[name]))
    for name in FUNCTIONS.keys() & assigned.keys():
        message, hint = f"{name} is assigned, not defined", f"write def {name}({', '.join(FUNCTIONS[name])})"
        problems.append(Violation.at(assigned[name], Code.DECLARATION, message, hint))
    if hyperparameters is not None and mechanisms is not None:
        problems.extend(_switches(assigned["MECHANISMS"], mechanisms, hyperparameters))
    if problems:
        return None, tuple(sorted(problems))
    return (
        Declarations(
            title=title,
            aggregation=aggregation,
            needs=needs,
            hyperparameters=hyperparameters,
            mechanisms=mechanisms,
            functions=frozenset(FUNCTIONS.keys() & functions.keys()),
            strings=_strings(functions),
        ),
        (),
    )


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """Name -> the expression that the module's top binds it to last."""
    found: dict[str, ast.expr] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign):
            found |= {target.id: node.value for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


_Names = Mapping[str, ast.expr]


def _text(node: ast.expr, names: _Names) -> str:
    value = _literal(node, names)
    if not isinstance(value, str) or not 0 <= len(value) <= MAX_TEXT:
        raise _Refused(node, "not a string", f"write a string of at most {MAX_TEXT} characters")
    return value


def _number(node: ast.expr, names: _Names) -> float:
    value = _literal(node, names)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise _Refused(node, "not a finite number", "write a plain number")
    return float(value)


def _literal(node: ast.expr, names: _Names, depth: int = 0) -> Any:
    """A literal, a sign or arithmetic on literals, or an earlier constant."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name) and node.id in names and depth < 8:
        return _literal(names[node.id], names, depth + 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_as_float(node.operand, names, depth)
    if isinstance(node, ast.BinOp):
        left, right = _as_float(node.left, names, depth), _as_float(node.right, names, depth)
        try:
            if isinstance(node.op, ast.Add):
                return left + right
            if isinstance(node.op, ast.Sub):
                return left - right
            if isinstance(node.op, ast.Mult):
                return left * right
            if isinstance(node.op, ast.Div):
                return left / right
        except ArithmeticError as error:
            raise _Refused(node, f"cannot be computed: {error}", "write the number") from error
    raise _Refused(node, "not a literal", "declarations are read without running the module: write literals")


def _as_float(node: ast.expr, names: _Names, depth: int) -> float:
    value = _literal(node, names, depth)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Refused(node, "arithmetic on something that is no number", "write the number")
    return float(value)


def _aggregation(node: ast.expr, names: _Names) -> str:
    value = _text(node, names)
    if value not in AGGREGATIONS:
        raise _Refused(node, f"AGGREGATION {value!r} is unknown", f"use one of {', '.join(AGGREGATIONS)}")
    return value


def _needs(node: ast.expr, names: _Names) -> tuple[str, ...]:
    if not isinstance(node, (ast.Tuple, ast.List)):
        raise _Refused(node, "NEEDS is not a tuple", 'write NEEDS = ("reference",)')
    values = tuple(_text(item, names) for item in node.elts)
    if unknown := sorted(set(values) - set(NEEDS_ALLOWED)):
        raise _Refused(node, f"NEEDS names {', '.join(unknown)}", f"allowed are {', '.join(NEEDS_ALLOWED)}")
    if len(set(values)) != len(values):
        raise _Refused(node, "NEEDS names something twice", "name each need once")
    return values


def _fields(node: ast.expr, constructor: str, order: tuple[str, ...]) -> dict[str, ast.expr]:
    """The arguments of ``constructor(...)`` by name."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == constructor):
        raise _Refused(node, f"not a {constructor}(...)", f"write {constructor}({', '.join(order)})")
    if len(node.args) > len(order):
        raise _Refused(node, f"{constructor} takes at most {len(order)} arguments", f"they are {', '.join(order)}")
    fields = dict(zip(order, node.args, strict=False))
    for keyword in node.keywords:
        if keyword.arg not in order or keyword.arg in fields:
            raise _Refused(node, f"{constructor} has no argument {keyword.arg!r} left", f"they are {', '.join(order)}")
        fields[keyword.arg] = keyword.value
    return fields


def _hyperparameters(node: ast.expr, names: _Names) -> dict[str, Hyperparameter]:
    if not isinstance(node, ast.Dict):
        raise _Refused(
            node, "HYPERPARAMETERS is not a dict", "write {'name': Hyperparameter(default, low, high, 'what')}"
        )
    if len(node.keys) > MAX_HYPERPARAMETERS:
        raise _Refused(node, f"{len(node.keys)} hyperparameters", f"at most {MAX_HYPERPARAMETERS} can be probed")
    found: dict[str, Hyperparameter] = {}
    for key, value in zip(node.keys, node.values, strict=True):
        if key is None:
            raise _Refused(node, "** in HYPERPARAMETERS", "write every entry out")
        name = _text(key, names)
        if not name.isidentifier() or name in found:
            raise _Refused(
                key, f"hyperparameter {name!r} is no identifier, or declared twice", "give each its own name"
            )
        fields = _fields(value, "Hyperparameter", ("default", "low", "high", "description"))
        if missing := [field for field in ("default", "low", "high") if field not in fields]:
            raise _Refused(value, f"{name}: {', '.join(missing)} missing", "give default, low and high")
        default, low, high = (_number(fields[field], names) for field in ("default", "low", "high"))
        if not low <= default <= high or low == high:
            raise _Refused(
                value, f"{name}: default {default:g} and range [{low:g}, {high:g}] do not fit", "low <= default <= high"
            )
        found[name] = Hyperparameter(default, low, high, _text(fields["description"], names) if len(fields) > 3 else "")
    return found


def _mechanisms(node: ast.expr, names: _Names) -> tuple[Mechanism, ...]:
    if not isinstance(node, (ast.Tuple, ast.List)):
        raise _Refused(node, "MECHANISMS is not a tuple", "write (Mechanism(...), Mechanism(...))")
    if not 1 <= len(node.elts) <= MAX_MECHANISMS:
        raise _Refused(node, f"{len(node.elts)} mechanisms", f"declare between 1 and {MAX_MECHANISMS}")
    found = []
    order = ("name", "family", "claim", "hyperparameter", "off")
    for item in node.elts:
        fields = _fields(item, "Mechanism", order)
        if missing := [field for field in order if field not in fields]:
            raise _Refused(item, f"Mechanism without {', '.join(missing)}", f"it takes {', '.join(order)}")
        name, claim, switch = (_text(fields[field], names) for field in ("name", "claim", "hyperparameter"))
        family = fields["family"]
        if not (isinstance(family, ast.Attribute) and family.attr in Family.__members__):
            raise _Refused(family, f"mechanism {name!r} has no family", "write Family.CORE_SIGNAL or another member")
        found.append(Mechanism(name, Family[family.attr], claim, switch, _number(fields["off"], names)))
    if len({mechanism.name for mechanism in found}) != len(found):
        raise _Refused(node, "two mechanisms have the same name", "give each its own")
    return tuple(found)


def _switches(
    node: ast.expr, mechanisms: tuple[Mechanism, ...], hyperparameters: Mapping[str, Hyperparameter]
) -> list[Violation]:
    """Each mechanism is switched by a declared hyperparameter, which is on by default, by its own value."""
    problems = []
    taken: dict[tuple[str, float], str] = {}
    for mechanism in mechanisms:
        declared = hyperparameters.get(mechanism.hyperparameter)
        if declared is None:
            message = f"mechanism {mechanism.name!r} is switched by undeclared {mechanism.hyperparameter!r}"
            problems.append(Violation.at(node, Code.DECLARATION, message, "name a key of HYPERPARAMETERS"))
        elif not declared.low <= mechanism.off <= declared.high:
            bounds = f"[{declared.low:g}, {declared.high:g}]"
            message = f"mechanism {mechanism.name!r}: off = {mechanism.off:g} lies outside {bounds}"
            problems.append(Violation.at(node, Code.DECLARATION, message, "widen the range, or choose another value"))
        elif mechanism.off == declared.default:
            message = f"mechanism {mechanism.name!r} is off by default ({mechanism.hyperparameter} = {mechanism.off:g})"
            problems.append(Violation.at(node, Code.DECLARATION, message, "let the default switch it on, or drop it"))
        switch = (mechanism.hyperparameter, mechanism.off)
        if switch in taken:
            message = (
                f"mechanisms {taken[switch]!r} and {mechanism.name!r} have one switch, {switch[0]} = {switch[1]:g}"
            )
            hint = "give each a hyperparameter of its own, so that each can be ablated alone; or declare one mechanism"
            problems.append(Violation.at(node, Code.DECLARATION, message, hint))
        taken.setdefault(switch, mechanism.name)
    return problems


def _signature(node: ast.FunctionDef) -> list[Violation]:
    arguments = node.args
    plain = not (arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.defaults)
    if plain and len(arguments.posonlyargs) + len(arguments.args) == 2:
        return []
    expected = f"def {node.name}({', '.join(FUNCTIONS[node.name])})"
    return [
        Violation.at(node, Code.DECLARATION, f"{node.name} does not take exactly two arguments", f"write {expected}")
    ]


def _strings(functions: Mapping[str, ast.FunctionDef]) -> frozenset[str]:
    """The strings that a call of a contract function may come across; docstrings and dead functions do not count."""
    found: set[str] = set()
    pending = [name for name in FUNCTIONS if name in functions]
    seen = set(pending)
    while pending:
        nodes = list(ast.walk(functions[pending.pop()]))
        idle = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in idle:
                found.add(node.value)
            elif isinstance(node, ast.Name) and node.id in functions and node.id not in seen:
                seen.add(node.id)
                pending.append(node.id)
    return frozenset(found)

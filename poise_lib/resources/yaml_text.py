"""YAML that strangers wrote, read with care: bounded, no duplicate keys, no objects, and every value knows its line.

Kubernetes reads manifests as YAML that stands for JSON; so does this module.  Scalars follow YAML 1.2 where 1.1
surprises (``5e-5`` is a number, ``2026-11-23`` stays text), keys are text, and JSON is a subset.  The text is scanned
for its size, depth and aliases before any tree is built, because a few hundred bytes of aliases can stand for
gigabytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from poise_lib.errors import InvalidInputError

MAX_BYTES: Final = 256 * 2**20
"""An export of 10,000 candidates of 24 KiB fits."""
MAX_DEPTH: Final = 64
MAX_ALIASES: Final = 100
MAX_EXPANDED: Final = 200_000
"""Values that one document may stand for once its aliases are followed."""

_CONTAINERS: Final = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_LoaderBase: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_LoaderBase):  # type: ignore[misc]
    """Safe scalars and containers only, with YAML 1.2's floats and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, pattern)
        for tag, pattern in resolvers
        if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float")
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^(?:[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)|[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class YamlDocument:
    """One document of a file: plain data, and the lines it came from."""

    index: int
    """From 1, counting documents that are not empty."""
    data: Any
    node: yaml.Node

    def line(self, path: tuple[str | int, ...] = ()) -> int:
        """Line (from 1) of the value at ``path``, or of its closest ancestor that was written."""
        node: yaml.Node = self.node
        line = node.start_mark.line
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return int(line) + 1


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == step:
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line, node.value[step]
    return None


def parse_yaml(text: str, origin: str) -> list[YamlDocument]:
    """Every document of ``text`` that is not empty.

    Args:
        text: YAML or JSON, one document or several separated by ``---``.
        origin: what messages call it, such as the file's name.

    Raises:
        InvalidInputError: the text is no YAML, repeats a key, or is beyond the bounds of this module.
    """
    try:
        _scan(text, origin)
        nodes = [node for node in yaml.compose_all(text, Loader=_Loader) if not _is_empty(node)]
    except yaml.MarkedYAMLError as error:
        raise InvalidInputError(f"{origin}{_place(error)}: not YAML: {_complaint(error)}") from None
    except yaml.YAMLError as error:
        raise InvalidInputError(f"{origin}: not YAML: {str(error).splitlines()[0]}") from None
    documents = []
    for index, node in enumerate(nodes, 1):
        _check_size(node, origin)
        documents.append(YamlDocument(index, _Builder(origin).build(node), node))
    return documents


def _is_empty(node: yaml.Node | None) -> bool:
    return node is None or (isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null")


def _scan(text: str, origin: str) -> None:
    """Refuse what could hurt the recursive composer: depth and aliases, counted on the flat stream of events."""
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        elif isinstance(event, yaml.DocumentStartEvent):
            aliases = 0
        line = event.start_mark.line + 1 if event.start_mark is not None else 1
        if depth > MAX_DEPTH:
            raise InvalidInputError(f"{origin}, line {line}: nested deeper than {MAX_DEPTH} levels; no resource is")
        if aliases > MAX_ALIASES:
            raise InvalidInputError(
                f"{origin}, line {line}: more than {MAX_ALIASES} aliases (*name); write the values out"
            )


def _check_size(node: yaml.Node, origin: str) -> None:
    """Refuse aliases that expand without end or beyond bounds, at the cost of one visit a node."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(current: yaml.Node) -> int:
        if isinstance(current, yaml.ScalarNode):
            return 1
        if id(current) in open_nodes:
            raise InvalidInputError(f"{origin}, line {current.start_mark.line + 1}: an alias contains itself")
        if id(current) not in sizes:
            open_nodes.add(id(current))
            sizes[id(current)] = 1 + sum(size(child) for child in _children(current))
            open_nodes.discard(id(current))
        return sizes[id(current)]

    if (total := size(node)) > MAX_EXPANDED:
        raise InvalidInputError(
            f"{origin}, line {node.start_mark.line + 1}: the document stands for {total:,} values; at most {MAX_EXPANDED:,}"
        )


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    for item in node.value:
        if isinstance(item, tuple):
            yield from item
        else:
            yield item


class _Builder:
    """Plain data from a tree of nodes; a key with nothing behind it counts as left out, as the API server has it."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._scalars = yaml.constructor.SafeConstructor()

    def build(self, node: yaml.Node) -> Any:
        """The data that ``node`` stands for."""
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _CONTAINERS:
            raise InvalidInputError(
                f"{self._origin}, line {node.start_mark.line + 1}: the tag {node.tag} has no place here"
            )
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item) for item in node.value]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        seen: dict[str, int] = {}
        built: dict[str, Any] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise InvalidInputError(f"{self._origin}, line {line}: a key must be text")
            if key.tag == "tag:yaml.org,2002:merge":
                raise InvalidInputError(
                    f"{self._origin}, line {line}: merge keys (<<) are not supported; write the values out"
                )
            if key.tag != "tag:yaml.org,2002:str":
                raise InvalidInputError(
                    f'{self._origin}, line {line}: a key must be text; put it in quotes: "{key.value}"'
                )
            name = str(key.value)
            if name in seen:
                raise InvalidInputError(
                    f"{self._origin}, line {line}: key {name!r} is given twice (first on line {seen[name]})"
                )
            seen[name] = line
            if (data := self.build(value)) is not None:
                built[name] = data
        return built

    def _scalar(self, node: yaml.Node) -> Any:
        line = node.start_mark.line + 1
        try:
            value = self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            raise InvalidInputError(
                f"{self._origin}, line {line}: {node.tag} cannot be read; use plain text or a number"
            ) from None
        if not isinstance(value, (str, int, float, type(None))):
            raise InvalidInputError(
                f"{self._origin}, line {line}: a {type(value).__name__} has no place in a manifest; use text"
            )
        return value


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _complaint(error: yaml.MarkedYAMLError) -> str:
    began = f" (begun on line {error.context_mark.line + 1})" if error.context and error.context_mark else ""
    parts = [part for part in (f"{error.context}{began}" if error.context else "", error.problem) if part]
    if any("tab" in part or "cannot start any token" in part for part in parts):
        parts.append("(tabs cannot indent YAML; use spaces)")
    return " ".join(parts) or "it cannot be read"

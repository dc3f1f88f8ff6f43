"""Templates to messages: one system and one user template a role, strict about what may be written raw.

A template writes nothing that came from outside: whatever an expression yields must be a number or
:class:`Trusted` text of our own, or Jinja stops with an error.  Data becomes trusted only by the filter ``data``, which fences
it, ``directive``, or ``name``, which lets object names and identifiers through and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal

from pydantic import BaseModel

from poise_lib.errors import EngineError
from poise_lib.prompts.context import Placed
from poise_lib.prompts.contract_text import contract_text, operations_text, policy_text
from poise_lib.prompts.fencing import fenced, fenced_directive, tag_for
from poise_lib.prompts.responses import (
    Answer,
    Code,
    Critique,
    Judgement,
    Plan,
    Principles,
    ProposalDraft,
    ReflectionDraft,
)

if TYPE_CHECKING:
    from jinja2 import Environment
    from jinja2.runtime import Context as JinjaContext


class Role(StrEnum):
    """What a model is asked to be."""

    PROPOSE = "propose"
    CRITIC = "critic"
    PLAN = "plan"
    CODE = "code"
    REPAIR = "repair"
    JUDGE = "judge"
    REFLECT = "reflect"
    PRINCIPLES = "principles"


ANSWERS: Final[Mapping[Role, type[Answer]]] = {
    Role.PROPOSE: ProposalDraft,
    Role.CRITIC: Critique,
    Role.PLAN: Plan,
    Role.CODE: Code,
    Role.REPAIR: Code,
    Role.JUDGE: Judgement,
    Role.REFLECT: ReflectionDraft,
    Role.PRINCIPLES: Principles,
}
"""What each role answers with."""

_FOLDER: Final = "templates"
_SHARED: Final = ("trust.j2", "contract.j2", "tags.j2", "pieces.j2")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9 .,;:+\-_/@()'%=]")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,127}")


class Trusted(str):
    """Text that may stand in a prompt as it is: ours, or fenced."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """What to send, what to expect, and what made it."""

    role: Role
    version: str
    """See :func:`prompt_version`; kept with whatever comes of the answer."""
    messages: tuple[Message, ...]
    answer: type[Answer]
    tokens: int
    """An estimate, from above."""
    shortened: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()
    """Pieces of the context that stand there shortened, and those that found no room."""

    @property
    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer."""
        return self.answer.model_json_schema()


def render(role: Role, values: Mapping[str, Any], data: Iterable[str]) -> tuple[Message, ...]:
    """The messages of a role.

    Args:
        role: whose templates.
        values: what they use; every text that is no :class:`Trusted` has to pass a filter there.
        data: every text from outside that the templates show: the tag is made over these.

    Raises:
        EngineError: Jinja2 is not installed.
    """
    tag = tag_for([*data, *_texts(values)])
    environment = _environment()
    given = {
        **values,
        "fence_tag": tag,
        "contract_text": Trusted(contract_text()),
        "operations_text": Trusted(operations_text()),
        "policy_text": Trusted(policy_text()),
        "shape": Trusted(_shape(ANSWERS[role])),
    }
    system = environment.get_template(f"{role.value}.system.j2").render(given)
    user = environment.get_template(f"{role.value}.user.j2").render(given)
    return (Message("system", system.strip() + "\n"), Message("user", user.strip() + "\n"))


@cache
def prompt_version(role: Role) -> str:
    """Digest over a role's templates, the contract that they quote and the schema of its answer."""
    return "sha256:" + _digest(_parts(role))


@cache
def prompts_version() -> str:
    """Digest over all roles: what a Candidate keeps."""
    return "sha256:" + _digest(f"{role.value}:{prompt_version(role)}" for role in Role)


def _parts(role: Role) -> Iterator[str]:
    for name in (f"{role.value}.system.j2", f"{role.value}.user.j2", *_SHARED):
        yield f"{name}\0{_template(name)}"
    yield contract_text()
    yield operations_text()
    yield policy_text()
    yield json.dumps(ANSWERS[role].model_json_schema(), sort_keys=True)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{len(part)}:".encode())
        digest.update(part.encode())
    return digest.hexdigest()


def _template(name: str) -> str:
    return (resources.files("poise_lib.prompts") / _FOLDER / name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined, pass_context
    except ImportError as error:
        raise EngineError(
            "jinja2: not installed; pip install 'poise-operator[llm]' brings what prompts need"
        ) from error

    @pass_context
    def data(context: JinjaContext, text: object, kind: str) -> Trusted:
        return Trusted(fenced(str(text), kind, context["fence_tag"]))

    @pass_context
    def directive(context: JinjaContext, text: object) -> Trusted:
        return Trusted(fenced_directive(str(text), context["fence_tag"]))

    @pass_context
    def piece(context: JinjaContext, item: Placed) -> Trusted:
        return block(item, context["fence_tag"])

    def name(text: object) -> Trusted:
        if not _NAME.fullmatch(str(text)):
            raise ValueError("only names and identifiers may stand in a prompt unfenced")
        return Trusted(text)

    # Nothing here is HTML; what autoescape does for pages, `finalize` and the fences do for prompts.
    environment = Environment(
        loader=FunctionLoader(_template),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(data=data, directive=directive, name=name, piece=piece)
    return environment


def label(text: str) -> Trusted:
    """A line of ours that holds names from outside (of candidates, papers): letters that could start markup are replaced."""
    return Trusted(_UNSAFE.sub("?", text)[:300])


def block(item: Placed, tag: str) -> Trusted:
    """A piece as it stands in a prompt: a heading, why it is shown, and its text fenced."""
    piece = item.piece
    lines = [f"### {label(piece.kind)}: {label(piece.key)}"]
    if piece.why:
        lines.append(label(piece.why))
    if item.form.left_out:
        lines.append(label(f"Left out for want of room: {item.form.left_out}."))
    text = item.form.text
    lines.append(fenced_directive(text, tag) if piece.directive else fenced(text, label(piece.kind), tag))
    return Trusted("\n".join(lines))


def _finalize(value: object) -> object:
    """Let through what is trusted; anything else in a template is a fault of ours, and better seen than sent."""
    from jinja2 import Undefined

    if isinstance(value, (Trusted, int, float, Undefined)):  # an undefined value complains when it is written
        return value
    raise TypeError(f"a template writes a {type(value).__name__} that passed no filter")


def _texts(value: object) -> Iterator[str]:
    """Every text within a value, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        yield from _texts(value.model_dump())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from _texts(item)


def _shape(answer: type[Answer]) -> str:
    """The answer's fields as an indented list, for endpoints that do not enforce a schema."""
    schema = answer.model_json_schema()
    return "\n".join(_fields(schema, schema.get("$defs", {}), 0))


def _fields(schema: Mapping[str, Any], known: Mapping[str, Any], depth: int) -> Iterator[str]:
    required = set(schema.get("required", ()))
    for name, field in schema.get("properties", {}).items():
        inner, kind = _kind(field, known)
        optional = "" if name in required else ", optional"
        described = field.get("description", "")
        yield f"{'  ' * depth}- {name} ({kind}{optional}): {described}"
        if inner is not None:
            yield from _fields(inner, known, depth + 1)


def _kind(field: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str]:
    """The object within a field, if it is one or a list of them, and a word for its type."""
    if "$ref" in field:
        target = known[field["$ref"].rpartition("/")[2]]
        if "enum" in target:
            return None, "one of " + ", ".join(str(value) for value in target["enum"])
        return target, "object"
    if "enum" in field:
        return None, "one of " + ", ".join(str(value) for value in field["enum"])
    if field.get("type") == "array":
        inner, kind = _kind(field.get("items", {}), known)
        return inner, f"list of {kind}"
    return None, str(field.get("type", "value"))

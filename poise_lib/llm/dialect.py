"""What one server takes and another refuses: found out by its refusals, one step at a time, and then kept to.

A request begins with everything a good server has.  When it is refused for one of these things, the thing is left out or
said in the older way (:func:`simpler`).  Each step takes something away, so there is an end to it; refusals cost nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal

from pydantic import BaseModel

from poise_lib.llm.schema import response_format, schema_text
from poise_lib.resources.llm import StructuredOutput, SystemPrompt


class Structure(StrEnum):
    """How an answer is made to fit; each is less strict than the one before."""

    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


_LOOSER: Final = {Structure.JSON_SCHEMA: Structure.JSON_OBJECT, Structure.JSON_OBJECT: Structure.TEXT}
_FIRST: Final = {
    StructuredOutput.AUTO: Structure.JSON_SCHEMA,
    StructuredOutput.JSON_SCHEMA: Structure.JSON_SCHEMA,
    StructuredOutput.JSON_OBJECT: Structure.JSON_OBJECT,
    StructuredOutput.TEXT: Structure.TEXT,
}


SCHEMA_WORDS: Final = (
    "\n\nAnswer with one JSON object and nothing else. It must be valid JSON and fit this JSON schema:\n"
)
"""Before the schema, where it is said in words; the schema ends the message."""
REPAIR_WORDS: Final = " It must fit this JSON schema:\n"
"""The same in a repair where the schema goes beside the messages."""


@dataclass(frozen=True)
class Message:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Dialect:
    """How a request is written for one server and model."""

    structure: Structure
    may_loosen: bool
    system: bool
    """Whether there are system messages."""
    may_drop_system: bool
    temperature: float | None
    limit_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """The newer name, which reasoning models insist on, or the older."""
    stream: bool = True
    stream_usage: bool = True

    @classmethod
    def first(
        cls, structured: StructuredOutput, system: SystemPrompt, temperature: float | None, *, stream: bool
    ) -> Dialect:
        """What is tried first with these settings."""
        return cls(
            structure=_FIRST[structured],
            may_loosen=structured is StructuredOutput.AUTO,
            system=system is not SystemPrompt.USER,
            may_drop_system=system is SystemPrompt.AUTO,
            temperature=temperature,
            stream=stream,
        )

    def request(self, model: str, messages: Sequence[Message], answer: type[BaseModel], limit: int) -> dict[str, Any]:
        """The body of a request.

        Args:
            model: as the server knows it.
            messages: of the conversation so far.
            answer: what is asked for.
            limit: tokens of the answer at most.
        """
        if self.structure is not Structure.JSON_SCHEMA:
            messages = with_schema(messages, answer)
        written = messages if self.system else without_system(messages)
        body: dict[str, Any] = {
            "model": model,
            "messages": [{"role": message.role, "content": _sendable(message.content)} for message in written],
            self.limit_field: limit,
        }
        if self.temperature is not None:
            body["temperature"] = self.temperature
        if self.structure is Structure.JSON_SCHEMA:
            body["response_format"] = response_format(answer)
        elif self.structure is Structure.JSON_OBJECT:
            body["response_format"] = {"type": "json_object"}
        if self.stream:
            body["stream"] = True
            if self.stream_usage:
                body["stream_options"] = {"include_usage": True}
        return body


def _sendable(text: str) -> str:
    """Text that UTF-8 can carry: an answer that is sent back may hold half a surrogate pair."""
    return text.encode("utf-8", "replace").decode()


def with_schema(messages: Sequence[Message], answer: type[BaseModel]) -> list[Message]:
    """The messages with the schema said in words at the end of the last one (which JSON mode wants too)."""
    *before, last = messages
    return [*before, replace(last, content=last.content + SCHEMA_WORDS + schema_text(answer))]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """The messages with what the system says put at the head of the user's first."""
    told = [message.content for message in messages if message.role == "system"]
    rest = [message for message in messages if message.role != "system"]
    if not told:
        return rest
    head = "\n\n".join(told)
    if rest and rest[0].role == "user":
        return [replace(rest[0], content=f"{head}\n\n{rest[0].content}"), *rest[1:]]
    return [Message("user", head), *rest]


def simpler(dialect: Dialect, complaint: str) -> Dialect | None:
    """The dialect without what the server complains of; None when nothing that it names can be left out.

    Args:
        dialect: that was refused.
        complaint: the server's words, and the name of the parameter where it gives one.
    """
    text = complaint.lower()
    if dialect.stream_usage and dialect.stream and re.search(r"stream_options|include_usage", text):
        return replace(dialect, stream_usage=False)
    if dialect.stream and re.search(r"\bstream(ing)?\b", text):
        return replace(dialect, stream=False)
    if re.search(r"max_(completion_)?tokens", text) and _unknown(text):
        # A complaint that names the field in use, or advises the other one.
        if dialect.limit_field == "max_completion_tokens" and "max_completion_tokens" in text:
            return replace(dialect, limit_field="max_tokens")
        return None
    if dialect.temperature is not None and "temperature" in text:
        return replace(dialect, temperature=None)
    if _about_structure(text) and dialect.may_loosen and dialect.structure in _LOOSER:
        return replace(dialect, structure=_LOOSER[dialect.structure])
    if (
        dialect.system
        and dialect.may_drop_system
        and re.search(
            r"system (role|message|prompt|instruction)|developer instruction|role.{0,20}system|roles must alternate",
            text,
        )
    ):
        return replace(dialect, system=False)
    return None


def loosened(dialect: Dialect) -> Dialect | None:
    """One step less strict, for a refusal that names nothing; None when the settings or the ladder end here."""
    if not dialect.may_loosen or dialect.structure not in _LOOSER:
        return None
    return replace(dialect, structure=_LOOSER[dialect.structure])


def _unknown(text: str) -> bool:
    return (
        re.search(r"unsupported|unrecogni[sz]ed|unknown|unexpected|not (supported|permitted|allowed)|extra", text)
        is not None
    )


def _about_structure(text: str) -> bool:
    return (
        re.search(r"response_?format|json_?schema|json_?object|json mode|structured output|grammar|guided", text)
        is not None
    )

"""What a request asks for: its digest, its schema, its role, and the pieces that its prompt shows."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any, Final

Document = dict[str, Any]

_ENDS: Final = {
    "Propose one algorithm along your direction.": "propose",
    "Review the proposal.": "critic",
    "Plan the module of the proposal.": "plan",
    "Write the whole module of the proposal.": "code",
    "Write the whole module again, repaired.": "repair",
    "Compare the module with the proposal.": "judge",
    "Explain the run of the child against that of its parent.": "reflect",
    "State the principles that this archive supports.": "principles",
    'Say that you are ready: {"ready": true}': "check",
}
"""The last line of each role's prompt, which stands there in every dialect."""
_HEADING: Final = re.compile(r"### ([^:\n]+): (.+)")
_OPENING: Final = re.compile(r"<data-([0-9a-f]+) kind=.*>")


@dataclass(frozen=True)
class Shown:
    """A piece of a prompt."""

    kind: str
    key: str
    text: str


def digest(request: Document) -> int:
    """A number that stands for what is asked: model and messages, not how the wire is used."""
    kept = {"model": request.get("model"), "messages": request.get("messages")}
    return int.from_bytes(hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).digest()[:8], "big")


def schema_of(request: Document) -> Document | None:
    """The schema that an answer is wanted for: from ``response_format``, else from the words of the last message."""
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        found: Document = form["json_schema"]["schema"]
        return found
    for message in reversed(request.get("messages") or []):
        for line in str(message.get("content") or "").splitlines():
            if line.startswith('{"') and '"properties"' in line:
                try:
                    said: Document = json.loads(line)
                except ValueError:
                    continue
                return said
    return None


def prompt_of(request: Document) -> str:
    """The first message of the user, after which come only complaints about answers."""
    messages = request.get("messages") or []
    return next((str(message.get("content") or "") for message in messages if message.get("role") == "user"), "")


def role_of(request: Document) -> str:
    """The role that is asked; empty when it is none of POISE's."""
    lines = {line.strip() for line in prompt_of(request).splitlines()}
    return next((role for end, role in _ENDS.items() if end in lines), "")


def pieces(request: Document) -> list[Shown]:
    """What the prompt shows, in its order."""
    found: list[Shown] = []
    heading, end, body = None, "", [""]
    for line in prompt_of(request).split("\n"):
        if end:
            if line == end and heading is not None:
                found.append(Shown(heading[1], heading[2], "\n".join(body)))
                heading, end = None, ""
            else:
                body.append(line)
        elif (opening := _OPENING.fullmatch(line)) is not None and heading is not None:
            end, body = f"</data-{opening[1]}>", []
        else:
            heading = _HEADING.fullmatch(line) or heading
    return found


def piece(request: Document, kind: str) -> str:
    """The text of the first piece of a kind; empty when there is none."""
    return next((shown.text for shown in pieces(request) if shown.kind == kind), "")

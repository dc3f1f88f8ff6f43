"""What a failed call means: try again, ask otherwise, or stop with one clear message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from poise_lib.llm.config import ClientConfig
from poise_lib.llm.dialect import Dialect
from poise_lib.llm.errors import (
    LLMError,
    Overloaded,
    PromptTooLong,
    QuotaSpent,
    RequestRefused,
    ServerFailed,
    UnknownModel,
    Unreachable,
    WrongEndpoint,
    WrongKey,
)
from poise_lib.llm.transcript import shown_url
from poise_lib.llm.wire import NoReply, NotSent, Rejected
from poise_lib.resources.messages import closest

REJECTED: Final = "rejected"
NOT_SENT: Final = "not-sent"
BROKEN: Final = "broken"
"""Kinds of failures in a transcript."""
NOT_RECORDED: Final = "poise_not_recorded"
"""Code of a replay's refusal: no transcript has what it was asked."""


class Failure(Enum):
    """What to do about it."""

    REPEAT = auto()
    """The same again may work."""
    REFUSED = auto()
    """The request has something that the server does not take."""
    LASTING = auto()
    """Nothing that a program can do."""


@dataclass(frozen=True)
class Advice:
    """The error to raise when that is the end."""

    kind: type[LLMError]
    message: str


def describe(error: NoReply) -> str:
    """The failure in a transcript."""
    return f"status {error.status}: {error.complaint}" if isinstance(error, Rejected) else str(error)


def recorded(error: NoReply, config: ClientConfig) -> dict[str, Any]:
    """The failure for a replay: what is needed to fail in the same way again.

    A wait that was waited for is left out: a replay has no need of it.  One beyond all patience ended the question.
    """
    if isinstance(error, Rejected):
        told = {"kind": REJECTED, "status": error.status, "code": error.code, "complaint": error.complaint}
        wait = error.retry_after
        return {**told, "retryAfter": wait} if wait is not None and wait > config.backoff.patience else told
    return {"kind": NOT_SENT if isinstance(error, NotSent) else BROKEN}


def judge(error: NoReply, config: ClientConfig, dialect: Dialect, listed: Sequence[str] = ()) -> tuple[Failure, Advice]:
    """What a failure means.

    Args:
        error: the failure.
        config: of the client, for messages.
        dialect: that the request was written in.
        listed: models that the server has said it has.
    """
    where = shown_url(config.base_url)
    if isinstance(error, NotSent):
        message = (
            f"{where} cannot be reached: {error}; check proposer.llm.baseURL (or OPENAI_BASE_URL), that the server runs, and "
            "that the network lets this process reach it"
        )
        return Failure.REPEAT, Advice(Unreachable, message)
    if not isinstance(error, Rejected):
        message = f"{where} gave no whole answer in {config.max_retries + 1} calls; last: {error}"
        return Failure.REPEAT, Advice(
            ServerFailed, message + "; see the server's log, or raise proposer.llm.maxRetries"
        )
    return _rejected(error, config, dialect, where, listed)


def _rejected(
    error: Rejected, config: ClientConfig, dialect: Dialect, where: str, listed: Sequence[str]
) -> tuple[Failure, Advice]:
    if error.code == NOT_RECORDED:
        return Failure.LASTING, Advice(RequestRefused, f"the replay has no answer: {error.complaint}")
    said, text = f"it says: {error.complaint}", f"{error.complaint} {error.code}".lower()
    if error.status == 402 or re.search(r"insufficient_quota|insufficient (balance|credit|funds)", text):
        message = f"the account behind the API key has no credit left at {where}; top it up or give another key; {said}"
        return Failure.LASTING, Advice(QuotaSpent, message)
    if error.status in (429, 503, 529):
        asked = f" and asks to wait {error.retry_after:.0f} s" if error.retry_after is not None else ""
        message = (
            f"{where} is overloaded or limits the rate{asked}; try later, lower proposer.llm.concurrency, or raise "
            f"proposer.llm.maxRetries; {said}"
        )
        return Failure.REPEAT, Advice(Overloaded, message)
    if error.status in (400, 403, 404, 422) and _about_model(text, config.model):
        hint = closest(config.model, listed)
        known = f"; did you mean {hint}?" if hint else f"; it has {', '.join(listed[:8])}" if listed else ""
        message = f"{where} has no model {config.model!r} for this key: correct proposer.llm.model{known}; {said}"
        return Failure.LASTING, Advice(UnknownModel, message)
    if error.status in (401, 403) or (error.status == 400 and _about_key(text)):
        key = "the API key" if config.key else "no API key was given, and the server wants one: the key"
        message = (
            f"{where} does not accept {key}: set the right one in the Secret of proposer.llm.secretRef, or in "
            f"OPENAI_API_KEY on one machine; {said}"
        )
        return Failure.LASTING, Advice(WrongKey, message)
    if error.status in (404, 405):
        message = f"{where} is no chat-completions API: proposer.llm.baseURL usually ends with /v1; {said}"
        return Failure.LASTING, Advice(WrongEndpoint, message)
    if error.status == 413 or _too_long(text):
        message = (
            f"the prompt and an answer of {config.max_output_tokens} tokens do not fit the context of model "
            f"{config.model!r}: lower proposer.llm.contextTokens or maxOutputTokens; {said}"
        )
        return Failure.LASTING, Advice(PromptTooLong, message)
    refused = Advice(
        RequestRefused, f"{where} refuses the request for model {config.model!r} (status {error.status}); {said}"
    )
    if error.status in (400, 415, 422, 501):
        return Failure.REFUSED, refused
    if error.status == 500 and dialect.system and re.search(r"system (role|message)|jinja|chat template", text):
        return Failure.REFUSED, refused  # a template that raises is a 500 with some servers
    if error.status >= 500 or error.status in (408, 409, 425):
        message = (
            f"{where} failed in {config.max_retries + 1} calls (status {error.status}); see the server's log, or raise "
            f"proposer.llm.maxRetries; {said}"
        )
        return Failure.REPEAT, Advice(ServerFailed, message)
    return Failure.LASTING, refused


def _about_key(text: str) -> bool:
    """Some servers call a wrong key a bad request."""
    return (
        re.search(r"api[ _-]?key.{0,40}(not valid|invalid|incorrect)|(invalid|incorrect) api[ _-]?key", text)
        is not None
    )


def _about_model(text: str, model: str) -> bool:
    """Whether it is the model's name that is wrong, not something that the model cannot do."""
    if re.search(r"response_?format|json|temperature|tokens|stream|role", text):
        return False
    if "model_not_found" in text or "model not found" in text:
        return True
    name = re.escape(model.lower())
    named = rf"model[^.]{{0,20}}{name}|{name}"
    missing = (
        r"does not exist|not found|no such|unknown|is not a valid model|not (have|available)|do(es)? not have access"
    )
    return re.search(named, text) is not None and re.search(missing, text) is not None


def _too_long(text: str) -> bool:
    return (
        re.search(
            r"context_length_exceeded|(maximum )?context (length|window|size)|too many tokens|prompt is too long", text
        )
        is not None
    )

"""One call on the wire, by the openai SDK: a whole reply, or one of three ways in which there is none.

The SDK's own repeats are off: each call has to be in the ledger before it is sent.  Whatever a server sends is looked at
with suspicion: wrong types, half a stream, a page of HTML with status 200.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

import openai

from poise_lib.llm.config import ClientConfig

TASK_HEADER: Final = "X-Poise-Task"
"""Digest of the task's input; sent to a replay only."""
_BYTES_A_TOKEN: Final = 64
"""Beyond this times the limit an answer is not read on: a server that streams for ever would fill the memory."""
_NEVER_SENT: Final = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "InvalidURL"})
"""Errors of the HTTP library (by name: SDKs differ in which library that is) before anything of the request was sent."""


@dataclass(frozen=True)
class Reply:
    """An answer that came whole."""

    content: str = ""
    reasoning: str = ""
    refusal: str = ""
    finish: str = ""
    usage: Mapping[str, Any] | None = None

    @property
    def received(self) -> str:
        """Everything that was generated, as far as it is shown."""
        return self.content + self.reasoning + self.refusal


class NoReply(Exception):
    """There is no answer; the message says why, in the server's words where it has any."""


class NotSent(NoReply):
    """No connection: the server never saw the request."""


class Broken(NoReply):
    """Cut, silent for too long, or no chat completion: how much the model did is unknown.

    ``received`` is what came before the end, where it was read.
    """

    def __init__(self, message: str, received: str = "") -> None:
        super().__init__(message)
        self.received = received


class Rejected(NoReply):
    """The server answered with an error."""

    def __init__(self, status: int, complaint: str, code: str = "", retry_after: float | None = None) -> None:
        super().__init__(complaint)
        self.status = status
        self.complaint = complaint
        self.code = code
        self.retry_after = retry_after

    @property
    def free(self) -> bool:
        """Whether the model did nothing for certain: refused outright, or for want of capacity."""
        return self.status < 500 or self.status in (503, 529)


def sdk_client(config: ClientConfig) -> openai.AsyncOpenAI:
    """The SDK's client for these settings.  A server without keys gets one that means nothing."""
    return openai.AsyncOpenAI(
        api_key=config.key or "none",
        base_url=config.replay_url or config.base_url,
        max_retries=0,
        timeout=openai.Timeout(
            config.timeout,
            connect=config.connect_timeout,
            read=config.idle_timeout if config.stream else config.timeout,
        ),
    )


async def send(
    sdk: openai.AsyncOpenAI,
    body: Mapping[str, Any],
    limit: int,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request and read its whole answer.

    Args:
        sdk: from :func:`sdk_client`.
        body: of the request.
        limit: tokens of the answer at most.
        timeout: seconds for all of it.
        headers: that this request has beside the usual ones.

    Raises:
        NoReply: there is no whole answer; one of its three kinds.
    """
    parts = _Parts()
    if headers:
        body = {**body, "extra_headers": dict(headers)}
    try:
        async with asyncio.timeout(timeout):
            if body.get("stream"):
                return await _streamed(sdk, body, limit, parts)
            raw = await sdk.chat.completions.with_raw_response.create(**cast(Any, body))
            return _completion(raw.text)
    except Broken as error:
        error.received = parts.reply().received
        raise
    except Exception as error:
        failed = _no_reply(error)
        if isinstance(failed, Broken):
            failed.received = parts.reply().received
        raise failed from error


async def list_models(sdk: openai.AsyncOpenAI) -> tuple[str, ...]:
    """Names of the models that the server lists; none when the list cannot be read.

    Raises:
        NoReply: there is no list.
    """
    try:
        raw = await sdk.models.with_raw_response.list()
        document = json.loads(raw.text)
    except Exception as error:
        raise _no_reply(error) from error
    items = document.get("data") if isinstance(document, dict) else None
    names = [item.get("id") for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    return tuple(name for name in names if isinstance(name, str))


def _no_reply(error: Exception) -> NoReply:
    """What an exception of the SDK, of the HTTP library below it, or of reading what came, means."""
    if isinstance(error, openai.APIStatusError):
        complaint, code = _complaint(error)
        return Rejected(error.status_code, complaint, code, _retry_after(error.response.headers))
    cause = error.__cause__ or error.__context__
    if isinstance(error, openai.APIConnectionError):
        names = {type(one).__name__ for one in (error, cause, getattr(cause, "__cause__", None))}
        why = str(cause) or type(cause).__name__ if cause is not None else str(error)
        if names & _NEVER_SENT:
            return NotSent(why)
        if isinstance(error, openai.APITimeoutError):
            return Broken("the server was silent for longer than proposer.llm.idleTimeout")
        return Broken(f"the connection was lost: {why}")
    if isinstance(error, TimeoutError):
        return Broken("the call took longer than proposer.llm.timeout")
    if isinstance(error, openai.APIError):
        return Broken(f"the server reported an error within its answer: {error.message}")
    if type(error).__name__ in _NEVER_SENT:
        return NotSent(str(error))
    return Broken(f"the answer is no chat completion: {type(error).__name__}: {str(error)[:200]}")


async def _streamed(sdk: openai.AsyncOpenAI, body: Mapping[str, Any], limit: int, parts: _Parts) -> Reply:
    """Read a stream into ``parts``, which whoever called has even when this is cut off."""
    stream = cast(Any, await sdk.chat.completions.create(**cast(Any, body)))
    try:
        kind = str(stream.response.headers.get("content-type", ""))
        if "event-stream" not in kind:  # it took no notice of `stream`
            await stream.response.aread()
            return _completion(stream.response.text)
        async for chunk in stream:
            parts.add(chunk)
            if parts.size > _BYTES_A_TOKEN * limit:
                raise Broken(
                    f"the answer went on beyond any sense: {parts.size:,} characters for a limit of {limit:,} tokens"
                )
    finally:
        await stream.close()
    if not parts.finish and parts.usage is None:
        raise Broken("the stream ended in the middle of the answer")
    return parts.reply()


@dataclass
class _Parts:
    """What has come of a streamed answer so far."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Mapping[str, Any] | None = None
    size: int = 0

    def add(self, chunk: Any) -> None:
        """Take one more piece."""
        self.usage = _mapping(_get(chunk, "usage")) or self.usage
        choices = _get(chunk, "choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        for name, text in _texts(_get(choice, "delta")).items():
            getattr(self, name).append(text)
            self.size += len(text)
        if isinstance(reason := _get(choice, "finish_reason"), str):
            self.finish = reason

    def reply(self) -> Reply:
        """All of it."""
        content, reasoning, refusal = ("".join(part) for part in (self.content, self.reasoning, self.refusal))
        return Reply(content, reasoning, refusal, self.finish, self.usage)


def _completion(text: str) -> Reply:
    """A reply from the body of an answer that was not streamed."""
    document = json.loads(text)
    choices = document.get("choices") if isinstance(document, dict) else None
    if not isinstance(choices, list):
        raise Broken(f"the answer is no chat completion: {text[:200]!r}")
    choice = choices[0] if choices else None
    finish = _get(choice, "finish_reason")
    return Reply(
        **_texts(_get(choice, "message")),
        finish=finish if isinstance(finish, str) else "",
        usage=_mapping(document.get("usage")),
    )


def _texts(message: Any) -> dict[str, str]:
    """Content, reasoning and refusal of a message or of a piece of one; reasoning has two names."""
    reasoning = _text(_get(message, "reasoning_content")) or _text(_get(message, "reasoning"))
    return {
        "content": _text(_get(message, "content")),
        "reasoning": reasoning,
        "refusal": _text(_get(message, "refusal")),
    }


def _text(value: Any) -> str:
    """Text, or the joined texts of a list of parts."""
    if isinstance(value, list):
        return "".join(_text(_get(part, "text")) for part in value)
    return value if isinstance(value, str) else ""


def _get(holder: Any, name: str) -> Any:
    return holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)


def _mapping(value: Any) -> Mapping[str, Any] | None:
    """Usage as the server wrote it; the SDK's model of it keeps wrong types as they are."""
    if isinstance(value, Mapping):
        return dict(value)
    if value is None or not hasattr(value, "model_dump"):
        return None
    return cast(Mapping[str, Any], value.model_dump(mode="python", warnings=False, exclude_unset=True))


def _complaint(error: openai.APIStatusError) -> tuple[str, str]:
    """The server's words with the parameter that it names, and its code."""
    body = error.body
    if isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]  # the SDK takes this off only where it is the whole
    words, code = "", ""
    if isinstance(body, Mapping):
        found = body.get("message") or body.get("detail") or body.get("error") or ""
        words = found if isinstance(found, str) else json.dumps(found, default=str)
        code = str(body.get("code") or body.get("type") or "")
        parameter = body.get("param")
        if isinstance(parameter, str) and parameter not in words:
            words += f" (parameter {parameter})"
    elif isinstance(body, str):
        words = body
    return " ".join((words or error.response.reason_phrase or "no message").split())[:600], code


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    for name, divisor in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            wait = float(value) / divisor
        except ValueError:
            parsed = email.utils.parsedate_tz(value)
            if parsed is None:
                continue
            wait = email.utils.mktime_tz(parsed) - time.time()
        if wait == wait:  # not NaN
            return max(0.0, wait)
    return None

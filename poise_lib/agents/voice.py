"""How an operator asks: one prompt in, a checked answer out; the exchange is kept whether it succeeds or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from poise_lib.errors import EngineError
from poise_lib.llm.dialect import Message
from poise_lib.llm.errors import AllotmentSpent, LLMError
from poise_lib.llm.transcript import Transcript
from poise_lib.prompts import Prompt
from poise_lib.prompts.responses import Answer

if TYPE_CHECKING:
    from poise_lib.llm.client import Client
    from poise_lib.llm.purse import Purse
    from poise_lib.resources.llm import LLMSettings

A = TypeVar("A", bound=Answer)
T = TypeVar("T")

_SHORTEST_KEY: Final = 12
"""A shorter key is a placeholder such as ``none`` or ``test``, which an answer may well contain."""


@dataclass(frozen=True)
class Said(Generic[A]):
    """An answer, and the digest of the exchange that it comes from."""

    value: A
    transcript: str


@dataclass
class Voice:
    """Asks one model on behalf of one task.

    Args:
        client: of the model.
        purse: pays.
        budget: tokens of a prompt.
        keep: stores an artifact, returns its digest.
        report: tells how far it has come.
    """

    client: Client
    purse: Purse
    budget: int
    keep: Callable[[bytes], str]
    report: Callable[[dict[str, Any]], None]
    transcripts: list[str] = field(default_factory=list)
    """Of all questions, also of those that came to nothing, each once."""
    _asked: int = 0
    _answered: int = 0

    async def ask(self, prompt: Prompt, answer: type[A]) -> Said[A]:
        """The answer to a prompt.

        Args:
            prompt: asks for ``answer``.
            answer: the prompt's own, again, for the type checker.

        Raises:
            LLMError: there is none; what was tried is kept all the same.
        """
        if prompt.answer is not answer:
            raise TypeError(f"{prompt.role} answers with {prompt.answer.__name__}, not with {answer.__name__}")
        self._tell(prompt.role.value, asked=1)
        messages = [Message(message.role, message.content) for message in prompt.messages]
        try:
            found = await self.client.ask(messages, answer, self.purse, self._leak)
        except LLMError as error:
            if error.transcript is not None:
                self.hold(error.transcript)
            raise
        finally:
            self._tell(prompt.role.value, answered=1)
        return Said(found.value, self.hold(found.transcript))

    def hold(self, transcript: Transcript) -> str:
        """Keep an exchange; one without calls is none.  Returns its digest, empty for none."""
        if not transcript.exchanges:
            return ""
        digest = self.keep(transcript.to_bytes())
        if digest not in self.transcripts:
            self.transcripts.append(digest)
        return digest

    def _leak(self, value: Answer) -> str | None:
        """A server knows the key, and what it answers ends up in objects that many may read."""
        key = self.client.config.key
        return "it repeats the API key" if len(key) >= _SHORTEST_KEY and key in value.model_dump_json() else None

    def _tell(self, role: str, *, asked: int = 0, answered: int = 0) -> None:
        self._asked += asked
        self._answered += answered
        self.report({"role": role, "asked": self._asked, "answered": self._answered})


async def together(questions: Sequence[Callable[[], Coroutine[Any, Any, T]]]) -> list[T | LLMError]:
    """All questions at once, as many as the client lets through; the errors of those that came to nothing in their places.

    Calls that are in flight hold their worst case of the allotment.  A question that found too little left is put again
    when the others have settled, one after the other.

    Raises:
        Exception: whatever is no failure of the model.
    """
    found = cast(list[T | BaseException], await asyncio.gather(*(ask() for ask in questions), return_exceptions=True))
    results: list[T | LLMError] = []
    for number, result in enumerate(found):
        if isinstance(result, AllotmentSpent) and len(questions) > 1:
            try:
                results.append(await questions[number]())
            except LLMError as error:
                results.append(error)
        elif isinstance(result, BaseException) and not isinstance(result, LLMError):
            raise result
        else:
            results.append(result)
    return results


@contextlib.asynccontextmanager
async def speaking(
    settings: LLMSettings,
    purse: Purse,
    environment: Mapping[str, str],
    keep: Callable[[bytes], str],
    report: Callable[[dict[str, Any]], None],
) -> AsyncIterator[Voice]:
    """A voice for one task.

    Args:
        settings: of the search.
        purse: of the task.
        environment: of the process, with the key.
        keep: stores an artifact, returns its digest.
        report: tells how far the task has come.

    Raises:
        EngineError: the SDK is not installed.
        InvalidInputError: an address or a duration is none.
        LLMError: the key is none.
    """
    try:
        from poise_lib.llm.client import Client
        from poise_lib.llm.config import ClientConfig
    except ModuleNotFoundError as error:
        raise EngineError(
            f"{error.name}: not installed; pip install 'poise-operator[llm]' brings what a language model needs"
        ) from error
    async with Client(ClientConfig.of(settings, environment)) as client:
        yield Voice(client, purse, settings.context_tokens, keep, report)

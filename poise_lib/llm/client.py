"""``ask``: a question to the model, answered by a value of the model of pydantic that was asked for.

::

    async with Client(ClientConfig.of(settings, os.environ)) as client:
        answer = await client.ask(messages, Proposals, purse)

Around one question there are three loops, each bounded.  A refusal of something that the server does not know leaves it
out (:mod:`~poise_lib.llm.dialect`).  A call that failed on its way is repeated with back-off, at most ``maxRetries`` times
a question.  An answer that does not fit is sent back with what is wrong, at most ``maxRepairs`` times.  Every call of all
three is reserved in the purse before it is sent, so none of them can spend more than the task's allotment.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, NoReturn, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from poise_lib.llm.config import ClientConfig
from poise_lib.llm.dialect import REPAIR_WORDS, Dialect, Message, Structure, loosened, simpler
from poise_lib.llm.errors import CannotFollowSchema, LLMError, PriceUnknown, Refused, UnknownModel, WrongKey
from poise_lib.llm.extraction import extract
from poise_lib.llm.failures import Advice, Failure, describe, judge, recorded
from poise_lib.llm.purse import Purse
from poise_lib.llm.schema import schema_text
from poise_lib.llm.transcript import Exchange, Transcript, shown_url
from poise_lib.llm.usage import bounds, broken, charge, nothing, worst
from poise_lib.llm.wire import TASK_HEADER, Broken, NoReply, NotSent, Rejected, Reply, list_models, sdk_client, send
from poise_lib.resources.llm import Spend

T = TypeVar("T", bound=BaseModel)

_SHOWN: Final = 6000
"""Characters of a wrong answer that the model sees again: enough to mend it, and no prompt without end."""


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was asked for, what it has cost, and how it came about."""

    value: T
    spend: Spend
    transcript: Transcript


class Ready(BaseModel):
    """The smallest question: can the model answer in a given form at all?"""

    model_config = ConfigDict(extra="forbid")

    ready: bool = Field(description="true")


@dataclass(frozen=True)
class Capabilities:
    """What :meth:`Client.check` found."""

    structure: Structure
    system_messages: bool
    spend: Spend
    transcript: Transcript


class Client:
    """Asks one model behind one server; for use inside one event loop.

    Args:
        config: where and how.
        sleep: waits between repeats; tests give one that does not.
    """

    def __init__(self, config: ClientConfig, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        if not (config.key.isascii() and config.key.isprintable() and " " not in config.key):
            raise WrongKey(
                "the API key holds characters that no key has; check the Secret or OPENAI_API_KEY for stray text"
            )
        self.config = config
        self._sleep = sleep
        self._sdk = sdk_client(config)
        self._slots = asyncio.Semaphore(config.concurrency)
        self._first = Dialect.first(
            config.structured_output, config.system_prompt, config.temperature, stream=config.stream
        )
        self._dialect = self._first

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sdk.close()

    async def ask(
        self,
        messages: Sequence[Message],
        answer: type[T],
        purse: Purse,
        problems: Callable[[T], str | None] | None = None,
    ) -> Answer[T]:
        """Ask, and go on asking within the bounds until the answer fits.

        Args:
            messages: the conversation; the last one is the user's.
            answer: model of what is wanted.
            purse: pays for every call.
            problems: what pydantic cannot see; returns what is wrong with a value that fits, None when nothing is.

        Raises:
            LLMError: there is no answer; its transcript holds what was tried.
            StateError: the purse cannot be written; nothing was sent without being in it.
        """
        exchanges: list[Exchange] = []
        try:
            return await self._asked(messages, answer, purse, problems, exchanges)
        except LLMError as error:
            error.transcript = self._transcript(exchanges, purse)
            raise

    async def check(self, purse: Purse) -> Capabilities:
        """Whether the model can be used: address, key, name of the model, answers in a given form.

        Costs one tiny call; a few when the server has to be learnt to know, or the model does not follow at once.

        Raises:
            LLMError: it cannot, with the fix.
        """
        messages = (
            Message("system", "You answer in JSON."),
            Message("user", 'Say that you are ready: {"ready": true}'),
        )
        answer = await self.ask(messages, Ready, purse)
        return Capabilities(self._dialect.structure, self._dialect.system, answer.spend, answer.transcript)

    async def _asked(
        self,
        messages: Sequence[Message],
        answer: type[T],
        purse: Purse,
        problems: Callable[[T], str | None] | None,
        exchanges: list[Exchange],
    ) -> Answer[T]:
        if purse.allotment.usd is not None and self.config.price is None:
            raise PriceUnknown(
                f"there is a cap in dollars, but the price of model {self.config.model!r} is not known; give proposer.llm.prices"
            )
        retries = _Retries(self.config, self._sleep)
        conversation, problem = list(messages), ""
        for _ in range(self.config.max_repairs + 1):
            reply, number = await self._call(conversation, answer, purse, retries, exchanges)
            if reply.refusal or reply.finish == "content_filter":
                why = reply.refusal or "a content filter stopped the answer"
                raise Refused(
                    f"model {self.config.model!r} declined: {self._clean(why)[:300]}; reword what it is asked"
                )
            found = extract(reply.content, answer)
            problem = found.problem
            if found.value is not None:
                problem = (problems(found.value) if problems is not None else None) or ""
                if not problem:
                    return Answer(found.value, _total(exchanges), self._transcript(exchanges, purse))
            if reply.finish == "length":
                problem = (
                    f"the answer reached its limit of {self.config.max_output_tokens} tokens and was cut; {problem}"
                )
            exchanges[number] = _with_problem(exchanges[number], problem)
            conversation = [*messages, *self._repair(reply, problem, answer)]
        tries = self.config.max_repairs + 1
        raise CannotFollowSchema(
            f"model {self.config.model!r} gave no answer that fits {answer.__name__} in {tries} "
            f"{'try' if tries == 1 else 'tries'}; last: {self._clean(problem)[:500]}; choose a model that follows a JSON "
            "schema, raise proposer.llm.maxRepairs, or proposer.llm.maxOutputTokens if answers are cut"
        )

    async def _call(
        self,
        conversation: Sequence[Message],
        answer: type[BaseModel],
        purse: Purse,
        retries: _Retries,
        exchanges: list[Exchange],
    ) -> tuple[Reply, int]:
        """One whole reply, and the index of its exchange."""
        config = self.config
        headers = {TASK_HEADER: purse.task} if config.replay_url else None
        while True:
            dialect = self._dialect
            async with self._slots:
                limit = config.max_output_tokens
                body = dialect.request(config.model, conversation, answer, limit)
                texts = [str(message["content"]) for message in body["messages"]]
                within = bounds(texts, schema_text(answer) if dialect.structure is Structure.JSON_SCHEMA else "", limit)
                most = worst(within, config.price)
                call = purse.reserve(most)
                # From here to `settle` anything may end this process: then the worst case stays charged.
                try:
                    reply = await send(self._sdk, body, limit, config.timeout, headers)
                except NoReply as error:
                    failed = error
                    free = isinstance(error, NotSent) or (isinstance(error, Rejected) and error.free)
                    received = error.received if isinstance(error, Broken) else ""
                    charged = nothing() if free else broken(received, within, config.price)
                    purse.settle(call, charged)
                    exchanges.append(
                        Exchange(
                            body,
                            received,
                            charged=charged.to_document(),
                            problem=describe(error),
                            failure=recorded(error, config),
                        )
                    )
                else:
                    charged = charge(reply.usage, reply.received, within, config.price)
                    purse.settle(call, charged)
                    exchanges.append(
                        Exchange(
                            body,
                            reply.content,
                            reply.reasoning,
                            reply.finish,
                            reply.usage,
                            charged.to_document(),
                            refusal=reply.refusal,
                        )
                    )
                    return reply, len(exchanges) - 1
            await self._after(failed, dialect, retries)

    async def _after(self, error: NoReply, dialect: Dialect, retries: _Retries) -> None:
        """Prepare the next call after one that failed: another dialect, or a wait; or raise."""
        failure, advice = judge(error, self.config, dialect)
        if failure is Failure.REPEAT:
            if not await retries.wait(error):
                self._raise(error, advice)
            return
        if failure is Failure.REFUSED:
            if self._dialect != dialect:
                return  # a call beside this one has learnt already
            complaint = error.complaint if isinstance(error, Rejected) else str(error)
            other = simpler(dialect, complaint) or loosened(dialect)
            if other is not None:
                self._dialect = other
                return
            self._dialect = self._first  # it was not the dialect
        if advice.kind is UnknownModel:
            _, advice = judge(error, self.config, dialect, await self._models())
        self._raise(error, advice)

    def _raise(self, error: NoReply, advice: Advice) -> NoReturn:
        raise advice.kind(self._clean(advice.message)) from error

    async def _models(self) -> tuple[str, ...]:
        """What the server says it has, for a message; many have no list."""
        try:
            async with asyncio.timeout(self.config.connect_timeout):
                return await list_models(self._sdk)
        except (NoReply, TimeoutError):
            return ()

    def _repair(self, reply: Reply, problem: str, answer: type[BaseModel]) -> list[Message]:
        """The wrong answer and what is wrong with it."""
        shown = reply.content if len(reply.content) <= _SHOWN else reply.content[:_SHOWN] + " [...]"
        told = f"That cannot be used: {problem}.\nAnswer again, with one whole JSON object and nothing else."
        if self._dialect.structure is Structure.JSON_SCHEMA:  # in the other forms it is said anyway
            told += REPAIR_WORDS + schema_text(answer)
        return [Message("assistant", shown or "(nothing)"), Message("user", told)]

    def _transcript(self, exchanges: Sequence[Exchange], purse: Purse) -> Transcript:
        endpoint = shown_url(self.config.base_url)
        return Transcript(endpoint, self.config.model, tuple(exchanges), self.config.scrubber, purse.task)

    def _clean(self, text: str) -> str:
        return self.config.scrubber.text(text)


class _Retries:
    """Repeats of one question, and how long to wait before each."""

    def __init__(self, config: ClientConfig, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._config = config
        self._sleep = sleep
        self._used = 0

    async def wait(self, error: NoReply) -> bool:
        """Wait before the next repeat; False when there is to be none."""
        backoff = self._config.backoff
        asked = error.retry_after if isinstance(error, Rejected) else None
        if self._used >= self._config.max_retries or (asked is not None and asked > backoff.patience):
            return False
        longest = min(backoff.longest, backoff.first * 2.0**self._used)
        self._used += 1
        await self._sleep(asked if asked is not None else longest * random.uniform(0.5, 1.0))
        return True


def _with_problem(exchange: Exchange, problem: str) -> Exchange:
    fields: dict[str, Any] = {**vars(exchange), "problem": problem}
    return Exchange(**fields)


def _total(exchanges: Sequence[Exchange]) -> Spend:
    total = Spend()
    for exchange in exchanges:
        total = total.plus(Spend.model_validate(dict(exchange.charged)))
    return total

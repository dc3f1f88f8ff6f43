"""What may go wrong between a search and its model: one class a cause, one clear message with the fix.

``reason`` is the CamelCase word for conditions and faults.  ``lasting`` says that the same request will fail again until
somebody changes something, so that nothing should be started that needs the model; what is not lasting was repeated
already, as often as the settings allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from poise_lib.errors import PoiseError
from poise_lib.names import (
    REASON_LLM_ALLOTMENT_SPENT,
    REASON_LLM_CANNOT_FOLLOW_SCHEMA,
    REASON_LLM_FAILED,
    REASON_LLM_OVERLOADED,
    REASON_LLM_PRICE_UNKNOWN,
    REASON_LLM_PROMPT_TOO_LONG,
    REASON_LLM_QUOTA_SPENT,
    REASON_LLM_REFUSED,
    REASON_LLM_REQUEST_REFUSED,
    REASON_LLM_SERVER_FAILED,
    REASON_LLM_UNKNOWN_MODEL,
    REASON_LLM_UNREACHABLE,
    REASON_LLM_WRONG_ENDPOINT,
    REASON_LLM_WRONG_KEY,
)

if TYPE_CHECKING:
    from poise_lib.llm.transcript import Transcript


class LLMError(PoiseError):
    """Base of all that follows; ``transcript`` holds the exchanges up to here, where there were any."""

    exit_code = 7
    reason: ClassVar[str] = REASON_LLM_FAILED
    lasting: ClassVar[bool] = False
    transcript: Transcript | None = None


class WrongKey(LLMError):
    """The server does not accept the API key."""

    reason = REASON_LLM_WRONG_KEY
    lasting = True


class UnknownModel(LLMError):
    """The server has no such model, or the key may not use it."""

    reason = REASON_LLM_UNKNOWN_MODEL
    lasting = True


class WrongEndpoint(LLMError):
    """Something answers at the address, but it is no chat-completions API."""

    reason = REASON_LLM_WRONG_ENDPOINT
    lasting = True


class Unreachable(LLMError):
    """No connection could be opened, or the name cannot be resolved."""

    reason = REASON_LLM_UNREACHABLE


class Overloaded(LLMError):
    """The server refused for want of capacity, or by its rate limit, for longer than the retries last."""

    reason = REASON_LLM_OVERLOADED


class ServerFailed(LLMError):
    """The server failed, went silent, or hung up in the middle, as often as the retries last."""

    reason = REASON_LLM_SERVER_FAILED


class QuotaSpent(LLMError):
    """The account behind the key has no credit left."""

    reason = REASON_LLM_QUOTA_SPENT
    lasting = True


class RequestRefused(LLMError):
    """The server does not take the request, whatever is left out of it."""

    reason = REASON_LLM_REQUEST_REFUSED
    lasting = True


class PromptTooLong(LLMError):
    """The prompt and the answer's limit do not fit the model's context."""

    reason = REASON_LLM_PROMPT_TOO_LONG
    lasting = True


class CannotFollowSchema(LLMError):
    """No answer fitted the schema, although the model was told what was wrong each time."""

    reason = REASON_LLM_CANNOT_FOLLOW_SCHEMA


class Refused(LLMError):
    """The model, or a filter before it, declined to answer."""

    reason = REASON_LLM_REFUSED


class AllotmentSpent(LLMError):
    """The next call could cost more than is left of the task's allotment, so it was not sent."""

    reason = REASON_LLM_ALLOTMENT_SPENT


class PriceUnknown(LLMError):
    """There is a cap in dollars, and no price to count by."""

    reason = REASON_LLM_PRICE_UNKNOWN
    lasting = True

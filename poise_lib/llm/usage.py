"""What a call is charged: the server's own numbers where they are credible, else the most that was possible.

Before a call is sent its worst case is reserved: every byte of the prompt a token, and the whole limit of the answer.
Afterwards:

========================================================  ====================================================
what happened                                              what is charged
========================================================  ====================================================
an answer, with credible usage                             what the server reports
usage missing, zero, or below :func:`~.tokens.least`       the worst case of that side (in, out)
usage above twice the worst case                           the worst case of that side
refused: status 4xx, 503 or 529; no connection             nothing: the model did not work
another 5xx, cut, timed out, cancelled                     the worst case: nobody knows how far the model came
========================================================  ====================================================

An answer that is so long that its server cannot have kept to the limit counts by its bytes, where usage does not say.
So servers that do not count make a search dear, never a ledger small.  What is above the worst case but not absurd is
believed: some servers put prompts of their own before ours, or let an answer run past its limit.  What cannot be seen is
a server that reports half the truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from poise_lib.llm.prices import Price
from poise_lib.llm.tokens import least, least_of_prompt, most, most_of_prompt
from poise_lib.resources.llm import Spend

_ABSURD: Final = 2
_LONG_TOKEN: Final = 6
"""Bytes: no text has more of them a token on average, four are usual.  A longer answer has run past its limit."""


@dataclass(frozen=True)
class Bounds:
    """What one call can use, by what is sent."""

    prompt_least: int
    prompt_most: int
    limit: int
    """Of the answer, as the server was told."""


def bounds(texts: Sequence[str], schema: str, limit: int) -> Bounds:
    """Bounds of a call.

    Args:
        texts: contents of the messages.
        schema: JSON schema that goes with the request; empty when none does.
        limit: tokens of the answer at most.
    """
    return Bounds(least_of_prompt(texts), most_of_prompt(texts, schema), limit)


def spend_of(prompt: int, cached: int, completion: int, price: Price | None, *, estimated: bool = False) -> Spend:
    """One call's account."""
    return Spend(
        calls=1,
        prompt_tokens=prompt,
        cached_tokens=cached,
        completion_tokens=completion,
        cost_usd=price.cost(prompt, cached, completion) if price is not None else 0.0,
        estimated_calls=int(estimated),
        unpriced_calls=int(price is None and prompt + completion > 0),
    )


def worst(bounds: Bounds, price: Price | None) -> Spend:
    """What is reserved before the call is sent."""
    # A cached token may cost more than another in a price that a user gives: then it is the worst case.
    cached = bounds.prompt_most if price is not None and price.cached_input > price.input else 0
    return spend_of(bounds.prompt_most, cached, bounds.limit, price, estimated=True)


def nothing() -> Spend:
    """A call that the server turned away."""
    return Spend(calls=1)


def charge(usage: Mapping[str, Any] | None, received: str, bounds: Bounds, price: Price | None) -> Spend:
    """What a whole answer is charged.

    Args:
        usage: as the server reports it; None when it does not.
        received: everything that came, reasoning included.
        bounds: of the call.
        price: of the model.
    """
    told = usage if isinstance(usage, Mapping) else {}
    out_most = _out_most(received, bounds.limit)
    prompt = _credible(told.get("prompt_tokens"), max(1, bounds.prompt_least), bounds.prompt_most)
    completion = _credible(_completion(told), max(1, least(received)), max(bounds.limit, most(received)))
    cached = _cached(told) if prompt is not None else 0
    return spend_of(
        bounds.prompt_most if prompt is None else prompt,
        cached if prompt is not None and cached <= prompt else 0,
        out_most if completion is None else completion,
        price,
        estimated=prompt is None or completion is None,
    )


def broken(received: str, bounds: Bounds, price: Price | None) -> Spend:
    """What a call without a whole answer is charged: its worst case, or what came if that is more.

    Args:
        received: everything that came before the end.
        bounds: of the call.
        price: of the model.
    """
    if (out_most := _out_most(received, bounds.limit)) == bounds.limit:
        return worst(bounds, price)
    return spend_of(bounds.prompt_most, 0, out_most, price, estimated=True)


def _out_most(received: str, limit: int) -> int:
    """The limit; or the bytes of a text that is too long to have kept to it."""
    return most(received) if most(received) > _LONG_TOKEN * limit else limit


def _whole(value: object) -> int | None:
    """A count; JSON's true is none, and 12.0 is one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _credible(reported: object, smallest: int, largest: int) -> int | None:
    count = _whole(reported)
    return count if count is not None and smallest <= count <= _ABSURD * largest else None


def _completion(usage: Mapping[str, Any]) -> int | None:
    """Tokens out.  Some servers leave reasoning out of them, but not out of the total."""
    prompt, completion = _whole(usage.get("prompt_tokens")), _whole(usage.get("completion_tokens"))
    total = _whole(usage.get("total_tokens"))
    if completion is None or prompt is None or total is None:
        return completion
    return max(completion, total - prompt)


def _cached(usage: Mapping[str, Any]) -> int:
    """Cached tokens, where OpenAI or where DeepSeek puts them."""
    details = usage.get("prompt_tokens_details")
    nested = details.get("cached_tokens") if isinstance(details, Mapping) else None
    return _whole(nested) or _whole(usage.get("prompt_cache_hit_tokens")) or 0

"""What a search has cost, in words.

Of a language model: calls, tokens, dollars, what is set aside, what came to an end.  Of GPUs: hours.
"""

from __future__ import annotations

from collections.abc import Iterable

from poise_lib.cli.text import plural
from poise_lib.plain import clean
from poise_lib.resources import Candidate
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.gpu import GPULedger
from poise_lib.resources.llm import Ledger, Spend

_STEPS = ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k"))


def tokens(count: int) -> str:
    """``950``, ``12.3k``, ``1.2M``."""
    for size, unit in _STEPS:
        if count >= size:
            return f"{count / size:.1f}{unit}"
    return str(count)


def dollars(amount: float) -> str:
    """``$1.23``; ``$0.0042`` below ten cents, because calls are cheap one by one."""
    return f"${amount:.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.4f}"


def cost(spend: Spend) -> str:
    """Dollars; what has no price is said."""
    if spend.unpriced_calls and not spend.cost_usd:
        return "price unknown"
    more = f" and {plural(spend.unpriced_calls, 'call')} without a price" if spend.unpriced_calls else ""
    return dollars(spend.cost_usd) + more


def short_line(ledger: Ledger) -> str:
    """For a line among others: ``$0.41, 210.4k tokens``."""
    return f"{cost(ledger)}, {tokens(ledger.tokens)} tokens" + (f"; {stopped}" if (stopped := ended(ledger)) else "")


def long_line(ledger: Ledger) -> str:
    """Everything that a ledger says, in one sentence."""
    cached = f" ({tokens(ledger.cached_tokens)} of them cached)" if ledger.cached_tokens else ""
    parts = [
        (
            f"{plural(ledger.calls, 'call')}, {tokens(ledger.prompt_tokens)} tokens in{cached}, "
            f"{tokens(ledger.completion_tokens)} out, {cost(ledger)}"
        )
    ]
    if ledger.reserved_tokens:
        aside = f" and {dollars(ledger.reserved_usd)}" if ledger.reserved_usd else ""
        parts.append(f"{tokens(ledger.reserved_tokens)} tokens{aside} set aside for tasks that run")
    if ledger.estimated_calls:
        parts.append(f"{plural(ledger.estimated_calls, 'call')} counted at the most that was possible")
    if stopped := ended(ledger):
        parts.append(stopped)
    return "; ".join(parts)


def ended(ledger: Ledger) -> str:
    """Why the model is not asked any more; empty while it is."""
    parts = []
    if ledger.exhausted:
        parts.append(f"{clean(ledger.exhausted)} is reached")
    if ledger.fallback:
        parts.append(f"the library took over: {clean(ledger.fallback)}")
    return "; ".join(parts)


def gpu_hours(hours: float) -> str:
    """``0.031``, ``4.2``, ``1,250``: hours of GPUs, with three digits that say something."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"


def gpu_line(ledger: GPULedger, cap: float | None) -> str:
    """``4.2 of 100 GPU hours spent; 0.8 more expected of what is going on``."""
    of = f" of {gpu_hours(cap)}" if cap is not None else ""
    parts = [f"{gpu_hours(ledger.spent_hours)}{of} GPU hours spent"]
    if ledger.reserved_seconds:
        parts.append(f"{gpu_hours(ledger.reserved_hours)} more expected of what is going on")
    if ledger.exhausted:
        parts.append(f"{clean(ledger.exhausted)} is reached")
    return "; ".join(parts)


def accepted(candidates: Iterable[Candidate]) -> int:
    """Archived candidates that were proposed, so not the baseline."""
    return sum(item.status.phase is CandidatePhase.ARCHIVED and bool(item.spec.parents) for item in candidates)


def per_candidate(ledger: Ledger, candidates: Iterable[Candidate]) -> str:
    """What an archived candidate has cost, everything included; empty where there is none."""
    count = accepted(candidates)
    if not count:
        return ""
    money = f"{dollars(ledger.cost_usd / count)}, " if ledger.cost_usd else ""
    return (
        f"{money}{tokens(round(ledger.tokens / count))} tokens and {ledger.calls / count:.1f} calls for each of the "
        f"{plural(count, 'candidate')} that it brought into the archive"
    )

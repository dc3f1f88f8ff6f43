"""What tokens cost: the Search's own prices, else a small dated table, else unknown.

Costs are rounded up to a billionth of a dollar, in decimal arithmetic: many small calls must not add up to less than
their sum.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from functools import cache
from importlib.resources import files
from typing import Any, Final

import yaml

from poise_lib.resources.llm import LLMSettings, Prices

_UNIT: Final = Decimal("1e-9")
_DATED: Final = re.compile(r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{4}|latest)$")


@dataclass(frozen=True)
class Price:
    """US dollars for a million tokens."""

    input: Decimal
    cached_input: Decimal
    output: Decimal

    def cost(self, prompt: int, cached: int, completion: int) -> float:
        """US dollars, rounded up to a billionth.

        Args:
            prompt: tokens in, the cached ones included.
            cached: of these, the cached ones.
            completion: tokens out.
        """
        total = (prompt - cached) * self.input + cached * self.cached_input + completion * self.output
        return float((total / 1_000_000).quantize(_UNIT, ROUND_CEILING))


@cache
def _table() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(files("poise_lib.llm").joinpath("prices.yaml").read_text("utf-8"))
    return document


def table_date() -> str:
    """When the table was made, such as 2026-06-30."""
    return str(_table()["asOf"])


def price_of(model: str, prices: Prices | None = None) -> Price | None:
    """The price of a model; None when it is not known.

    A name is looked up as it is, then without the provider before its last slash, then without a date at its end:
    ``openai/gpt-4o-2024-08-06`` costs what gpt-4o does.  A variant with another suffix is another model.

    Args:
        model: as the server knows it.
        prices: the Search's own, which win.
    """
    if prices is not None:
        cached = prices.cached_input_per_million
        return _price(prices.input_per_million, cached, prices.output_per_million)
    short = model.rpartition("/")[2].lower()
    for name in (model, short, _DATED.sub("", short)):
        if (row := _table()["models"].get(name)) is not None:
            return _price(row["input"], row.get("cachedInput"), row["output"])
    return None


def price_problem(settings: LLMSettings, cap_usd: float | None) -> str | None:
    """Why a cap in dollars cannot be kept, with the fix; None when it can, or when there is none."""
    if cap_usd is None or price_of(settings.model, settings.prices) is not None:
        return None
    return (
        f"budget.llmCostUSD is {cap_usd:g}, but the price of model {settings.model!r} is not known: give "
        "proposer.llm.prices (inputPerMillion and outputPerMillion; 0 for a model of your own), or cap "
        "budget.llmTokens instead"
    )


def _price(given: float, cached: float | None, out: float) -> Price:
    plain = Decimal(str(given))
    return Price(plain, plain if cached is None else Decimal(str(cached)), Decimal(str(out)))

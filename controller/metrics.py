"""What Prometheus sees of the controller."""

from __future__ import annotations

import contextlib
from collections import Counter as Count
from collections.abc import Mapping
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from poise_lib.resources import Search


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics, in a registry of their own."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    reconcile_seconds: Histogram = field(init=False)
    reconcile_errors: Counter = field(init=False)
    queue_depth: Gauge = field(init=False)
    tasks: Counter = field(init=False)
    searches: Gauge = field(init=False)
    best_utility: Gauge = field(init=False)
    budget_used: Gauge = field(init=False)
    llm_calls: Gauge = field(init=False)
    llm_tokens: Gauge = field(init=False)
    llm_cost: Gauge = field(init=False)
    gpu_hours: Gauge = field(init=False)
    requests: Counter = field(init=False)
    counted: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        one = self.registry
        made = {
            "reconcile_seconds": Histogram(
                "poise_reconcile_seconds", "Time of one reconcile of a search.", registry=one
            ),
            "reconcile_errors": Counter("poise_reconcile_errors", "Reconciles that ended in an error.", registry=one),
            "queue_depth": Gauge("poise_queue_depth", "Searches waiting for a reconcile.", registry=one),
            "tasks": Counter(
                "poise_tasks", "Attempts of tasks that ended.", ["namespace", "kind", "outcome"], registry=one
            ),
            "searches": Gauge("poise_searches", "Searches by phase.", ["phase"], registry=one),
            "best_utility": Gauge(
                "poise_search_best_utility", "Utility of the best candidate.", ["namespace", "search"], registry=one
            ),
            "budget_used": Gauge(
                "poise_search_candidates_ratio",
                "Candidates so far over budget.candidates.",
                ["namespace", "search"],
                registry=one,
            ),
            # Sums that stand in a status: a controller that starts anew shows them as they are, so they are no counters.
            "llm_calls": Gauge(
                "poise_search_llm_calls", "Calls of the language model.", ["namespace", "search"], registry=one
            ),
            "llm_tokens": Gauge(
                "poise_search_llm_tokens",
                "Tokens of the language model, by direction: in or out.",
                ["namespace", "search", "direction"],
                registry=one,
            ),
            "llm_cost": Gauge(
                "poise_search_llm_cost_usd",
                "US dollars for the language model, by its price table.",
                ["namespace", "search"],
                registry=one,
            ),
            "gpu_hours": Gauge(
                "poise_search_gpu_hours",
                "GPU hours of training and scoring that have ended.",
                ["namespace", "search"],
                registry=one,
            ),
            "requests": Counter(
                "poise_api_requests", "Requests to the API server.", ["verb", "resource"], registry=one
            ),
        }
        for name, metric in made.items():
            object.__setattr__(self, name, metric)

    def show(self, searches: list[Search]) -> None:
        """Set the gauges that speak of all searches."""
        self.searches.clear()
        for phase, count in Count(search.status.phase.value for search in searches).items():
            self.searches.labels(phase).set(count)
        for search in searches:
            labels = (search.metadata.namespace, search.metadata.name)
            if search.status.best is not None:
                self.best_utility.labels(*labels).set(search.status.best.utility)
            self.budget_used.labels(*labels).set(search.status.counts.total / search.spec.budget.candidates)
            if (ledger := search.status.ledger) is not None:
                self.llm_calls.labels(*labels).set(ledger.calls)
                self.llm_tokens.labels(*labels, "in").set(ledger.prompt_tokens)
                self.llm_tokens.labels(*labels, "out").set(ledger.completion_tokens)
                self.llm_cost.labels(*labels).set(ledger.cost_usd)
            if (gpus := search.status.gpus) is not None:
                self.gpu_hours.labels(*labels).set(gpus.spent_hours)

    def forget(self, namespace: str, search: str) -> None:
        """Drop the series of a search that is gone."""
        for gauge in (self.best_utility, self.budget_used, self.llm_calls, self.llm_cost, self.gpu_hours):
            with contextlib.suppress(KeyError):
                gauge.remove(namespace, search)
        for direction in ("in", "out"):
            with contextlib.suppress(KeyError):
                self.llm_tokens.remove(namespace, search, direction)

    def count_requests(self, calls: Mapping[tuple[str, str, str], int]) -> None:
        """Bring the counter up to what the client has counted by (verb, group, resource)."""
        for (verb, group, plural), count in calls.items():
            resource = f"{plural}.{group}" if group else plural
            self.requests.labels(verb, resource).inc(count - self.counted.get((verb, group, plural), 0))
            self.counted[verb, group, plural] = count

"""What Prometheus sees of the controller."""

from __future__ import annotations

from collections import Counter as Count
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
    requests: Counter = field(init=False)

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

    def forget(self, namespace: str, search: str) -> None:
        """Drop the series of a search that is gone."""
        for gauge in (self.best_utility, self.budget_used):
            gauge.remove(namespace, search)

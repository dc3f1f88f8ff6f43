"""What a search says of the suite that it defines itself: what overall is there, and what may be known of its problems."""

from __future__ import annotations

from poise_lib.resources import Search


def told(search: Search) -> str:
    """The suite in one sentence; empty for a search on one that comes with POISE."""
    definition = search.spec.evaluation.suite_definition
    if definition is None:
        return ""
    terms = " + ".join(f"{weight:g} {name}" for name, weight in search.spec.evaluation.measured.weights().items())
    built = f", which extends {definition.extends}" if definition.extends else ""
    return f"{definition.name}{built}; overall is {terms}"


def contamination(search: Search) -> list[str]:
    """What is noted of each benchmark of such a suite, and where nothing is."""
    if search.spec.evaluation.suite_definition is None:
        return []
    benchmarks = search.spec.evaluation.measured.benchmarks
    lines = [f"{benchmark.name}: {benchmark.contamination}" for benchmark in benchmarks if benchmark.contamination]
    silent = [benchmark.name for benchmark in benchmarks if not benchmark.contamination]
    if silent:
        lines.append(f"no note for {', '.join(silent)}")
    return lines

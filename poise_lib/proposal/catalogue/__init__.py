"""All kinds of the grammar, by slot; :data:`GRAMMAR` is the whole of it."""

from __future__ import annotations

from poise_lib.proposal.catalogue import (
    aggregation,
    baselines,
    controllers,
    failure,
    length,
    objectives,
    rewards,
    routing,
    scales,
    stabilisation,
)
from poise_lib.proposal.grammar import Grammar

GRAMMAR = Grammar(
    (
        *rewards.KINDS,
        *baselines.KINDS,
        *scales.KINDS,
        *routing.KINDS,
        *failure.KINDS,
        *length.KINDS,
        *stabilisation.KINDS,
        *objectives.KINDS,
        *aggregation.KINDS,
        *controllers.KINDS,
    )
)
"""Kinds in pipeline order: by slot, then as listed in the slot's module (order matters where signals are rebound)."""

__all__ = ["GRAMMAR"]

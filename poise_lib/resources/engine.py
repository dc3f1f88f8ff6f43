"""Which program trains and scores."""

from __future__ import annotations

from enum import StrEnum


class Engine(StrEnum):
    """Which program trains and scores."""

    NANO = "nano"
    """The embedded one: a tiny model on a CPU, in seconds."""
    VERL = "verl"
    """VeRL: language models on GPUs."""

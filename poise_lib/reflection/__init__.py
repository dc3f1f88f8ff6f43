"""The reflection operator A without a model: diagnostics of training, and what they teach about mechanisms."""

from poise_lib.reflection.analysis import diagnose, reflect
from poise_lib.reflection.findings import Finding, Run

__all__ = ["Finding", "Run", "diagnose", "reflect"]

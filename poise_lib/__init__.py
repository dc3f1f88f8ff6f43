"""POISE: a closed loop that proposes, verifies, trains and scores policy-optimisation algorithms.

Nothing is imported here, so that ``poise --help`` and the planner stay light; ask the subpackages for what you need.
"""

__version__ = "0.1.0"

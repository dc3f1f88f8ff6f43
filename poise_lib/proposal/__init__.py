"""The proposal operator P without a model: a typed grammar of mechanisms, moves on it, credit, screening and rendering.

Read :mod:`~poise_lib.proposal.grammar` first (what a kind is), then :mod:`~poise_lib.proposal.library` (how a
proposal comes about) and :mod:`~poise_lib.proposal.rendering` (how it becomes code).  Nothing here imports torch:
code is text.
"""

from poise_lib.proposal.implementation import implement
from poise_lib.proposal.known import composition_of
from poise_lib.proposal.library import propose
from poise_lib.proposal.rendering import render

__all__ = ["composition_of", "implement", "propose", "render"]

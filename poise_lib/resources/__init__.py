"""The kinds of the API group poise.dev: the one source of truth for CRDs, manifests and documents between tasks."""

from poise_lib.resources.candidate import Candidate
from poise_lib.resources.evaluation import Evaluation
from poise_lib.resources.search import Search

__all__ = ["Candidate", "Evaluation", "Search"]

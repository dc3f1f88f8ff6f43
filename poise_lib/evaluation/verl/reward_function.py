"""What VeRL loads by its path as the reward function: :func:`poise_lib.evaluation.verl.rewards.compute_score`.

VeRL executes such a file under a name that no import knows, where neither data classes nor child processes work: so this
one holds nothing but an import.
"""

from poise_lib.evaluation.verl.rewards import compute_score

__all__ = ["compute_score"]

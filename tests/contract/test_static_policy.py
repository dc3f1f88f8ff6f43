"""Every algorithm of the zoo is a candidate that the static policy accepts, with declarations that it can read."""

from poise_lib.algorithms.loading import algorithm_from_source
from poise_lib.verification.declarations import read_declarations
from poise_lib.verification.policy import check_source


def test_the_policy_accepts_the_zoo(zoo_sources, zoo_name):
    result = check_source(zoo_sources[zoo_name])
    assert result.violations == ()
    declared, problems = read_declarations(result.tree)
    assert problems == ()
    loaded = algorithm_from_source(zoo_sources[zoo_name], zoo_name)
    assert declared.hyperparameters == loaded.hyperparameters
    assert declared.mechanisms == loaded.mechanisms
    assert declared.needs == loaded.needs

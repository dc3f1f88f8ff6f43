"""Broken declarations: the message names the field and says what it should be."""

from __future__ import annotations

import types

import pytest

from poise_lib.algorithms import registry
from poise_lib.algorithms.loading import algorithm_from_module, algorithm_from_source
from poise_lib.errors import CandidateError

GOOD = registry.zoo_source("grpo")


def test_a_zoo_module_is_a_candidate_like_any_other() -> None:
    algorithm = algorithm_from_source(GOOD, "mine")
    assert (algorithm.name, algorithm.title, algorithm.needs) == ("mine", "GRPO", ("reference",))
    assert algorithm.rewards is None
    assert algorithm.schedule is None


def test_a_module_object_is_read_alike() -> None:
    module = types.ModuleType("candidate")
    exec(GOOD, vars(module))
    assert algorithm_from_module(module, "mine").hyperparameters == algorithm_from_source(GOOD, "mine").hyperparameters


@pytest.mark.parametrize(
    ("appended", "message"),
    [
        ("del TITLE", "missing TITLE; the contract requires TITLE, AGGREGATION"),
        ("del advantages, policy_loss", "missing advantages, policy_loss"),
        ("TITLE = 3", "TITLE must be a string"),
        ("SOURCE = None", "SOURCE must be a string"),
        ("AGGREGATION = 'mean'", "AGGREGATION must be one of token-mean, "),
        ("AGGREGATION = ['token-mean']", "AGGREGATION must be one of token-mean, "),
        ("NEEDS = 'reference'", "NEEDS must be a tuple of strings, got 'reference'"),
        ("NEEDS = ('critic',)", r"NEEDS \['critic'\] unknown; allowed: reference, entropy"),
        ("NEEDS = ([],)", r"NEEDS \[\[\]\] unknown"),
        ("HYPERPARAMETERS = {'a': 1.0}", "HYPERPARAMETERS must be a dict of str to Hyperparameter"),
        ("HYPERPARAMETERS = ()", "HYPERPARAMETERS must be a dict of str to Hyperparameter"),
        (
            "HYPERPARAMETERS['beta'] = Hyperparameter(2.0, 0.0, 1.0)",
            r"HYPERPARAMETERS\['beta'\]: default 2.0 is outside \[0.0, 1.0\]",
        ),
        (
            "HYPERPARAMETERS['beta'] = Hyperparameter(1.0, 0.0, float('inf'))",
            r"HYPERPARAMETERS\['beta'\]: default, low and high must be finite numbers",
        ),
        (
            "HYPERPARAMETERS['beta'] = Hyperparameter('1', 0.0, 1.0)",
            r"HYPERPARAMETERS\['beta'\]: default, low and high must be finite numbers",
        ),
        ("MECHANISMS = 5", "MECHANISMS must be a tuple of Mechanism objects"),
        ("MECHANISMS = ('a',)", "MECHANISMS must be a tuple of Mechanism objects"),
        (
            "MECHANISMS += (Mechanism('x', Family.REWARD, 'c', 'nothing', 0.0),)",
            "mechanism 'x' is switched by 'nothing', which HYPERPARAMETERS does not declare",
        ),
        (
            "MECHANISMS += (Mechanism('x', Family.REWARD, 'c', 'kl_coef', -1.0),)",
            r"mechanism 'x': off = -1.0 is outside the range of 'kl_coef', \[0.0, 0.1\]",
        ),
        ("MECHANISMS += MECHANISMS", "mechanism 'group-normalisation' is declared twice"),
        ("advantages = 4", "advantages must be a function"),
        ("policy_loss = None", "policy_loss must be a function"),
        ("schedule = {}", "schedule must be a function"),
    ],
)
def test_broken_declarations(appended: str, message: str) -> None:
    with pytest.raises(CandidateError, match=f"candidate mine: {message}"):
        algorithm_from_source(f"{GOOD}\n{appended}\n", "mine")


def test_syntax_error_names_the_line() -> None:
    with pytest.raises(CandidateError, match=r"^bad\.py:2: syntax error"):
        algorithm_from_source("TITLE = 'x'\ndef advantages(:\n", "mine", "bad.py")


def test_an_exception_on_import_is_the_candidates() -> None:
    with pytest.raises(CandidateError, match=r"candidate\.py: raised ZeroDivisionError while it was imported"):
        algorithm_from_source("X = 1 / 0", "mine")


def test_hyper_takes_overrides_of_what_is_declared() -> None:
    algorithm = registry.load("grpo")
    assert algorithm.hyper({"kl_coef": 0})["kl_coef"] == 0.0
    assert algorithm.hyper()["kl_coef"] == 0.001
    with pytest.raises(KeyError, match=r"grpo has no hyperparameter 'klcoef'; it declares \['clip_ratio'"):
        algorithm.hyper({"klcoef": 0.1})

"""Declarations are literals, read without running anything, and wrong ones are named."""

import ast

import pytest

from poise_lib.verification.declarations import read_declarations


def read(source):
    return read_declarations(ast.parse(source))


def test_reads_what_the_loader_reads(candidate):
    from poise_lib.algorithms.loading import algorithm_from_source

    declared, problems = read(candidate)
    loaded = algorithm_from_source(candidate, "x")
    assert problems == ()
    assert declared.hyperparameters == loaded.hyperparameters
    assert declared.mechanisms == loaded.mechanisms
    assert (declared.title, declared.aggregation, declared.needs) == (loaded.title, loaded.aggregation, loaded.needs)
    assert declared.functions == {"advantages", "policy_loss", "schedule"}
    assert declared.hyper == loaded.hyper()


def test_arithmetic_and_earlier_constants_count_as_literals(broken):
    source = broken(
        "AGGREGATION =",
        "HALF = 1 / 2\nAGGREGATION =",
        "Hyperparameter(0.2, 0.05, 0.5)",
        "Hyperparameter(HALF - 0.3, -(0.1), HALF)",
    )
    declared, problems = read(source)
    assert problems == ()
    assert declared.hyperparameters["clip"].default == pytest.approx(0.2)
    assert declared.hyperparameters["clip"].low == -0.1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('TITLE = "Damped GRPO"\n', "", "TITLE is missing"),
        ('TITLE = "Damped GRPO"', "TITLE = 3", "not a string"),
        ('"token-mean"', '"median"', "AGGREGATION 'median' is unknown"),
        ('("reference", "entropy")', '("reference", "internet")', "NEEDS names internet"),
        ('("reference", "entropy")', '"reference"', "NEEDS is not a tuple"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "0.2", "not a Hyperparameter"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(0.2, 0.3, 0.5)", "do not fit"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(0.2, 0.2, 0.2)", "do not fit"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(0.2, 0.05)", "high missing"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(0.2, 0.05, 0.5, 'a', 1)", "at most 4"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(0.2, 0.05, 0.5, low=1)", "'low' left"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(True, 0.05, 0.5)", "not a finite number"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(1 / 0, 0.05, 0.5)", "cannot be computed"),
        ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(1e999, 0.05, 0.5)", "not a finite number"),
        ('"clip":', '"damping":', "declared twice"),
        ('"clip":', '"a clip":', "no identifier"),
        ("Family.STABILISATION", '"stabilisation"', "has no family"),
        ('"damping", 0.0)', '"nothing", 0.0)', "undeclared 'nothing'"),
        ('"damping", 0.0)', '"damping", 5.0)', "lies outside"),
        ('"damping", 0.0)', '"damping", 0.3)', "off by default"),
        ('name="bonus"', 'name="damping"', "same name"),
        ("def advantages(batch: Batch, hyper)", "def advantage(batch: Batch, hyper)", "function advantages is missing"),
        ("def advantages(batch: Batch, hyper)", "def advantages(batch: Batch)", "exactly two"),
        ("def schedule(history, hyper)", "def schedule(*history)", "exactly two"),
        (
            "def schedule(history, hyper)",
            "schedule = advantages\n\n\ndef other(history, hyper)",
            "schedule is assigned, not defined",
        ),
        ('hyperparameter="bonus"', 'hyperparameter="damping"', "'damping' and 'bonus' have one switch, damping = 0"),
    ],
)
def test_wrong_declarations_are_named(broken, old, new, message):
    declared, problems = read(broken(old, new))
    assert declared is None
    assert message in "; ".join(problem.message for problem in problems)
    assert all(problem.hint for problem in problems)


def test_strings_of_docstrings_and_of_dead_functions_do_not_count(broken):
    """A hyperparameter is not read because its name stands somewhere."""
    old = 'hyper["clip"], hyper["clip"])'
    assert (
        "clip" in read(broken(old, "reach(hyper), 0.2)") + '\ndef reach(hyper):\n    return hyper["clip"]\n')[0].strings
    )
    assert "clip" not in read(broken(old, "0.2, 0.2)") + '\ndef dead(hyper):\n    return hyper["clip"]\n')[0].strings
    assert "clip" not in read(broken(old, '0.2, 0.2)\n    "clip"'))[0].strings

import pytest

from poise_lib.evaluation import trajectory
from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.reflection import diagnose, findings
from poise_lib.reflection.dynamics import DYNAMICS
from poise_lib.reflection.outcomes import OUTCOMES

HEALTHY = {
    "critic/score/mean": (0.10, 0.55, 0.08, 0.57),
    "critic/rewards/mean": (0.10, 0.55, 0.08, 0.57),
    "reward/format_valid": (0.95, 0.99, 0.93, 1.0),
    "actor/entropy": (0.60, 0.35, 0.33, 0.62),
    "actor/kl": (0.001, 0.06, 0.0, 0.07),
    "actor/grad_norm": (0.8, 0.6, 0.4, 1.3),
    "actor/pg_clipfrac": (0.01, 0.03, 0.0, 0.05),
    "actor/ratio_outside": (0.01, 0.04, 0.0, 0.08),
    "response_length/mean": (18.0, 22.0, 17.0, 23.0),
    "response_length/clip_ratio": (0.02, 0.01, 0.0, 0.03),
    "groups/all_fail": (0.5, 0.2, 0.15, 0.55),
    "groups/mixed": (0.45, 0.5, 0.4, 0.6),
    "groups/all_correct": (0.05, 0.3, 0.02, 0.32),
    "critic/advantages/std": (0.8, 0.7, 0.6, 0.9),
}
SCORES = {"overall": 50.0, "format_valid": 99.0}


def summary(**changed):
    """A healthy run's summary; keyword ``actor_kl__last`` changes ``actor/kl.last``, and so on."""
    flat = {
        f"{name}.{part}": v
        for name, values in HEALTHY.items()
        for part, v in zip(("first", "last", "low", "high"), values, strict=True)
    }
    return flat | changed


def names(child, parent=None, child_metrics=SCORES, parent_metrics=SCORES):
    return [
        finding.name
        for finding in diagnose(child, parent if parent is not None else summary(), child_metrics, parent_metrics)
    ]


def test_a_healthy_run_beside_a_healthy_parent_shows_nothing():
    assert names(summary()) == []
    assert diagnose(summary(), None, SCORES, None) == ()


def test_missing_metrics_silence_diagnostics():
    assert diagnose({}, {}, {}, {}) == ()
    for key in summary():
        diagnose({key: 0.0}, None, {}, None)
        diagnose(summary(), {key: 1.0}, {}, {})


@pytest.mark.parametrize(
    ("expected", "changed"),
    [
        ("entropy-collapse", {"actor/entropy.last": 0.05}),
        ("entropy-explosion", {"actor/entropy.last": 1.2}),
        ("kl-spike", {"actor/kl.high": 0.5}),
        ("kl-drift", {"actor/kl.last": 0.4, "actor/kl.high": 0.5}),
        ("gradient-spikes", {"actor/grad_norm.high": 9.0}),
        ("over-clipping", {"actor/pg_clipfrac.last": 0.3}),
        ("off-policy", {"actor/ratio_outside.high": 0.5}),
        ("loud-signal", {"critic/advantages/std.high": 7.0}),
        ("faint-signal", {"critic/advantages/std.last": 0.01}),
        ("no-learning", {"critic/score/mean.last": 0.11, "critic/score/mean.high": 0.12}),
        ("format-loss", {"reward/format_valid.last": 0.7}),
        ("failing-groups", {"groups/all_fail.last": 0.7}),
        ("unstable-reward", {"critic/score/mean.high": 0.8}),
        ("length-collapse", {"response_length/mean.last": 8.0}),
        ("length-growth", {"response_length/mean.last": 34.0}),
        ("cut-off", {"response_length/clip_ratio.last": 0.2}),
        ("solved-groups", {"groups/all_correct.last": 0.7}),
        ("faster-learning", {"critic/score/mean.last": 0.65, "critic/score/mean.high": 0.66}),
    ],
)
def test_each_disorder_is_named_with_its_numbers(expected, changed):
    found = diagnose(summary(**changed), summary(), SCORES, SCORES)
    assert [finding.name for finding in found] == [expected]
    key = next(iter(changed))
    seen = {item.metric: item for item in found[0].evidence}
    assert seen[key].value == changed[key]
    assert seen[key].reference == summary()[key]


def test_each_diagnostic_can_fire():
    assert len(DYNAMICS + OUTCOMES) == 18


def test_entropy_as_low_as_the_parents_is_not_the_childs_doing():
    assert names(summary(**{"actor/entropy.last": 0.05}), summary(**{"actor/entropy.last": 0.06})) == []


def test_a_loss_on_a_larger_scale_than_the_parents_is_no_spike():
    """Measured: RLOO's sums over tokens beside GRPO's means, docs/evidence/calibration/runs.jsonl."""
    large = {"actor/grad_norm.first": 1.09, "actor/grad_norm.last": 6.07, "actor/grad_norm.high": 6.07}
    assert names(summary(**large)) == []


def test_a_tiny_kl_does_not_spike():
    assert names(summary(**{"actor/kl.high": 0.01, "actor/kl.last": 0.0001})) == []


def test_longer_responses_that_are_more_often_right_are_no_fault():
    grown = {"response_length/mean.last": 34.0, "critic/score/mean.last": 0.59, "critic/score/mean.high": 0.6}
    assert names(summary(**grown)) == ["faster-learning"]


def test_format_lost_on_the_benchmarks_counts_too():
    assert names(summary(), child_metrics={"format_valid": 80.0}) == ["format-loss"]


def test_faults_come_before_strengths():
    changed = {"groups/all_correct.last": 0.7, "actor/grad_norm.high": 9.0}
    assert names(summary(**changed)) == ["gradient-spikes", "solved-groups"]


def test_advice_speaks_of_what_the_grammar_has():
    changed = [
        {"actor/entropy.last": 0.05, "actor/kl.high": 0.5, "actor/grad_norm.high": 9.0, "actor/pg_clipfrac.last": 0.3},
        {
            "actor/entropy.last": 1.2,
            "actor/kl.last": 0.4,
            "actor/ratio_outside.high": 0.5,
            "critic/advantages/std.high": 7.0,
        },
        {"critic/score/mean.last": 0.1, "groups/all_fail.last": 0.7, "response_length/mean.last": 8.0},
        {"response_length/mean.last": 40.0, "response_length/clip_ratio.last": 0.3, "groups/all_correct.last": 0.7},
        {"reward/format_valid.last": 0.5, "critic/advantages/std.last": 0.0},
    ]
    advice = [
        item for change in changed for f in diagnose(summary(**change), summary(), SCORES, SCORES) for item in f.advice
    ]
    assert len(advice) > 30
    for item in advice:
        assert GRAMMAR.kinds[item.kind].slot.value == item.slot


def test_metrics_are_those_that_engines_summarise():
    used = {value for name, value in vars(findings).items() if name.isupper()}
    assert used <= set(trajectory.SUMMARISED)

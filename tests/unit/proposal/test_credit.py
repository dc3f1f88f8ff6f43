import pytest

from poise_lib.proposal.catalogue import GRAMMAR
from poise_lib.proposal.composition import canonical, component, difference
from poise_lib.proposal.credit import learn, lineage_of, wishes_of
from poise_lib.proposal.known import GRPO
from poise_lib.proposal.moves import MoveType, available, probabilities
from poise_lib.resources.candidate import Advice, CandidatePhase, Reflection
from poise_lib.resources.objective import Direction, Metric, Objective
from tests.unit.proposal.drawing import entry, with_kind


def grown(*kinds, **parameters):
    return canonical([*GRPO, *(component(kind, parameters.get(kind.replace("-", "_"))) for kind in kinds)])


def planted(repeats=3):
    """Rare-success gains, fork-weighting loses, whatever stands beside them."""
    archive = [entry("root", GRPO, 40.0)]
    for i in range(repeats):
        archive.append(entry(f"good{i}", grown("rare-success"), 43.0, "root"))
        archive.append(entry(f"bad{i}", grown("fork-weighting"), 37.0, "root"))
        archive.append(entry(f"both{i}", grown("rare-success", "fork-weighting"), 40.0, "root"))
    return archive


def test_planted_effects_are_found_and_told_apart():
    credit = learn(planted(), frozenset())
    assert credit.effect("rare-success").mean > 0.3
    assert credit.effect("fork-weighting").mean < -0.3
    assert credit.effect("entropy-bonus").mean == 0.0
    assert credit.effect("rare-success").observations == 6


def test_few_observations_are_shrunk_and_uncertain():
    few, many = learn(planted(1), frozenset()), learn(planted(6), frozenset())
    assert 0 < few.effect("rare-success").mean < many.effect("rare-success").mean
    assert few.effect("rare-success").deviation > many.effect("rare-success").deviation
    assert many.effect("rare-success").deviation < many.effect("entropy-bonus").deviation


def test_one_collapse_does_not_outweigh_everything():
    archive = [*planted(), entry("crash", grown("rare-success"), 0.0, "root")]
    assert learn(archive, frozenset()).effect("rare-success").mean > 0.0


def test_changes_made_together_share_what_happened():
    archive = [entry("root", GRPO, 40.0), entry("two", grown("rare-success", "fork-weighting"), 46.0, "root")]
    credit = learn(archive, frozenset())
    assert credit.effect("rare-success").mean == pytest.approx(credit.effect("fork-weighting").mean)


def test_parameters_earn_credit_for_their_direction():
    wider = canonical([*GRPO, component("ratio-clip", {"clip_ratio": 0.4})])
    credit = learn([entry("root", GRPO, 40.0), entry("wide", wider, 43.0, "root")], frozenset())
    assert credit.effect("ratio-clip", "clip_ratio").mean > 0
    narrower = canonical([*GRPO, component("ratio-clip", {"clip_ratio": 0.1})])
    assert credit.expected(difference(GRPO, narrower)) < 0 < credit.expected(difference(GRPO, wider))


def ended(composition, reason, phase=CandidatePhase.FAILED, **more):
    return entry("f", composition, None, "root", phase=phase, reason=reason, **more)


@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        ("VerificationFailed", CandidatePhase.REJECTED),
        ("TrainingFailed", CandidatePhase.FAILED),
        ("Collapsed", CandidatePhase.FAILED),
        ("NonFinite", CandidatePhase.FAILED),
        ("KLBlowUp", CandidatePhase.FAILED),
        ("EntropyCollapse", CandidatePhase.FAILED),
        ("FormatCollapse", CandidatePhase.FAILED),
        ("Hopeless", CandidatePhase.FAILED),
    ],
)
def test_children_that_ended_by_their_own_fault_mark_the_combination_only(reason, phase):
    failed = ended(grown("rare-success", "fork-weighting"), reason, phase)
    credit = learn([entry("root", GRPO, 40.0), failed], frozenset())
    assert credit.failures(difference(GRPO, grown("rare-success", "fork-weighting", "entropy-bonus"))) == 1
    assert credit.failures(difference(GRPO, grown("rare-success"))) == 0
    assert credit.effect("rare-success").mean == 0.0


@pytest.mark.parametrize(
    ("reason", "phase"),
    [
        ("TaskFailed", CandidatePhase.FAILED),
        ("Duplicate", CandidatePhase.REJECTED),
        ("UnknownAlgorithm", CandidatePhase.FAILED),
        ("SourceTooLarge", CandidatePhase.FAILED),
        ("ScoringFailed", CandidatePhase.FAILED),
        ("EvaluationFailed", CandidatePhase.FAILED),
        ("GPUBudgetSpent", CandidatePhase.FAILED),
        ("", CandidatePhase.FAILED),
    ],
)
def test_children_that_were_lost_or_never_judged_say_nothing(reason, phase):
    change = grown("rare-success", "fork-weighting")
    credit = learn([entry("root", GRPO, 40.0), ended(change, reason, phase)], frozenset())
    assert credit.failures(difference(GRPO, change)) == 0
    assert not credit.boundaries
    assert not credit.effects


def test_a_refused_child_marks_what_it_ended_as_or_else_what_was_proposed():
    both = grown("rare-success", "fork-weighting")
    for final, marked in ((grown("rare-success"), {"+rare-success"}), (GRPO, {"+rare-success", "+fork-weighting"})):
        refused = ended(final, "VerificationFailed", CandidatePhase.REJECTED, proposed=both)
        assert learn([entry("root", GRPO, 40.0), refused], frozenset()).boundaries == (frozenset(marked),)


def advised(name, parent, action, strength):
    advice = Advice(action=action, slot="routing", kind="rare-success", strength=strength, reason=f"seen in {name}")
    return entry(name, GRPO, 40.0, parent, reflection=Reflection(diagnosis="d", advice=(advice,)))


def test_advice_of_the_lineage_counts_more_than_that_of_strangers():
    archive = [entry("root", GRPO, 40.0), advised("mine", "root", "Try", 0.5), advised("other", "root", "Avoid", 0.5)]
    near, far = learn(archive, lineage_of("mine", archive)), learn(archive, lineage_of("other", archive))
    assert near.leaning("routing", "rare-success") > 0 > far.leaning("routing", "rare-success")
    assert near.reasons["routing", "rare-success"] == "seen in mine"
    assert near.leaning("routing", "sign-balance") == 0.0


def test_advice_does_not_grow_louder_by_being_given_again():
    def leaning(times):
        archive = [entry("root", GRPO, 40.0), *(advised(f"c{i}", "root", "Try", 0.4) for i in range(times))]
        return learn(archive, frozenset()).leaning("routing", "rare-success")

    assert leaning(40) == leaning(1) == pytest.approx(0.3 * 0.4)


def test_the_reason_given_for_advice_is_that_of_the_louder_side():
    weak = [advised(f"weak{i}", "root", "Try", 0.3) for i in range(9)]
    archive = [entry("root", GRPO, 40.0), *weak, advised("strong", "root", "Avoid", 0.9)]
    credit = learn(archive, frozenset())
    assert credit.leaning("routing", "rare-success") < 0
    assert credit.reasons["routing", "rare-success"] == "seen in strong"


def test_a_lineage_is_the_candidate_and_its_ancestors():
    archive = [entry("a", GRPO), entry("b", GRPO, None, "a"), entry("c", GRPO, None, "b"), entry("d", GRPO, None, "a")]
    assert lineage_of("c", archive) == {"a", "b", "c"}


SHORT = Objective(
    metrics=(
        Metric(name="overall", weight=0.8),
        Metric(name="response_length", weight=0.2, direction=Direction.MINIMIZE, scale=0.24),
    )
)


def test_kinds_that_serve_the_objective_are_wished_for_and_their_opposites_are_not():
    wishes = wishes_of(SHORT)
    pulls = {kind.name: kind.pull for kind in GRAMMAR.kinds.values() if kind.pull}
    assert wishes == {name: 1.0 if pull == "shorter" else -1.0 for name, pull in pulls.items()}
    assert {"overlength-cost", "length-index", "efficiency-stream"} <= {
        name for name, sign in wishes.items() if sign > 0
    }
    assert wishes_of(None) == wishes_of(Objective()) == {}
    form = Objective(metrics=(Metric(name="overall", weight=0.8), Metric(name="format_valid", weight=0.2)))
    assert wishes_of(form) == dict.fromkeys(("format-penalty", "graded-reward", "invalid-floor", "format-stream"), 1.0)


def test_moves_towards_the_objective_are_drawn_more_often_and_screened_higher():
    moves = available(GRPO, ())
    plain, asked = learn((), frozenset()), learn((), frozenset(), SHORT)
    odds = {
        name: dict(zip(moves, probabilities(moves, credit), strict=True))
        for name, credit in (("plain", plain), ("asked", asked))
    }
    add = next(move for move in moves if move.kind == "overlength-cost" and move.type is MoveType.ADD)
    against = next(move for move in moves if move.kind == "length-attenuation" and move.type is MoveType.ADD)
    assert odds["asked"][add] > 2 * odds["plain"][add]
    assert odds["asked"][against] < odds["plain"][against]


def test_a_wish_makes_way_for_what_is_measured():
    root = entry("s0", GRPO, 50.0)
    tried = [entry(f"c{i}", with_kind("overlength-cost"), 40.0, "s0") for i in range(6)]
    credit = learn([root, *tried], frozenset({"s0"}), SHORT)
    assert 0 < credit.wish("overlength-cost") < 0.6 * credit.wish("length-index")
    assert credit.effect("overlength-cost").mean + credit.wish("overlength-cost") < 0

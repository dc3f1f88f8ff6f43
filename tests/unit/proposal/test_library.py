import subprocess
import sys
from collections import Counter

import pytest

from poise_lib.errors import InvalidInputError
from poise_lib.proposal import library, propose
from poise_lib.proposal.composition import canonical, component, difference, names, problems, signature
from poise_lib.proposal.known import GRPO, KNOWN, composition_of
from poise_lib.proposal.moves import Move, MoveType
from poise_lib.resources.candidate import Advice, Reflection
from poise_lib.resources.search import Strategy
from tests.unit.proposal.drawing import choice, entry, walk

STRATEGY = Strategy(proposals_per_parent=6)
ROOT = entry("root", GRPO, 40.0, title="GRPO")


def run(archive, name="root", *, round=1, slot=0, seed=0, strategy=STRATEGY, **tiers):
    return propose(choice(name, **tiers), archive, strategy, round=round, slot=slot, seed=seed)


def busy(count=12):
    """An archive in which proposals become parents in turn."""
    archive = [ROOT]
    for i in range(count):
        parent = archive[i // 2]
        best = run(archive, parent.name, round=i // 3 + 1, slot=i % 3, pareto=(archive[-1].name,))[0]
        archive.append(entry(f"c{i}", best.composition, 40.0 + i % 5, parent.name, title=best.title))
    return archive


def test_proposals_are_new_distinct_consistent_and_ranked():
    archive = busy()
    found = run(archive, "c10", round=6, pareto=("c3",), complementary=("c4",), exploratory=("c5",))
    assert len(found) == 6
    known = {signature(composition_of(other)) for other in archive}
    keys = [signature(proposal.composition) for proposal in found]
    assert len(set(keys)) == 6
    assert not known & set(keys)
    titles = [proposal.title for proposal in found]
    assert len({*titles, *(other.title for other in archive)}) == 6 + len(archive)
    assert all(problems(proposal.composition) == () for proposal in found)
    assert found[0].screening.score == max(proposal.screening.score for proposal in found)


def test_what_repairs_had_to_change_is_not_proposed_again():
    best = run([ROOT])[0].composition
    repaired = entry("c", GRPO, None, "root", phase="Rejected", reason="VerificationFailed", proposed=best)
    assert signature(best) not in {signature(proposal.composition) for proposal in run([ROOT, repaired])}


def test_long_searches_keep_proposing():
    archive = [ROOT, *(entry(f"w{i}", walk(i), 40.0, "root") for i in range(120))]
    assert len(run(archive, "w7", round=50, slot=2)) == 6


def test_the_same_question_has_the_same_answer_and_slots_think_apart():
    assert run([ROOT]) == run([ROOT])
    answers = [
        run([ROOT], slot=slot, seed=seed, round=round)
        for slot, seed, round in ((0, 0, 1), (1, 0, 1), (0, 1, 1), (0, 0, 2))
    ]
    assert len({tuple(proposal.title for proposal in answer) for answer in answers}) == 4


def test_sentences_name_the_parent_the_change_and_the_evidence():
    reflection = Reflection(diagnosis="d", findings=("entropy-collapse",))
    parent = entry("root", GRPO, 41.5, title="GRPO", reflection=reflection)
    for proposal in run([parent, entry("c1", KNOWN["vm-av"], 44.0, "root", title="VM-AV")], pareto=("c1",)):
        assert "GRPO (root)" in proposal.hypothesis
        change = difference(GRPO, proposal.composition)
        assert proposal.mechanisms == change.changed
        assert "41.50" in proposal.rationale
        assert "entropy-collapse" in proposal.rationale
        assert "Evidence on" in proposal.rationale
        assert len(proposal.title) <= 100
        assert proposal.expected_effect
        assert proposal.screening.reasons


def test_crossings_name_the_tier_that_they_come_from():
    archive = [ROOT, entry("c1", KNOWN["cda"], 44.0, "root", title="CDA")]
    texts = [p.rationale for seed in range(6) for p in run(archive, seed=seed, complementary=("c1",))]
    assert any(
        "From CDA (c1), a reference of the complementary tier, utility 44.00, it takes:" in text for text in texts
    )


def tried(archive, seeds=range(25), **tiers):
    """How often each kind is brought in by the proposals that screening ranks first."""
    one = Strategy(proposals_per_parent=1)
    found = Counter()
    for seed in seeds:
        best = run(archive, seed=seed, strategy=one, **tiers)[0]
        found.update(names(best.composition) - names(GRPO))
    return found


def with_advice(action):
    advice = Advice(action=action, slot="failure", kind="invalid-floor", strength=1.0, reason="format was lost")
    return [entry("root", GRPO, 40.0, title="GRPO", reflection=Reflection(diagnosis="d", advice=(advice,)))]


def test_advice_of_a_reflection_changes_what_is_proposed():
    towards, plain, away = tried(with_advice("Try")), tried([ROOT]), tried(with_advice("Avoid"))
    assert towards["invalid-floor"] > plain["invalid-floor"] + 5
    assert away["invalid-floor"] <= plain["invalid-floor"]


def test_references_steer_what_is_proposed():
    archive = [ROOT, entry("c1", KNOWN["cda"], 40.0, title="CDA")]
    own = names(KNOWN["cda"]) - names(GRPO)
    with_it, without = tried(archive, pareto=("c1",)), tried(archive)
    assert sum(with_it[kind] for kind in own) > 1.5 * sum(without[kind] for kind in own)


def test_credit_earned_in_the_archive_changes_what_is_proposed():
    def gained(kind, points):
        return [entry(f"{kind}{i}", canonical([*GRPO, component(kind)]), 40.0 + points, "root") for i in range(4)]

    liked = tried([ROOT, *gained("fork-weighting", 4.0), *gained("length-power-law", -4.0)])
    assert liked["fork-weighting"] > liked["length-power-law"] + 3


def test_a_parent_that_the_archive_lacks_is_an_error_that_says_so():
    with pytest.raises(InvalidInputError, match="parent 'gone' is not in the archive of 1 entries"):
        run([ROOT], "gone")


def test_rendering_and_proposing_do_without_torch_and_sklearn():
    code = "import sys, poise_lib.proposal, poise_lib.reflection; print({'torch', 'sklearn'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_a_list_repeats_neither_itself_nor_the_archive(monkeypatch):
    two = (Move(MoveType.ADD, "rare-success"), Move(MoveType.ADD, "fork-weighting"))
    monkeypatch.setattr(library, "available", lambda parent, references: two)
    archive = [ROOT, entry("c1", canonical([*GRPO, component("rare-success")]), 40.0, "root")]
    found = run(archive, strategy=Strategy(proposals_per_parent=20))
    assert sorted(sorted(names(proposal.composition) - names(GRPO)) for proposal in found) == [
        ["fork-weighting"],
        ["fork-weighting", "rare-success"],
    ]

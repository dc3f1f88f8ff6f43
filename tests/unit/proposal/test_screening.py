import pytest

from poise_lib.proposal import screening
from poise_lib.proposal.composition import canonical, component, difference
from poise_lib.proposal.credit import Credit, Estimate
from poise_lib.proposal.known import GRPO, KNOWN
from poise_lib.proposal.screening import WEIGHTS, Archived, Draft, nearest, rank

ARCHIVE = [Archived("GRPO", GRPO)]


def screen(draft, credit, archive):
    return screening.screen(draft, credit, nearest(draft, archive))


def draft(*kinds, intended=None):
    composition = canonical([*GRPO, *(component(kind) for kind in kinds)])
    return Draft(composition, difference(GRPO, composition), frozenset(intended if intended is not None else kinds))


def test_the_score_is_the_weighted_total():
    found = screen(draft("rare-success"), Credit(), ARCHIVE)
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)
    assert found.score == pytest.approx(sum(w * getattr(found, name) for name, w in WEIGHTS.items()), abs=1e-4)


def test_pulling_length_both_ways_is_inconsistent():
    found = screen(draft("length-attenuation", "overlength-cost"), Credit(), ARCHIVE)
    assert found.consistency < screen(draft("overlength-cost"), Credit(), ARCHIVE).consistency
    assert any("length is pulled both ways" in reason for reason in found.reasons)


def test_collateral_changes_count_against_consistency():
    meant = screen(draft("rare-success", "fork-weighting"), Credit(), ARCHIVE)
    unmeant = screen(draft("rare-success", "fork-weighting", intended=("rare-success",)), Credit(), ARCHIVE)
    assert unmeant.consistency < meant.consistency


def test_an_inconsistent_composition_has_no_consistency():
    assert screen(draft("entropy-target"), Credit(), ARCHIVE).consistency == 0.0


def test_what_failed_before_is_less_feasible():
    broken = Credit(boundaries=(frozenset({"+rare-success"}),))
    assert screen(draft("rare-success"), broken, ARCHIVE).feasibility < 0.7
    assert screen(draft("fork-weighting"), broken, ARCHIVE).feasibility > 0.9


def test_novelty_is_distance_from_the_whole_archive():
    retuned = canonical([*GRPO, component("ratio-clip", {"clip_ratio": 0.22})])
    near, far = (Draft(item, difference(GRPO, item), frozenset()) for item in (retuned, KNOWN["cda"]))
    assert screen(near, Credit(), ARCHIVE).novelty < screen(far, Credit(), ARCHIVE).novelty == 1.0
    assert screen(far, Credit(), [*ARCHIVE, Archived("CDA", KNOWN["cda"])]).novelty == 0.0


def test_ranking_prefers_credit_and_spreads_over_ideas():
    credit = Credit(effects={("rare-success", ""): Estimate(0.9, 0.1, 9)})
    twins = [draft("rare-success"), draft("rare-success"), draft("fork-weighting")]
    ranked = rank(twins, credit, ARCHIVE, 3)
    assert [item.change.added for item, _ in ranked] == [("rare-success",), ("fork-weighting",), ("rare-success",)]
    assert ranked[2][1].novelty == 0.0
    assert len(rank(twins, credit, ARCHIVE, 2)) == 2

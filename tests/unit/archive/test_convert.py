"""Candidates to entries."""

import itertools

from poise_lib.archive.convert import entries, entry_from_candidate
from poise_lib.artifacts.digest import digest_of
from poise_lib.resources import Candidate
from poise_lib.resources.candidate import CandidatePhase, Component
from tests.unit.archive.builders import candidate


def test_an_entry_carries_what_selection_needs() -> None:
    behaviour = digest_of(b"outputs")
    made = candidate(
        "c1",
        "c0",
        round=2,
        slot=1,
        metrics={"a": 3.0},
        utility=3.0,
        trajectory={"actor/entropy.last": 0.1},
        verification={"passed": True, "revision": 1, "checks": 9, "behaviourDigest": behaviour},
        reflection={"diagnosis": "entropy fell"},
    )
    entry = entry_from_candidate(made, depth=4)
    assert (entry.name, entry.parents, entry.round, entry.slot, entry.depth) == ("c1", ("c0",), 2, 1, 4)
    assert (entry.metrics, entry.utility) == ({"a": 3.0}, 3.0)
    assert entry.source_digest == digest_of(b"x = 1")
    assert entry.behaviour_digest == behaviour
    assert entry.trajectory == {"actor/entropy.last": 0.1}
    assert entry.reflection is not None
    assert entry.title == "c1"


def test_only_an_archived_candidate_keeps_a_score() -> None:
    entry = entry_from_candidate(candidate("c1", phase="Failed", metrics={"a": 99.0}, utility=99.0), depth=0)
    assert entry.phase is CandidatePhase.FAILED
    assert (entry.metrics, entry.utility) == ({}, None)


def test_final_candidates_come_in_one_order_with_their_depths() -> None:
    made = [
        candidate("base"),
        candidate("b", "base", round=1, slot=0),
        candidate("a", "base", round=1, slot=1, phase="Rejected", source=None),
        candidate("d", "b", round=2),
        candidate("running", "b", round=2, slot=1, phase="Evaluating"),
        candidate("orphan", "deleted", round=2, slot=2),
    ]
    for shuffled in itertools.permutations(made):
        archive = entries(shuffled)
        assert [entry.name for entry in archive] == ["base", "b", "a", "d", "orphan"]
        assert [entry.depth for entry in archive] == [0, 1, 1, 2, 0]


PROPOSED = (Component(slot="routing", kind="rare-success"), Component(slot="scale", kind="unscaled"))


def proposed_and(*final: Component) -> Candidate:
    """A candidate proposed as :data:`PROPOSED` whose code renders ``final``."""
    made = candidate("c1")
    assert made.status.implementation is not None
    code = made.status.implementation.model_copy(update={"composition": final})
    proposal = made.spec.proposal.model_copy(update={"composition": PROPOSED})
    return made.model_copy(
        update={
            "spec": made.spec.model_copy(update={"proposal": proposal}),
            "status": made.status.model_copy(update={"implementation": code}),
        }
    )


def test_an_entry_has_the_composition_that_was_run() -> None:
    entry = entry_from_candidate(proposed_and(PROPOSED[1]), depth=0)
    assert (entry.composition, entry.proposed) == ((PROPOSED[1],), PROPOSED)


def test_without_repairs_there_is_one_composition() -> None:
    for made in (proposed_and(*PROPOSED), proposed_and()):
        entry = entry_from_candidate(made, depth=0)
        assert (entry.composition, entry.proposed) == (PROPOSED, ())


def test_an_entry_knows_why_its_candidate_ended() -> None:
    refused = entry_from_candidate(candidate("c1", phase="Rejected", reason="VerificationFailed"), depth=0)
    lost = entry_from_candidate(candidate("c1", phase="Failed", reason="TaskFailed"), depth=0)
    assert (refused.reason, refused.at_fault) == ("VerificationFailed", True)
    assert (lost.reason, lost.at_fault) == ("TaskFailed", False)
    assert not entry_from_candidate(candidate("c1"), depth=0).at_fault

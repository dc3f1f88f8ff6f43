from poise_lib.proposal import implement
from poise_lib.proposal.composition import canonical, component
from poise_lib.proposal.known import GRPO
from poise_lib.resources.candidate import CheckResult, Proposal


def proposal(*parts):
    composition = canonical(
        [*GRPO, *(component(*part) if isinstance(part, tuple) else component(part) for part in parts)]
    )
    changed = tuple(part[0] if isinstance(part, tuple) else part for part in parts)
    return Proposal(title="T", hypothesis="H.", mechanisms=changed, composition=composition)


def finding(name, evidence, status="failed"):
    return CheckResult(name=name, status=status, evidence=evidence, hint="repair it")


def test_the_first_revision_is_the_proposal_rendered():
    source = implement(proposal("rare-success"), revision=1, findings=())
    assert source == implement(proposal("rare-success"), revision=1, findings=())
    assert '"rare-success"' in source


def test_a_mechanism_that_changes_nothing_is_dropped():
    idle = finding("mechanisms-act", "no effect in any of 7 situations when switched off: rare-success (rare_gain = 0)")
    source = implement(proposal("rare-success", "fork-weighting"), revision=2, findings=(idle,))
    assert '"rare-success"' not in source
    assert '"fork-weighting"' in source
    assert "Revision 2 drops rare-success" in source


def test_warnings_are_not_repaired():
    warned = finding("mechanisms-act", "rare-success", status="warned")
    source = implement(proposal("rare-success", "fork-weighting"), revision=2, findings=(warned,))
    assert source is None or '"rare-success"' in source


def test_numbers_out_of_hand_return_to_the_usual_settings_and_then_changes_go():
    wild = proposal(("rare-success", {"rare_gain": 4.0}))
    broken = finding("finite", "advantages not finite in rich")
    assert '"rare_gain": Hyperparameter(1.0' in implement(wild, revision=2, findings=(broken,))
    assert '"rare-success"' not in implement(wild, revision=3, findings=(broken,))


def test_a_copy_of_its_parent_is_taken_further():
    same = finding("novelty", "behaves exactly as root in all 13 situations")
    one = implement(proposal(("rare-success", {"rare_gain": 0.3})), revision=1, findings=())
    two = implement(proposal(("rare-success", {"rare_gain": 0.3})), revision=2, findings=(same,))
    assert two is not None
    assert two != one
    assert implement(Proposal(title="T", hypothesis="H.", composition=GRPO), revision=2, findings=(same,)) is None


def test_nothing_left_to_repair_is_none():
    assert implement(proposal(), revision=2, findings=(finding("direction", "negative"),)) is None
    assert implement(proposal("rare-success"), revision=2, findings=()) is None

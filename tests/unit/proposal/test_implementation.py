import pytest

from poise_lib.proposal import implement
from poise_lib.proposal.composition import canonical, component, names
from poise_lib.proposal.known import GRPO
from poise_lib.proposal.rendering import render
from poise_lib.resources.candidate import CheckResult, Proposal


def proposal(*parts):
    composition = canonical(
        [*GRPO, *(component(*part) if isinstance(part, tuple) else component(part) for part in parts)]
    )
    changed = tuple(part[0] if isinstance(part, tuple) else part for part in parts)
    return Proposal(title="T", hypothesis="H.", mechanisms=changed, composition=composition)


def finding(name, evidence, status="failed"):
    return CheckResult(name=name, status=status, evidence=evidence, hint="repair it")


def source_of(*arguments, **keywords):
    return implement(*arguments, **keywords).source


def test_the_first_revision_is_the_proposal_rendered():
    source = source_of(proposal("rare-success"), revision=1, findings=())
    assert source == source_of(proposal("rare-success"), revision=1, findings=())
    assert '"rare-success"' in source


def test_a_mechanism_that_changes_nothing_is_dropped():
    idle = finding("mechanisms-act", "no effect in any of 7 situations when switched off: rare-success (rare_gain = 0)")
    source = source_of(proposal("rare-success", "fork-weighting"), revision=2, findings=(idle,))
    assert '"rare-success"' not in source
    assert '"fork-weighting"' in source
    assert "Revision 2 drops rare-success" in source


def test_warnings_are_not_repaired():
    warned = finding("mechanisms-act", "rare-success", status="warned")
    made = implement(proposal("rare-success", "fork-weighting"), revision=2, findings=(warned,))
    assert made is None or '"rare-success"' in made.source


def test_numbers_out_of_hand_return_to_the_usual_settings_and_then_changes_go():
    wild = proposal(("rare-success", {"rare_gain": 4.0}))
    broken = finding("finite", "advantages not finite in rich")
    tamed = implement(wild, revision=2, findings=(broken,))
    assert '"rare_gain": Hyperparameter(1.0' in tamed.source
    assert '"rare-success"' not in source_of(wild, revision=3, findings=(broken,), previous=tamed.composition)


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


def test_the_composition_comes_with_the_source_that_renders_it():
    what = proposal("rare-success", "fork-weighting")
    assert implement(what, revision=1, findings=()).composition == what.composition
    made = implement(what, revision=2, findings=(finding("mechanisms-act", "no effect: rare-success"),))
    assert names(made.composition) == names(what.composition) - {"rare-success"}
    assert made.source == render(made.composition, "T", "H. Revision 2 drops rare-success, which verification refused.")


def test_repairs_add_up():
    what = proposal("rare-success", "fork-weighting", "entropy-bonus")
    first = implement(what, revision=2, findings=(finding("mechanisms-act", "no effect: rare-success"),))
    second = implement(
        what,
        revision=3,
        findings=(finding("mechanisms-act", "no effect: fork-weighting"),),
        previous=first.composition,
    )
    assert names(what.composition) - names(second.composition) == {"rare-success", "fork-weighting"}
    assert "Earlier revisions dropped rare-success. Revision 3 drops fork-weighting" in " ".join(second.source.split())


def test_changes_are_dropped_one_a_round():
    what = proposal("rare-success", "fork-weighting", "entropy-bonus")
    refused = (finding("direction", "negative"),)
    first = implement(what, revision=2, findings=refused)
    second = implement(what, revision=3, findings=refused, previous=first.composition)
    assert len(first.composition) == len(what.composition) - 1
    assert names(second.composition) < names(first.composition)
    assert len(second.composition) == len(first.composition) - 1


def gain_of(made):
    return next(part.parameters["rare_gain"] for part in made.composition if part.kind == "rare-success")


@pytest.mark.parametrize("gain", [0.3, 1.7, 3.0])
def test_each_step_further_goes_the_same_way(gain):
    what = proposal(("rare-success", {"rare_gain": gain}))
    same = (finding("novelty", "behaves exactly as root"),)
    first = implement(what, revision=2, findings=same)
    second = implement(what, revision=3, findings=same, previous=first.composition)
    assert (gain_of(first) - gain) * (gain_of(second) - gain_of(first)) > 0


def test_a_repair_does_not_go_back_to_what_was_refused():
    what = proposal("rare-success")
    further = implement(what, revision=2, findings=(finding("novelty", "behaves exactly as root"),))
    broken = finding("finite", "advantages not finite in rich")
    made = implement(what, revision=3, findings=(broken,), previous=further.composition)
    assert made is None or made.composition != what.composition

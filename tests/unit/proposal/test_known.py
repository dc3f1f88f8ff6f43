import pytest

from poise_lib.algorithms import registry
from poise_lib.proposal.composition import names
from poise_lib.proposal.known import GRPO, KNOWN, composition_of
from tests.unit.proposal.drawing import entry


def test_every_algorithm_of_the_zoo_has_a_composition():
    assert set(registry.NAMES) <= KNOWN.keys()


@pytest.mark.parametrize("name", registry.NAMES)
def test_zoo_algorithms_are_recognised_by_their_titles(name):
    title = registry.load(name).title
    assert composition_of(entry("s-r000-00", (), title=title)) == KNOWN[name], title


def test_an_entrys_own_composition_comes_first():
    assert composition_of(entry("grpo", KNOWN["vm-av"], title="GRPO")) == KNOWN["vm-av"]


def test_a_module_by_hand_starts_from_grpo_with_the_mechanisms_that_the_grammar_knows():
    found = composition_of(entry("mine", (), title="Mine", mechanisms=("rare-success", "moon-phase")))
    assert names(found) == names(GRPO) | {"rare-success"}
    assert composition_of(entry("mine", (), title="Mine")) == GRPO

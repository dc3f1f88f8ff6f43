"""Distances between compositions, by hand."""

import pytest

from poise_lib.archive.entry import Entry
from poise_lib.archive.structure import UNKNOWN_DISTANCE, Structures
from poise_lib.resources.candidate import Component
from tests.unit.archive.builders import composition, entry


def distance(a: Entry, b: Entry, *others: Entry) -> float:
    return float(Structures.of([a, b, *others]).distances([0], [1])[0, 0])


def test_shared_parts_over_all_parts() -> None:
    a = entry("a", composition=composition(baseline="mean", scale="deviation", clip="hard"))
    b = entry("b", composition=composition(baseline="mean", scale="range", clip="hard"))
    assert distance(a, b) == pytest.approx(1 - 2 / 4)
    assert distance(a, a.model_copy(update={"name": "c"})) == 0.0
    assert distance(a, entry("d", composition=composition(reward="ladder"))) == 1.0


def test_the_order_of_components_does_not_count() -> None:
    parts = composition(baseline="mean", scale="deviation", clip="hard")
    assert distance(entry("a", composition=parts), entry("b", composition=parts[::-1])) == 0.0


def test_parameters_move_a_shared_part_by_half_at_most() -> None:
    def tuned(name: str, **parameters: float) -> Entry:
        return entry(name, composition=(Component(slot="scale", kind="floor", parameters=parameters),))

    assert distance(tuned("a", floor=0.1), tuned("b", floor=0.9)) == pytest.approx(0.5)
    # the third entry doubles the range: half of it, squared
    assert distance(tuned("a", floor=0.0), tuned("b", floor=1.0), tuned("c", floor=2.0)) == pytest.approx(0.5 * 0.25)
    # two parameters share the part
    assert distance(tuned("a", p=0.0, q=1.0), tuned("b", p=1.0, q=1.0)) == pytest.approx(0.5 * 0.5)
    # what only one of them sets is no difference that could be measured
    assert distance(tuned("a", p=0.0), tuned("b", q=1.0)) == 0.0


def test_mechanism_names_stand_in_for_a_composition() -> None:
    a, b = entry("a", mechanisms=("floor", "gate")), entry("b", mechanisms=("gate", "ladder", "decay"))
    assert distance(a, b) == pytest.approx(1 - 1 / 4)


def test_nothing_known_is_neutral() -> None:
    assert distance(entry("a"), entry("b")) == UNKNOWN_DISTANCE
    assert distance(entry("a"), entry("b", mechanisms=("gate",))) == 1.0


def test_rows_and_columns_keep_their_places() -> None:
    entries = [entry(name, mechanisms=(name, "shared")) for name in "abc"]
    table = Structures.of(entries).distances([2, 0], slice(None))
    assert table.shape == (2, 3)
    assert table.tolist() == [pytest.approx([2 / 3, 2 / 3, 0]), pytest.approx([0, 2 / 3, 2 / 3])]

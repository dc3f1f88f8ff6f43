"""Where the literature comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise_lib.agents.papers import ENV_LITERATURE, literature
from poise_lib.errors import InvalidInputError
from poise_lib.prompts import curated

OWN = "papers:\n- {identifier: IDENTIFIER, title: Own, year: 2026, mechanism: A gate., claim: It helps.}\n"


def test_without_the_variable_it_is_what_poise_ships() -> None:
    assert literature({}) == curated()


def test_a_folder_s_files_add_up_and_hidden_ones_are_left_out(tmp_path: Path) -> None:
    for name, identifier in (("a.yaml", "own-a"), ("b", "own-b"), (".hidden", "own-c")):
        (tmp_path / name).write_text(OWN.replace("IDENTIFIER", identifier))
    own = {
        paper.identifier for paper in literature({ENV_LITERATURE: str(tmp_path)}).papers if "own" in paper.identifier
    }
    assert own == {"own-a", "own-b"}
    assert len(literature({ENV_LITERATURE: str(tmp_path / "b")}).papers) == len(curated().papers) + 1


@pytest.mark.parametrize(("name", "text"), [("missing", None), ("bad.yaml", "papers: ["), ("other.yaml", "a: 1\n")])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, text: str | None) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInputError, match=name):
        literature({ENV_LITERATURE: str(tmp_path / name)})


def test_too_many_together_are_told(tmp_path: Path) -> None:
    for part in range(3):
        papers = "".join(OWN.removeprefix("papers:\n").replace("IDENTIFIER", f"p{part}-{n}") for n in range(200))
        (tmp_path / f"{part}.yaml").write_text(f"papers:\n{papers}")
    with pytest.raises(InvalidInputError, match="too many"):
        literature({ENV_LITERATURE: str(tmp_path)})

"""The docs follow the code: links lead somewhere, messages are those of the code, values and metrics exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from controller.outfits import HEAVY_KINDS
from poise_lib.resources.search import FIXED_FIELDS
from poise_lib.tasks.protocol import TaskKind, time_limit

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
OPERATIONS: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
OTHERS: Final = (
    "cannot create resource",
    "exceeded quota",
    "forbidden",
    "nodes are available",
    "unbound immediate PersistentVolumeClaims",
    "Multi-Attach error",
    "OOMKilled",
    "DeadlineExceeded",
    "Unschedulable",
)
"""Words of Kubernetes in the symptoms."""


def anchors(page: Path) -> set[str]:
    """What a link into a page may end with, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), target


def symptoms() -> Iterator[str]:
    """Messages in the first column of the tables of what may be wrong."""
    for part in re.split(r"^## ", OPERATIONS, flags=re.MULTILINE):
        if part.startswith("When something is wrong"):
            for row in re.findall(r"^\| (.*?) \|", part, re.MULTILINE)[2:]:
                yield from re.findall(r"`([^`]+)`", row)


def _plain(text: str) -> str:
    """Source without what stands between pieces of one message: placeholders, joints of literals, line ends."""
    text = re.sub(r"\{[^{}]*\}", "…", text)
    return re.sub(r"\"\s*\n\s*f?\"|\s+", lambda found: "" if '"' in found[0] else " ", text)


def test_symptoms_are_in_the_words_of_the_code() -> None:
    folders = ("controller", "poise_lib")
    source = "\n".join(
        _plain(file.read_text(encoding="utf-8")) for folder in folders for file in (ROOT / folder).rglob("*.py")
    )
    found = list(symptoms())
    assert len(found) > 20
    missing = []
    for symptom in found:
        for piece in re.split(r"…|\b[A-Z]+\b|\d+|'[ab]'|[():;/]", symptom):
            words = piece.strip(" ,.")
            if len(words) > 3 and not any(other in words for other in OTHERS) and words not in source:
                missing.append((symptom, words))
    assert not missing


def test_deadlines_are_those_of_the_code() -> None:
    names = {"4 h": 4 * 3600, "1 h": 3600, "15 min": 900}
    rows = re.findall(r"^\| (`\w+`|the others) \| .* \| .* \| (\d+ \w+) \|$", OPERATIONS, re.MULTILINE)
    told = {name.strip("`"): names[limit] for name, limit in rows}
    limits = {kind: time_limit(kind) for kind in TaskKind}
    others = {limit for kind, limit in limits.items() if kind not in HEAVY_KINDS}
    assert others == {told.pop("the others")}
    assert told == {kind.value: limits[kind] for kind in HEAVY_KINDS}


def test_values_are_those_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "charts" / "poise" / "values.yaml").read_text(encoding="utf-8"))
    for name in re.findall(r"`((?:images|artifacts|controller|crds|rbac|metrics)\.\w[\w.]*)", OPERATIONS):
        here = values
        for step in name.split("."):
            assert step in here, name
            here = here[step]


def test_fields_that_are_fixed_are_all_told() -> None:
    [row] = re.findall(r"^\| change `baseline`.*?\|", OPERATIONS, re.MULTILINE)
    told = {name.strip("`") for name in re.findall(r"`[\w.]+`", row)}
    assert {name if name in told else "." + name.rpartition(".")[2] for name in FIXED_FIELDS} == told

"""The modules of the scripted model: small variations of the zoo pass verification, and each mistake is found by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from poise_lib.verification import verify
from tests.llm.modules import MISTAKES, modules

SAMPLE = ("DAPO with overlong-shaping at 0.6", "GSPO", "CAG-GRPO with competence-gate at 1.6")
FOUND_BY = {
    "flipped-sign": "direction",
    "not-finite": "finite",
    "padding-matters": "mask-respected",
    "idle-mechanism": "hyperparameters-read",
    "forbidden": "static-policy",
    "cut": "static-policy",
}
"""Wrong names are nothing that verification knows of: rules compare them with the proposal."""


@pytest.mark.parametrize("title", SAMPLE)
def test_variations_pass(title: str, tmp_path: Path) -> None:
    report = verify(modules()[title].source, workdir=tmp_path, training_probe=False)
    assert report.passed, [check for check in report.findings if check.status == "failed"]


@pytest.mark.parametrize("mistake", [name for name in MISTAKES if name != "wrong-names"])
def test_mistakes_are_found(mistake: str, tmp_path: Path) -> None:
    source = MISTAKES[mistake](modules()["DAPO"].source)
    report = verify(source, workdir=tmp_path, training_probe=False)
    assert not report.passed
    assert FOUND_BY[mistake] in {check.name for check in report.findings if check.status == "failed"}

"""``poise run`` with the library of mechanisms and a directive: other objective, other selection, other report."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from poise_lib.local.state import StateDir
from poise_lib.resources import Search
from poise_lib.resources.candidate import CandidatePhase
from poise_lib.resources.search import SearchPhase
from tests.integration.conftest import MANIFEST, command

# One worker runs them all, as in test_local_run: each search uses both cores.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("local-run")]

DIRECTIVE = "Shorten responses, keep accuracy"


def run(folder: Path, directive: str) -> tuple[StateDir, Search, str, str]:
    """State, search, report and progress of a tiny search."""
    manifest, state = folder / "search.yaml", folder / "state"
    folder.mkdir()
    manifest.write_text(MANIFEST.replace("spec:\n", f"spec:\n  directive: {directive}\n"))
    done = subprocess.run(command(state, manifest), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    directory = StateDir(state)
    search = directory.search()
    assert search is not None
    assert search.status.phase is SearchPhase.COMPLETE
    return directory, search, " ".join(done.stdout.split()), " ".join(done.stderr.split())


@pytest.fixture(scope="module")
def shorter(tmp_path_factory: pytest.TempPathFactory) -> tuple[StateDir, Search, str, str]:
    return run(tmp_path_factory.mktemp("directive") / "shorter", DIRECTIVE)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[StateDir, Search, str, str]:
    return run(tmp_path_factory.mktemp("directive") / "plain", "Raise the overall score over GRPO.")


def test_the_objective_follows_the_directive_and_the_baseline_s_own_scores(
    shorter: tuple[StateDir, Search, str, str], plain: tuple[StateDir, Search, str, str]
) -> None:
    directory, search, _, _ = shorter
    base = next(item for item in directory.candidates() if not item.spec.parents).status.metrics
    found = search.status.objective
    assert found is not None
    assert found.source.value == "Directive"
    overall, length = found.metrics
    assert (overall.name, overall.weight, length.name, length.weight) == ("overall", 0.8, "response_length", 0.2)
    assert length.direction.value == "Minimize"
    assert length.scale == pytest.approx(base["response_length"] / 100.0, abs=1e-6)
    assert found.constraints[0].minimum == pytest.approx(base["overall"] - 1.0)
    for item in directory.candidates():
        if item.status.phase is CandidatePhase.ARCHIVED:
            seen = item.status.metrics
            expected = 0.8 * seen["overall"] - 20.0 * seen["response_length"] / base["response_length"]
            assert item.status.utility == pytest.approx(expected, abs=1e-3)
    other = plain[1].status.objective
    assert other is not None
    assert (other.source.value, other.metrics, other.constraints) == ("Suite", (), ())


def test_the_same_baseline_is_followed_by_other_candidates(
    shorter: tuple[StateDir, Search, str, str], plain: tuple[StateDir, Search, str, str]
) -> None:
    def proposals(directory: StateDir) -> list[tuple[str, ...]]:
        ordered = sorted(directory.candidates(), key=lambda item: item.metadata.name)
        return [tuple(part.kind for part in item.spec.proposal.composition) for item in ordered if item.spec.parents]

    ours, theirs = (next(item for item in one[0].candidates() if not item.spec.parents) for one in (shorter, plain))
    assert ours.status.metrics == theirs.status.metrics
    assert proposals(shorter[0]) != proposals(plain[0])
    reasons = [
        reason
        for item in shorter[0].candidates()
        if item.spec.proposal.screening is not None
        for reason in item.spec.proposal.screening.reasons
    ]
    assert any("what the objective asks for" in reason for reason in reasons)
    assert shorter[1].status.digest != plain[1].status.digest
    assert shorter[1].status.selection != plain[1].status.selection


def test_reflections_and_the_report_speak_of_length_and_accuracy(
    shorter: tuple[StateDir, Search, str, str], plain: tuple[StateDir, Search, str, str]
) -> None:
    directory, search, report, progress = shorter
    assert "Directive read as: minimise response_length (weight 0.2" in progress
    assert re.search(r"Directive read as: .* the baseline's \d+\.\d \(so at least -?\d+\.\d\)", report)
    assert re.search(
        r"Utility: 0\.8 overall - 0\.2 response_length / [\d.]+, with [-\d.]+ <= overall and response_length <= [\d.]+\.",
        report,
    )
    assert re.search(
        r"By the objective's metrics, against grpo: overall [\d.]+ against [\d.]+ .*response_length", report
    )
    for item in directory.candidates():
        if item.status.reflection is not None:
            assert "By the metrics of the objective: overall " in item.status.reflection.diagnosis
    best = search.status.best
    assert best is not None
    if best.confirmation is not None:
        assert [one.name for one in best.confirmation.metrics] == ["overall", "response_length"]
        assert best.confirmation.metrics[0].kept is not None
    assert "suite's own objective" in plain[3]
    assert "By the objective's metrics" not in plain[2]

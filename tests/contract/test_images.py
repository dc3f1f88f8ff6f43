"""What the images are made of: the extras that their processes need, and a wheel with all of the package's data in it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

from tests.kube.cluster import ROOT

WORKER: Final = ROOT / "images" / "worker" / "Dockerfile"
CONTROLLER: Final = ROOT / "Dockerfile"
TRAINER: Final = ROOT / "images" / "trainer" / "Dockerfile"
SHIPPED: Final = ("controller", "poise_lib")
DATA: Final = (
    "poise_lib/llm/prices.yaml",
    "poise_lib/prompts/literature.yaml",
    "poise_lib/prompts/templates/propose.system.j2",
)


def extras(dockerfile: Path) -> set[str]:
    [names] = re.findall(r"pip install .*'\.\[([a-z0-9,]+)\]'", dockerfile.read_text(encoding="utf-8"))
    return set(names.split(","))


def files() -> set[str]:
    """Everything that belongs to the packages, code and data, as git would take it."""
    found = set()
    for folder in SHIPPED:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(path.relative_to(ROOT).as_posix())
    return found


def test_the_worker_can_ask_a_model_and_the_controller_cannot() -> None:
    assert extras(WORKER) == {"llm", "local", "s3"}
    assert extras(CONTROLLER) == {"controller"}


@pytest.mark.parametrize("dockerfile", [WORKER, CONTROLLER], ids=["worker", "controller"])
def test_dependencies_are_pinned(dockerfile: Path) -> None:
    text = dockerfile.read_text(encoding="utf-8")
    for line in re.findall(r"pip install.*", text):
        assert "--constraint constraints.txt" in line or "--no-deps" in line


def test_both_variants_of_the_trainer_are_pinned_and_only_the_one_for_gpus_has_vllm() -> None:
    text = TRAINER.read_text(encoding="utf-8")
    [cpu, cuda] = re.findall(r"set -- (--constraint .*?);", text)
    assert cpu == "--constraint constraints-verl.txt"
    assert cuda == "--constraint constraints-cuda.txt 'verl[vllm]'"
    pins = (TRAINER.parent / "constraints-cuda.txt").read_text(encoding="utf-8")
    named = dict(line.split("==") for line in pins.splitlines() if "==" in line)
    here = dict(
        line.split("==")
        for line in (ROOT / "constraints-verl.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    assert {"vllm", "torch", "verl"} <= named.keys()
    assert "vllm" not in here
    # VeRL's extra names PyTorch and transformers itself; all else is what was tested on a CPU.
    assert {name for name in named.keys() & here.keys() if named[name] != here[name]} == {"torch", "transformers"}


def test_all_images_run_as_the_same_user_without_a_compiler_but_for_what_triton_needs() -> None:
    for dockerfile in (WORKER, CONTROLLER, TRAINER):
        last = dockerfile.read_text(encoding="utf-8").rpartition("\nFROM ")[2]
        assert "USER 65532" in last
        assert ("gcc" in last) is (dockerfile is TRAINER)
    assert (
        WORKER.read_text(encoding="utf-8").rpartition("ENTRYPOINT")[2]
        == TRAINER.read_text(encoding="utf-8").rpartition("ENTRYPOINT")[2]
    ), "one protocol"


def test_the_builds_context_has_the_packages_and_no_more() -> None:
    kept = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(SHIPPED) <= set(kept)
    assert not {"tests", ".git", "examples"} & set(kept)


@pytest.mark.slow
def test_the_wheel_has_every_file_of_the_packages(tmp_path: Path) -> None:
    """The images install one; a template that it lacks would be missed by the first task that asks a model."""
    source = tmp_path / "source"
    for folder in SHIPPED:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    if "No module named pip" in done.stderr:
        pytest.skip("this environment has no pip")
    assert done.returncode == 0, done.stderr[-2000:]
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    assert files() - inside == set()
    assert set(DATA) <= inside

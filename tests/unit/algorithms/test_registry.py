"""The zoo by name: what is read from the syntax trees is what the modules declare."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources

import pytest

from poise_lib.algorithms import registry
from poise_lib.errors import InvalidInputError


@pytest.mark.parametrize("name", registry.NAMES)
def test_listing_and_module_agree(name: str) -> None:
    entry, algorithm = registry.zoo()[name], registry.load(name)
    assert entry.name == algorithm.name == name
    for field in ("title", "source", "aggregation", "needs", "mechanisms"):
        assert getattr(entry, field) == getattr(algorithm, field), field
    assert dict(entry.hyperparameters) == dict(algorithm.hyperparameters)
    assert entry.summary
    assert "arXiv:" in entry.source


def test_every_module_is_listed() -> None:
    files = {
        path.name for path in resources.files("poise_lib.algorithms.zoo").iterdir() if path.name.endswith(".py")
    } - {"__init__.py"}
    assert files == {f"{name.replace('-', '_')}.py" for name in registry.NAMES}


def test_titles_are_distinct() -> None:
    assert len({entry.title for entry in registry.zoo().values()}) == len(registry.NAMES)


def test_listing_imports_no_torch() -> None:
    code = "import sys; from poise_lib.algorithms.registry import zoo; zoo(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("dr_grpo", "did you mean dr-grpo"),
        ("GRPO", "did you mean grpo"),
        ("vmav", "did you mean vm-av"),
        ("zzzzzz", "known: grpo, dapo, "),
    ],
)
def test_unknown_name(name: str, hint: str) -> None:
    for function in (registry.load, registry.zoo_source):
        with pytest.raises(InvalidInputError, match=f"there is no algorithm '{name}' in the zoo; {hint}"):
            function(name)

"""The whole of verification with its real sandbox; hostile candidates here have slipped past the static policy."""

import ast
import os
import sys
from dataclasses import replace

import pytest

from poise_lib.verification import Status, verify
from poise_lib.verification.policy import PolicyResult
from poise_lib.verification.verifier import CHECKS, LIMITS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox rests on Linux")

HEAD = "def advantages(batch: Batch, hyper) -> Tensor:"


@pytest.fixture
def unguarded(monkeypatch):
    """Switch the static policy off."""
    monkeypatch.setattr(
        "poise_lib.verification.verifier.check_source", lambda source: PolicyResult(ast.parse(source), ())
    )


def failed(report):
    return [check for check in report.checks if check.status is Status.FAILED]


def test_a_good_candidate_passes_with_a_training_run(candidate, tmp_path):
    report = verify(candidate, workdir=tmp_path)
    assert report.passed, failed(report)
    assert [check.name for check in report.checks] == list(CHECKS)
    training = report.checks[-1]
    assert (training.name, training.status) == ("training-probe", Status.PASSED)
    assert "resource-limits" in report.isolation
    assert report.timing.cpu_seconds > 0
    assert os.listdir(tmp_path) == []


def test_nothing_runs_when_the_static_policy_refuses(candidate, tmp_path):
    report = verify("import os\n" + candidate, workdir=tmp_path, run=lambda *_: pytest.fail("must not run"))
    assert [check.name for check in failed(report)] == ["static-policy"]
    assert "1:1 import" in failed(report)[0].evidence
    assert report.isolation == ()
    assert {check.status for check in report.checks[1:]} == {Status.SKIPPED}


HOSTILE = {
    "reads a file": ("def advantages", "open('/etc/passwd').read()\n\n\ndef advantages", "candidate.py: raised"),
    "opens a socket": (
        "def advantages",
        "__import__('socket').socket()\n\n\ndef advantages",
        "Operation not permitted",
    ),
    "fork bomb": (HEAD, HEAD + "\n    while True:\n        __import__('os').fork()\n", "PermissionError"),
    "endless loop": (HEAD, HEAD + "\n    while True:\n        pass\n", "more than the limit of 1 s of CPU time"),
    "ten gigabytes": (HEAD, HEAD + "\n    torch.zeros(10 << 28)\n", "advantages: RuntimeError"),
    "leaves early": (HEAD, HEAD + "\n    __import__('os')._exit(0)\n", "results.json"),
    "forges results": (
        HEAD,
        HEAD + "\n    import os\n    open('results.json', 'w').write('[' * 100000)\n    os._exit(0)\n",
        "results cannot be read",
    ),
    "forges empty results": (
        HEAD,
        HEAD + "\n    import os\n    open('results.json', 'w').write('{}')\n"
        "    open('results.safetensors', 'wb').write(b'\\x02' + bytes(7) + b'{}')\n    os._exit(0)\n",
        "did not make the calls",
    ),
}


@pytest.mark.parametrize(("old", "new", "evidence"), HOSTILE.values(), ids=HOSTILE.keys())
def test_the_sandbox_holds_what_the_policy_lets_through(unguarded, monkeypatch, broken, tmp_path, old, new, evidence):
    monkeypatch.setattr("poise_lib.verification.verifier.LIMITS", replace(LIMITS, cpu_seconds=1))
    if "zeros" in new:
        monkeypatch.setattr("poise_lib.verification.verifier.LIMITS", LIMITS)
    source = broken(old, new) if old == HEAD else broken(HEAD, new.replace("def advantages", HEAD))
    report = verify(source, workdir=tmp_path, training_probe=False)
    assert not report.passed
    assert evidence in failed(report)[0].evidence, failed(report)
    assert os.listdir(tmp_path) == []

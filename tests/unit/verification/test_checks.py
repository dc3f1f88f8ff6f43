"""Candidates that are wrong, each caught by the check that is made for it; the others pass or are not reached."""

# ruff: noqa: E501 - a table of changes reads best with a change a line

import pytest

from poise_lib.verification import Status

SIGNAL = "result = ops.spread(centred / scale, batch.response_mask)"
LOSS = "return LossOutput(loss, {"

WRONG = {
    "runs: raises on all-fail groups": ("runs", (SIGNAL, "if batch.rewards.sum() == 0:\n        raise ValueError('empty')\n    " + SIGNAL)),
    "runs: returns a list": ("runs", ("return result", "return [result]")),
    "runs: loss is no LossOutput": ("runs", (LOSS, "return {'loss': loss}\n    " + LOSS)),
    "runs: reference not declared": ("runs", ('("reference", "entropy")', '("entropy",)')),
    "runs: missing coefficient": ("runs", ('inputs.coefficients.get("bonus", hyper["bonus"])', 'inputs.coefficients["bonusses"]')),
    "runs: advantages per sample": ("runs", (SIGNAL, "result = centred / scale")),
    "shapes: bool advantages": ("shapes-and-dtypes", ("return result", "return result > 0")),
    "shapes: loss per sample": ("runs", (LOSS, "loss = loss.sum(-1)\n    " + LOSS)),
    "shapes: metric per group": ("shapes-and-dtypes", ('{"clip_fraction": clipped}', '{"clip_fraction": clipped.mean()}')),
    "shapes: metric is a number": ("shapes-and-dtypes", ('{"clip_fraction": clipped}', '{"clip_fraction": 1.0}')),
    "finite: division by a deviation of zero": ("finite", (' + 1e-6).sqrt() + hyper["damping"]', ').sqrt() * (1 + hyper["damping"])')),
    "finite: NaN gradient behind torch.where": (
        "finite",
        (LOSS, "safe = torch.where(mask, loss, (inputs.logprobs * 0.0).sqrt())\n    loss = loss + 0.1 * safe\n    " + LOSS),
    ),
    "finite: exponential of a raw ratio": (
        "finite",
        ("ratio = ops.log_ratio(inputs.logprobs, inputs.old_logprobs, mask).exp()", "ratio = (10.0 * (inputs.logprobs - inputs.old_logprobs)).exp()"),
    ),
    "finite: metric": ("finite", ('{"clip_fraction": clipped}', '{"clip_fraction": clipped / clipped.sum()}')),
    "mask: mean over padding": ("mask-respected", (SIGNAL, "scale = scale - batch.old_logprobs.mean(-1) * 0.1\n    " + SIGNAL)),
    "mask: unmasked entropy of neighbours": ("mask-respected", (LOSS, "loss = loss + 0.1 * inputs.entropy.mean(-1, keepdim=True)\n    " + LOSS)),
    "mask: width of the padding in mid-training": ("mask-respected", (SIGNAL, "scale = scale * (mask_width(batch) if batch.step == 12 else 1.0)\n    " + SIGNAL, "def schedule(", "def mask_width(batch):\n    return batch.response_mask.shape[1]\n\n\ndef schedule(")),
    "order: neighbours as groups": ("order-free", (SIGNAL, "centred = centred - 0.1 * torch.roll(batch.rewards, 1, 0)\n    " + SIGNAL)),
    "order: label of the group": ("order-free", (SIGNAL, "centred = centred * (batch.group.float() + 2000.0)\n    " + SIGNAL)),
    "micro-batch: statistics in the loss": ("micro-batch-free", (LOSS, "loss = loss / (ops.masked_mean(inputs.advantages.abs(), mask) + 1.0)\n    " + LOSS)),
    "micro-batch: raises on a small one": ("micro-batch-free", (LOSS, "if mask.shape[0] == 17:\n        raise ValueError('too few')\n    " + LOSS)),
    "schedule: needs a metric": ("schedule", ('history[-1].get("actor/entropy", 1.0)', 'history[-1]["actor/kl"]')),
    "schedule: divides by zero": ("schedule", ("math.exp(-min(entropy, 10.0))", "(1.0 / entropy if history else 1.0)")),
    "schedule: a list": ("schedule", ('return {"bonus": hyper["bonus"]', 'return [hyper["bonus"]] if len(history) == 1 else {"bonus": hyper["bonus"]')),
    "schedule: infinite": ("schedule", ("math.exp(-min(entropy, 10.0))", "(math.inf if len(history) == 1 else 1.0)")),
    "signal: advantages zeroed": ("learning-signal", ("return result", "return result * 0.0", "- bonus * inputs", "- 0.0 * bonus * inputs", 'hyper["kl"] *', '0.0 * hyper["kl"] *')),
    "signal: detached loss": ("runs", (LOSS, "loss = loss.detach()\n    " + LOSS)),
    "direction: sign of the loss": ("direction", ("loss, clipped = ops", "flipped, clipped = ops", 'loss = loss + hyper["kl"]', 'loss = -flipped + hyper["kl"]')),
    "direction: sign of the advantage": ("direction", ("centred / scale", "-centred / scale")),
    "mechanism: never read": ("mechanisms-act", ('+ hyper["damping"]', '+ 0.0 * hyper["damping"] + 0.3')),
    "mechanism: off is not off": ("mechanisms-act", ('+ hyper["damping"]', '+ (0.3 if hyper["damping"] == 0.0 else hyper["damping"])')),
    "declarations: text and module differ": ("runs", ("Hyperparameter(0.2, 0.05, 0.5)", "Hyperparameter(9007199254740993 - 9007199254740992, -1.0, 2.0)")),
    "hyperparameter: never mentioned": ("hyperparameters-read", ('hyper["clip"], hyper["clip"])', "0.2, 0.2)")),
}  # fmt: skip


def by_name(report):
    return {check.name: check for check in report.checks}


def test_the_well_formed_candidate_passes_every_check(verify_here, candidate):
    report = verify_here(candidate)
    assert report.passed
    checks = by_name(report)
    assert {name for name, check in checks.items() if check.status is not Status.PASSED} == {"training-probe"}
    assert checks["training-probe"].evidence == "not asked for"
    assert report.behaviour_digest.startswith("sha256:")
    assert report.findings == ()


@pytest.mark.parametrize(("expected", "changes"), WRONG.values(), ids=WRONG.keys())
def test_wrong_candidates_fail_the_check_made_for_them(verify_here, broken, expected, changes):
    report = verify_here(broken(*changes))
    assert not report.passed
    failed = [check.name for check in report.checks if check.status is Status.FAILED]
    assert failed[0] == expected, report.findings
    assert all(check.evidence and check.hint for check in report.findings)


ODD = {
    "hyperparameters-act": ('hyper["clip"], hyper["clip"])', '0.2 + 0.0 * hyper["clip"], 0.2)'),
    "ranges-safe": ('+ hyper["damping"]', '+ hyper["damping"] + 0.0 / (hyper["clip"] - 0.05)'),
    "needs-used": ("- bonus * inputs.entropy * mask.float()", "- bonus * inputs.logprobs * mask.float()"),
}


@pytest.mark.parametrize(("check", "changes"), ODD.items())
def test_what_is_odd_but_harmless_warns(verify_here, broken, check, changes):
    report = verify_here(broken(*changes))
    assert by_name(report)[check].status is Status.WARNED, report.checks
    assert report.passed


def test_state_between_calls_is_noticed(verify_here, candidate, monkeypatch):
    """Behind the static policy's back: a counter in a default argument."""
    import ast

    from poise_lib.verification.policy import PolicyResult

    source = candidate.replace(
        "def advantages(batch: Batch, hyper) -> Tensor:",
        "COUNT = [0]\n\n\ndef advantages(batch: Batch, hyper) -> Tensor:\n    COUNT[0] += 1",
    ).replace("return result", "return result * (1.0 + 0.1 * COUNT[0])")
    monkeypatch.setattr("poise_lib.verification.verifier.check_source", lambda text: PolicyResult(ast.parse(text), ()))
    report = verify_here(source)
    assert by_name(report)["deterministic"].status is Status.FAILED


def test_inputs_changed_are_noticed(verify_here, candidate, monkeypatch):
    import ast

    from poise_lib.verification.policy import PolicyResult

    source = candidate.replace(SIGNAL, SIGNAL + "\n    batch.length.fill_(1)")
    monkeypatch.setattr("poise_lib.verification.verifier.check_source", lambda text: PolicyResult(ast.parse(text), ()))
    assert by_name(verify_here(source))["inputs-unchanged"].status is Status.FAILED


def test_a_parent_under_another_name_is_no_novelty(verify_here, candidate, broken):
    parent = verify_here(candidate).behaviour_digest
    disguises = [
        broken("centred", "shifted", 'TITLE = "Damped GRPO"', 'TITLE = "Quantum policy"'),
        broken("return result", "return result * 1.0000001"),
        broken("centred / scale", "centred * (1.0 / scale)"),
        broken(
            "return result",
            "return 20.0 * result",
            'hyper["kl"] *',
            '20.0 * hyper["kl"] *',
            "loss - bonus",
            "loss - 20.0 * bonus",
        ),
    ]
    for source in disguises:
        report = verify_here(source, parent_digests={"parent": parent, "other": "sha256:" + "0" * 64})
        assert by_name(report)["novelty"].status is Status.FAILED
        assert "parent" in by_name(report)["novelty"].evidence
    changed = broken('"damping": Hyperparameter(0.3', '"damping": Hyperparameter(0.35')
    assert verify_here(changed, parent_digests={"parent": parent}).passed


def test_reports_repeat(verify_here, candidate):
    first, second = verify_here(candidate), verify_here(candidate)
    assert first.to_dict() == second.to_dict()
    assert set(first.to_dict(times=True)) - set(first.to_dict()) == {"timing"}


def test_text_that_is_no_unicode_gives_a_report(verify_here, candidate):
    report = verify_here(candidate + "# \ud800\n")
    assert by_name(report)["static-policy"].status is Status.FAILED
    assert report.source_digest.startswith("sha256:")

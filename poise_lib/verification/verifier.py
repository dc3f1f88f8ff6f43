"""Verify one candidate source: static policy, then everything that needs running, in a sandboxed child.

::

    source ──► static policy ──► declarations ──► plan of calls ──► sandboxed child ──► judges ──► report
               (syntax tree)     (literals)       (probe batches)   (numbers only)      (NumPy)

Nothing of the candidate runs in this process, and PyTorch is not imported here.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from poise_lib.errors import SandboxError
from poise_lib.sandbox import Limits, SandboxResult, SandboxRun, remove_workdir
from poise_lib.sandbox import run as run_here
from poise_lib.verification import contract_checks as contract
from poise_lib.verification import intent_checks as intent
from poise_lib.verification.declarations import Declarations, read_declarations
from poise_lib.verification.plan import Plan, make_plan
from poise_lib.verification.policy import check_source
from poise_lib.verification.protocol import Answer, read_answer, read_training, write_request
from poise_lib.verification.report import Check, Status, Timing, VerificationReport
from poise_lib.verification.training_check import trains
from poise_lib.verification.violations import Violation

ENTRY: Final = "poise_lib.verification.child:main"
LIMITS: Final = Limits(cpu_seconds=20, wall_seconds=120, memory_bytes=1 << 30, file_bytes=64 << 20)
CHECKS: Final = (
    "static-policy",
    "declarations",
    "hyperparameters-read",
    "sandbox",
    "runs",
    "shapes-and-dtypes",
    "finite",
    "deterministic",
    "inputs-unchanged",
    "mask-respected",
    "order-free",
    "micro-batch-free",
    "schedule",
    "learning-signal",
    "direction",
    "mechanisms-act",
    "hyperparameters-act",
    "ranges-safe",
    "needs-used",
    "novelty",
    "training-probe",
)
"""Every check, in order; a report has all of them, those not reached as skipped."""
_SHOWN_VIOLATIONS: Final = 6
_NO_DIGESTS: Final[Mapping[str, str]] = MappingProxyType({})


def verify(
    source: str,
    *,
    parent_digests: Mapping[str, str] = _NO_DIGESTS,
    workdir: Path,
    training_probe: bool = True,
    run: SandboxRun = run_here,
) -> VerificationReport:
    """Check a candidate's source; a bad candidate gives a report, never an exception.

    Args:
        source: the candidate module.
        parent_digests: name -> behaviour digest of algorithms that the candidate must not merely repeat.
        workdir: a folder for temporary files; must exist.
        training_probe: finish with a short training run.
        run: what runs the child.

    Raises:
        SandboxError: the sandbox itself cannot be started.
    """
    started = time.monotonic()
    verification = _Verification(started, _digest(source))
    policy = check_source(source)
    if policy.tree is None:
        return verification.end(_violated("static-policy", policy.violations))
    verification.add(Check("static-policy", Status.PASSED, "only allowed names, statements and expressions"))
    declared, problems = read_declarations(policy.tree)
    if declared is None:
        return verification.end(_violated("declarations", problems))
    counted = f"{len(declared.hyperparameters)} hyperparameters, {len(declared.mechanisms)} mechanisms"
    verification.add(Check("declarations", Status.PASSED, f"{declared.title}: {counted}"))
    verification.add(intent.hyperparameters_read(declared))
    plan = make_plan(declared, training=training_probe)
    folder = Path(tempfile.mkdtemp(prefix="verify-", dir=workdir))
    try:
        write_request(folder, source, plan.request)
        result = run(ENTRY, folder, LIMITS)
        verification.ran(result)
        try:
            answer = read_answer(folder, plan.request)
        except SandboxError as error:
            hint = "stay within time and memory; a candidate needs neither files nor the network"
            return verification.end(Check("sandbox", Status.FAILED, result.reason or str(error), hint))
        verification.add(Check("sandbox", Status.PASSED, f"{len(result.in_force)} layers of isolation in force"))
        try:
            verification.judge(answer, plan, declared, parent_digests)
        except (LookupError, ValueError) as error:
            # Only results that no child of ours writes can have such shapes.
            forged = f"the child's results do not fit together: {type(error).__name__}"
            return verification.end(Check("sandbox", Status.FAILED, forged, "a candidate must not write files"))
        if training_probe and not verification.failed:
            verification.add(_training(folder, result))
        return verification.end()
    finally:
        remove_workdir(folder)


def _digest(source: str) -> str:
    """Of any text, also of one with lone surrogates, which the static policy is about to refuse."""
    return "sha256:" + hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


def _violated(check: str, violations: tuple[Violation, ...]) -> Check:
    shown = "; ".join(str(violation) for violation in violations[:_SHOWN_VIOLATIONS])
    more = f"; and {len(violations) - _SHOWN_VIOLATIONS} more" if len(violations) > _SHOWN_VIOLATIONS else ""
    hints = dict.fromkeys(violation.hint for violation in violations[:_SHOWN_VIOLATIONS])
    return Check(check, Status.FAILED, shown + more, "; ".join(hints))


def _training(folder: Path, result: SandboxResult) -> Check:
    try:
        return trains(read_training(folder))
    except SandboxError as error:
        hint = "training must stay within the limits of time and memory"
        return Check("training-probe", Status.FAILED, result.reason or str(error), hint)


@dataclass(slots=True)
class _Verification:
    """Collects checks on the way to a report."""

    started: float
    source_digest: str
    checks: tuple[Check, ...] = ()
    sandbox: SandboxResult | None = None
    behaviour_digest: str | None = None

    @property
    def failed(self) -> bool:
        return any(check.status is Status.FAILED for check in self.checks)

    def add(self, *checks: Check) -> None:
        self.checks += checks

    def ran(self, result: SandboxResult) -> None:
        self.sandbox = result

    def judge(self, answer: Answer, plan: Plan, declared: Declarations, parent_digests: Mapping[str, str]) -> None:
        """Everything that is read off the child's numbers; later checks rest on earlier ones."""
        self.add(contract.runs(answer))
        if self.checks[-1].status is Status.FAILED:
            return
        self.add(contract.shapes_and_dtypes(answer, plan), contract.finite(answer))
        if any(check.status is Status.FAILED for check in self.checks[-2:]):
            return
        self.add(
            contract.deterministic(answer),
            contract.inputs_unchanged(answer, plan),
            contract.mask_respected(answer, plan),
            contract.order_free(answer, plan),
            contract.micro_batch_free(answer, plan),
            contract.schedule_sound(answer, plan),
            intent.learning_signal(answer),
            intent.direction(answer),
            intent.mechanisms_act(answer, declared),
            intent.hyperparameters_act(answer, declared),
            intent.ranges_safe(answer, declared),
            intent.needs_used(answer, declared),
        )
        own = intent.behaviour(answer)
        self.behaviour_digest = own.digest
        self.add(intent.novelty(own, parent_digests))

    def end(self, last: Check | None = None) -> VerificationReport:
        """The report, with every check that was not reached as skipped."""
        if last is not None:
            self.add(last)
        made = {check.name: check for check in self.checks}
        culprit = next((check.name for check in self.checks if check.status is Status.FAILED), None)
        why = f"not reached: {culprit} failed" if culprit else "not asked for"
        sandbox = self.sandbox
        return VerificationReport(
            passed=not self.failed,
            checks=tuple(made.get(name, Check(name, Status.SKIPPED, why)) for name in CHECKS),
            isolation=sandbox.in_force if sandbox else (),
            source_digest=self.source_digest,
            behaviour_digest=self.behaviour_digest,
            timing=Timing(
                seconds=time.monotonic() - self.started,
                sandbox_seconds=sandbox.wall_seconds if sandbox else 0.0,
                cpu_seconds=sandbox.cpu_seconds if sandbox else 0.0,
            ),
        )

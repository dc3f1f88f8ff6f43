"""What a search may spend on GPUs: counted when a run has ended, set aside while it is going on.  Pure.

Level-triggered, and so without books of its own that a crash could leave wrong.  Every Evaluation carries the seconds of
its training, of its scoring and of attempts that were lost, written in the same update as what they brought.
``status.gpus`` adds up what the Evaluations that exist tell *more* than when it was last written, so that it stays right
when an Evaluation is deleted or begun anew.  What is set aside follows from their phases: an Evaluation leaves Pending in
the plan that starts its training, just before it.  One that has left it is not stopped by a cap, because its result may be
in the artifact store already.

Wall seconds decide when a cap is reached, so a search with ``budget.gpuHours`` repeats only as well as one with a deadline.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from poise_lib.names import REASON_GPU_BUDGET_SPENT
from poise_lib.resources import Evaluation
from poise_lib.resources.engine import Engine
from poise_lib.resources.evaluation import EvaluationPhase, Fidelity
from poise_lib.resources.gpu import GPULedger
from poise_lib.resources.verl import VerlSettings
from poise_lib.search.actions import StartTask
from poise_lib.search.naming import run_task
from poise_lib.search.observed import Observed
from poise_lib.tasks.protocol import TaskFault, TaskKind

CAP = "budget.gpuHours"
_SAME_PROTOCOL = {Fidelity.FULL: (Fidelity.FULL, Fidelity.CONFIRM), Fidelity.CONFIRM: (Fidelity.FULL, Fidelity.CONFIRM)}
"""A confirmation trains as a full run does."""


def gpus_of(run: Evaluation) -> int:
    """GPUs of a run; 0 for one on processors."""
    return _gpus(run.spec.engine, run.spec.verl)


def _gpus(engine: Engine, settings: VerlSettings | None) -> int:
    return settings.cards if engine is Engine.VERL and settings is not None else 0


def gpu_seconds(run: Evaluation) -> float:
    """GPU seconds of everything of a run that has ended."""
    status = run.status
    seconds = (status.train_seconds or 0.0) + (status.score_seconds or 0.0) + (status.lost_seconds or 0.0)
    return gpus_of(run) * seconds


def counted(observed: Observed) -> GPULedger | None:
    """The ledger with everything that has ended; None for a search that uses no GPUs."""
    settings = observed.search.spec.evaluation
    if not _gpus(settings.engine, settings.verl):
        return None
    old = observed.search.status.gpus or GPULedger()
    told = round(sum(gpu_seconds(run) for run in _sorted(observed)), 3)
    spent = round(old.spent_seconds + max(0.0, told - old.counted_seconds), 3)
    return old.model_copy(update={"spent_seconds": spent, "counted_seconds": told})


def expected(observed: Observed, fidelity: Fidelity) -> tuple[float, float]:
    """GPU seconds of the longest training and of the longest scoring so far at a fidelity; 0 while none has ended."""
    alike = [
        run for run in observed.evaluations.values() if run.spec.fidelity in _SAME_PROTOCOL.get(fidelity, (fidelity,))
    ]
    training = max((gpus_of(run) * (run.status.train_seconds or 0.0) for run in alike), default=0.0)
    scoring = max((gpus_of(run) * (run.status.score_seconds or 0.0) for run in alike), default=0.0)
    return training, scoring


def held(observed: Observed) -> float:
    """GPU seconds that runs are expected to take which have begun and are not counted yet."""
    total = 0.0
    for run in _sorted(observed):
        if begun(run):
            training, scoring = expected(observed, run.spec.fidelity)
            if run.status.policy is not None:
                total += max(scoring, _ended(run, TaskKind.SCORE, observed))
            else:
                total += max(training, _ended(run, TaskKind.TRAIN, observed)) + scoring
    return round(total, 3)


def begun(run: Evaluation) -> bool:
    """Whether a run uses GPUs, has begun and not ended."""
    return bool(gpus_of(run)) and run.status.phase in (EvaluationPhase.TRAINING, EvaluationPhase.SCORING)


def _ended(run: Evaluation, kind: TaskKind, observed: Observed) -> float:
    """GPU seconds of a task whose result is there, but not yet in the status."""
    task = observed.peek(run_task(run.metadata.name, kind))
    output = task.result.output if task is not None and task.result is not None else None
    seconds = output.get("seconds") if output is not None else None
    return gpus_of(run) * float(seconds) if isinstance(seconds, int | float) else 0.0


def no_room(observed: Observed, fidelity: Fidelity) -> TaskFault | None:
    """Why no training at a fidelity may start any more, even once everything that is going on has ended."""
    ledger, cap = counted(observed), _cap(observed)
    if ledger is None or cap is None:
        return None
    need = _need(observed, fidelity)
    if ledger.spent_seconds < cap and ledger.spent_seconds + need <= cap:
        return None
    more = f", and one more run is expected to take {need / 3600:.2f}" if need else ""
    message = f"{CAP} of {observed.search.spec.budget.gpu_hours:g} is reached: {ledger.spent_hours:.2f} GPU hours are spent{more}"
    return TaskFault(reason=REASON_GPU_BUDGET_SPENT, message=message)


def admitted(observed: Observed, starts: Sequence[StartTask], room: int) -> tuple[GPULedger | None, list[StartTask]]:
    """Which of the tasks may start as far as GPUs are concerned.

    Only training waits that has not begun; what has been trained is scored in any case.

    Args:
        observed: the snapshot.
        starts: the tasks, those that go first first.
        room: how many may start at most.

    Returns:
        The ledger with what is going on once these have started, and those that may.
    """
    ledger, cap = counted(observed), _cap(observed)
    if ledger is None:
        return None, list(starts[:room])
    aside = held(observed)
    going: list[StartTask] = []
    trainings = {run_task(name, TaskKind.TRAIN): run for name, run in observed.evaluations.items()}
    for start in starts:
        if len(going) >= room:
            break
        run = trainings.get(start.request.name)
        if run is not None and not begun(run):
            need = _need(observed, run.spec.fidelity)
            taken = ledger.spent_seconds + aside
            if cap is not None and (taken >= cap or taken + need > cap):
                continue
            aside += sum(expected(observed, run.spec.fidelity))
        going.append(start)
    exhausted = CAP if no_room(observed, Fidelity.FULL) is not None else ""
    return ledger.model_copy(update={"reserved_seconds": round(aside, 3), "exhausted": exhausted}), going


def _cap(observed: Observed) -> float | None:
    hours = observed.search.spec.budget.gpu_hours
    return None if hours is None else 3600 * hours


def _need(observed: Observed, fidelity: Fidelity) -> float:
    """What has to fit for a run to be worth starting: a probe is of no use when the full run has no room any more."""
    need = sum(expected(observed, fidelity))
    return need + sum(expected(observed, Fidelity.FULL)) if fidelity is Fidelity.PROBE else need


def _sorted(observed: Observed) -> Iterable[Evaluation]:
    """In one order, because sums of floating-point numbers depend on it."""
    return (observed.evaluations[name] for name in sorted(observed.evaluations))

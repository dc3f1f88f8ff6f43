"""Observe, plan, apply: one search, until nothing is left to do now.

Level-triggered: it looks at what is there and never at what woke it.  Every write is guarded (a resourceVersion, or a
deterministic name), so a controller that dies anywhere goes on where it was, and one that looks at an old picture is
refused and looks again.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

import structlog

from controller import inputs, manifests, troubles
from controller.api import (
    CANDIDATES,
    CUSTOM,
    JOBS,
    Api,
    ApiError,
    Document,
)
from controller.attempts import observe
from controller.cache import Broken, Key, Overlay
from controller.events import Happening, happenings, publish, unreadable
from controller.jobs import JobState, JobView, Outcome, job_name, view
from controller.metrics import Metrics
from controller.namesakes import in_the_way, in_the_way_of_input
from controller.outcomes import Judged, judge, record
from controller.picture import Picture, Resources, World, known, next_attempt, whole
from controller.preparing import Preparations
from controller.progress import Follower, current_only
from controller.refusals import HOLD_SECONDS, TASKS, Refusal, can_be_told, first_in_the_way, subject
from controller.settings import Settings
from poise_lib.errors import InvalidInputError
from poise_lib.names import LABEL_SEARCH, REASON_TASK_FAILED
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.search import DeletionPolicy
from poise_lib.search import Action, Asked, Create, Observed, StartTask, TaskState, Update, plan
from poise_lib.search.runs import owner
from poise_lib.tasks.protocol import TaskFault, TaskRequest, TaskResult

MAX_PASSES: Final = 200
"""Plans in one reconcile; whoever needs more goes to the end of the line."""
LOOK_AGAIN: Final = 30.0
"""Seconds after which a search with tasks in flight is looked at without an event: deadlines, pods that never start."""
WELL: Final = 10.0
"""Seconds for which tasks that start as they should are taken to do so."""
STALE_INPUT_SECONDS: Final = 2.0
"""How long to wait for the garbage collector to take what a deleted Job has left under our names."""

log = structlog.get_logger()


@dataclass(slots=True)
class Reconciler:
    """Holds what is kept between reconciles: nothing that could not be found again."""

    api: Api
    world: World
    settings: Settings
    metrics: Metrics
    overlays: dict[str, Overlay] = field(
        default_factory=lambda: {kind: Overlay() for kind in ("Search", "Candidate", "Evaluation", "Job")}
    )
    results: dict[Key, dict[str, TaskResult]] = field(default_factory=dict)
    """Results read from logs, by the uid of the Job, until they are in a status."""
    faults: dict[Key, dict[str, TaskResult]] = field(default_factory=dict)
    """Of tasks that cannot be started whatever is tried, by name, until they are in a status."""
    refusals: dict[Key, Refusal] = field(default_factory=dict)
    troubled: dict[Key, tuple[str, float]] = field(default_factory=dict)
    """Why tasks of a search did not start when they were last looked at, and until when that is not asked again."""
    told: set[tuple[str, str]] = field(default_factory=set)
    """Objects that nobody can read and what is wrong with them, once an Event says so."""
    untold: dict[Key, list[Happening]] = field(default_factory=dict)
    """What has happened, to be told once nothing else is left to do: no task waits for a story."""
    preparations: Preparations = field(init=False)
    follower: Follower = field(init=False)
    checked: set[Key] = field(default_factory=set)
    """Searches whose Jobs are known to have their own input."""

    def __post_init__(self) -> None:
        self.preparations = Preparations(self.api, self.settings)
        self.follower = Follower(self.api)

    async def __call__(self, key: Key) -> float | None:
        """Reconcile one search; returns the seconds after which to look again without being woken."""
        started = time.monotonic()
        structlog.contextvars.bind_contextvars(namespace=key[0], search=key[1])
        try:
            return await self._reconcile(key)
        except Exception:
            self.metrics.reconcile_errors.inc()
            raise
        finally:
            for happening in self.untold.pop(key, ()):
                await publish(self.api, happening)
            self.metrics.reconcile_seconds.observe(time.monotonic() - started)
            structlog.contextvars.clear_contextvars()

    async def _reconcile(self, key: Key) -> float | None:
        await asyncio.to_thread(self.world.open, key)  # a second, for a large archive
        picture = self._picture(key)
        if picture is None:
            await self._abandon(key)
            return None
        broken = [picture] if isinstance(picture, Broken) else picture.broken
        for item in broken:
            await self._tell(item)
        if isinstance(picture, Broken) or picture.search.metadata.deletion_timestamp is not None:
            return None
        refusal = self.refusals.get(key)
        if refusal is not None and refusal.over:
            del self.refusals[key]
        if key not in self.refusals and not picture.ended:  # one that has ended was prepared for, and asks for nothing
            await self._prepare(key, picture)
        await self._adopt(key, picture)
        await self._inputs_are_there(key, picture)
        troubled, well_until = self.troubled.get(key, ("", 0.0))
        looked = refusal is not None or time.monotonic() < well_until
        blocked = refusal.text if refusal is not None else troubled
        for _ in range(MAX_PASSES):
            await self._judge(key, picture)
            now = time.time()
            results, faults = self.results.setdefault(key, {}), self.faults.setdefault(key, {})
            tasks = Asked(observe(picture.jobs.values(), results, faults, now))
            observed = Observed(picture.search, picture.candidates, picture.evaluations, tasks, now, blocked=blocked)
            planned = await asyncio.to_thread(plan, observed)
            in_the_way = first_in_the_way(planned, picture.broken)
            if in_the_way and not blocked:
                blocked = in_the_way
                continue
            actions = without_summary([action for action in planned if not self._held(key, picture, action)])
            for action in actions:
                if not self._held(key, picture, action) and not await self._apply(key, picture, action):
                    return LOOK_AGAIN  # the picture was old: the watch brings what we had not seen, and wakes us
            held = self.refusals.get(key)
            why = (held.text if held is not None else "") or in_the_way or troubled
            if not actions and not looked:
                # Only now: what has ended, and what can start, waits for no question about what stands still.
                slow = troubles.overdue(picture.jobs.values(), time.time())
                troubled, looked = await troubles.find(self.api, slow), True
                self.troubled[key] = troubled, time.monotonic() + WELL if slow and not troubled else 0.0
                why = (held.text if held is not None else "") or in_the_way or troubled
            if not actions and why == blocked:
                for further in await self.follower.look(picture.jobs.values(), picture.evaluations, now):
                    await self._apply(key, picture, Update(further))
                await self._retire(key, picture, tasks.names)
                if held is not None:
                    return min(LOOK_AGAIN, held.seconds)
                running = any(task.state is TaskState.RUNNING for task in tasks.values())
                timed = observed.search.spec.budget.deadline is not None and not picture.ended
                return LOOK_AGAIN if running or blocked or timed else None
            blocked = why
        return 0.0

    def _held(self, key: Key, picture: Picture, action: Action) -> bool:
        """Whether an action waits: the server refused it lately, or something nobody can read has its name."""
        refusal = self.refusals.get(key)
        return (refusal is not None and subject(action) in refusal.held) or bool(
            first_in_the_way([action], picture.broken)
        )

    async def _tell(self, item: Broken) -> None:
        """Say once that an object does not fit its model and is left out."""
        if (item.uid, item.problem) not in self.told:
            log.error("an object does not fit its model", kind=item.kind, object=item.name, problem=item.problem)
            await publish(self.api, unreadable(item))
            self.told.add((item.uid, item.problem))

    def _picture(self, key: Key) -> Picture | Broken | None:
        watched = self.world.search(key)
        search = self.overlays["Search"].over(key, [watched] if watched is not None else []).get(key[1])
        if watched is None or search is None or isinstance(search, Broken):
            return None if watched is None else search
        candidates = self.overlays["Candidate"].over(key, self.world.candidates(key))
        evaluations = self.overlays["Evaluation"].over(key, self.world.evaluations(key))
        jobs = self.overlays["Job"].over(key, self.world.jobs(key))
        ours = {name: job for name, job in jobs.items() if job.search_uid == search.metadata.uid}
        everything = [*candidates.values(), *evaluations.values()]
        return Picture(
            search=search,
            candidates={name: item for name, item in candidates.items() if isinstance(item, Candidate)},
            evaluations={name: item for name, item in evaluations.items() if isinstance(item, Evaluation)},
            jobs=ours,
            broken=[item for item in everything if isinstance(item, Broken)],
        )

    def forget(self, key: Key, body: Document) -> None:
        """An object is gone: whatever we wrote of it is history."""
        self.overlays[body["kind"]].forget(key, body["metadata"]["name"], body["metadata"]["uid"])

    async def _abandon(self, key: Key) -> None:
        """The search is gone: nothing of it runs on.  Its Jobs go with it by their owner; its archive may stay."""
        self.checked.discard(key)
        self.preparations.forget(key)
        for memory in (self.results, self.faults, self.refusals, self.troubled):
            memory.pop(key, None)
        for overlay in self.overlays.values():
            overlay.written.pop(key, None)
            overlay.removed.pop(key, None)
        self.metrics.forget(*key)

    async def _prepare(self, key: Key, picture: Picture) -> None:
        problem = await self.preparations.make(picture.search)
        if problem is not None:
            seconds = HOLD_SECONDS if problem.seconds is None else problem.seconds
            self.refusals.setdefault(key, Refusal()).hold(TASKS, problem.text, seconds)

    async def _adopt(self, key: Key, picture: Picture) -> None:
        """Label candidates that a user wrote, and tie the archive to the search or set it free, as the policy says."""
        wanted = owner("Search", picture.search.metadata)
        if picture.search.spec.deletion_policy is not DeletionPolicy.DELETE:
            wanted = ()
        for candidate in list(picture.candidates.values()):
            metadata = candidate.metadata
            if metadata.deletion_timestamp is not None:
                continue
            owners = [item for item in metadata.owner_references if item.get("kind") != "Search"]
            body: Document = {}
            if [*owners, *wanted] != list(metadata.owner_references):
                body["ownerReferences"] = [*owners, *wanted]
            if metadata.labels.get(LABEL_SEARCH) != key[1]:
                body["labels"] = {LABEL_SEARCH: key[1]}
            if body:
                body["resourceVersion"] = metadata.resource_version
                try:
                    answer = await self.api.patch(CANDIDATES, key[0], metadata.name, {"metadata": body})
                except ApiError as error:
                    if not (error.conflict or error.missing or error.refused):
                        raise
                    log.warning("a candidate could not be adopted yet", candidate=metadata.name, error=str(error))
                else:
                    self._saw(key, picture, whole(answer))

    async def _inputs_are_there(self, key: Key, picture: Picture) -> None:
        """A Job whose input was not all written goes: we died in between, or an answer was lost.

        One that has ended too: it may have found what another Job of its name had left.
        """
        if key in self.checked:
            return
        unjudged = [job for job in picture.jobs.values() if job.outcome is None]
        for job in await inputs.lacking(self.api, key, unjudged) if unjudged else ():
            await self._delete_job(key, picture, job)
        self.checked.add(key)

    async def _judge(self, key: Key, picture: Picture) -> None:
        """Find out how finished attempts ended; what was judged once stays so."""
        results = self.results.setdefault(key, {})
        ended = [job for job in picture.jobs.values() if job.state is not JobState.RUNNING]
        for job in [job for job in ended if job.outcome is None and job.uid in results]:
            picture.read(job)
        ended = [picture.jobs[job.name] for job in ended]
        open_ones = [
            job
            for job in ended
            if job.outcome is None or (job.outcome is Outcome.RESULT and job.uid not in results and not job.expiring)
        ]
        for job, judged in zip(
            open_ones, await asyncio.gather(*(judge(self.api, job) for job in open_ones)), strict=True
        ):
            if judged.result is not None:
                results[job.uid] = judged.result
            if job.outcome is not judged.outcome:
                if judged.result is not None:
                    picture.read(job)
                else:
                    await self._record(key, picture, job, judged)
                self.metrics.tasks.labels(key[0], job.kind, judged.outcome.value).inc()
                log.info("task ended", task=job.task, attempt=job.attempt, outcome=judged.outcome.value,
                         problem=judged.problem)  # fmt: skip

    async def _record(self, key: Key, picture: Picture, job: JobView, judged: Judged, ttl: int | None = None) -> None:
        try:
            written = view(await record(self.api, job, judged, ttl))
        except ApiError as error:
            if not error.missing:
                raise
            return
        if written is not None:
            self.overlays["Job"].put(key, written)
            picture.jobs[job.name] = written

    async def _apply(self, key: Key, picture: Picture, action: Action) -> bool:
        """Do one thing that the planner wants, or note why it cannot be; False when the picture was old."""
        try:
            match action:
                case Create(resource):
                    await self._create(key, picture, resource)
                case Update(resource):
                    await self._update(key, picture, resource)
                case StartTask(request):
                    await self._start(key, picture, request)
        except ApiError as error:
            if error.refused and can_be_told(action):
                self._hold(key, action, str(error))
                return True
            if not (error.conflict or error.missing):
                raise
            if error.missing and isinstance(action, Update):
                self.overlays[action.resource.kind].drop(key, known(picture, action.resource))
            if error.reason == "AlreadyExists" and (why := await self._namesake(key, picture, action)):
                self._hold(key, action, why)
                return True
            log.debug("the picture was old", error=str(error))
            return False
        except InvalidInputError as error:  # of the search's template, which can be corrected
            self._hold(key, action, str(error))
        return True

    async def _namesake(self, key: Key, picture: Picture, action: Action) -> str:
        if isinstance(action, StartTask):
            name = job_name(action.request.name, next_attempt(picture, action.request))
            return await in_the_way(self.api, key, "Job", name)
        return await in_the_way(self.api, key, action.resource.kind, action.resource.metadata.name)

    def _hold(self, key: Key, action: Action, text: str) -> None:
        log.warning("refused", what=subject(action), error=text)
        self.refusals.setdefault(key, Refusal()).hold(subject(action), text)

    async def _create(self, key: Key, picture: Picture, resource: Candidate | Evaluation) -> None:
        body = resource.to_document()
        body.pop("status", None)
        answer = await self.api.create(CUSTOM[resource.kind], key[0], body)
        self._saw(key, picture, whole(answer))

    async def _update(self, key: Key, picture: Picture, resource: Resources) -> None:
        before = known(picture, resource)
        if isinstance(resource, Evaluation):
            resource = current_only(resource)
        # Of a candidate annotations come first: nothing is planned any more for one whose status is final.  Of an
        # evaluation they come last: they say which code its results are of, and must not say so of the old ones.
        steps = [self._annotate, self._set_status]
        current = before
        for one in steps if resource.kind == "Candidate" else reversed(steps):
            current = await one(key, resource, current)
            self._saw(key, picture, current)
        self.untold.setdefault(key, []).extend(happenings(before, resource, picture.search))

    async def _annotate(self, key: Key, wanted: Resources, current: Resources) -> Resources:
        if wanted.metadata.annotations == current.metadata.annotations:
            return current
        changes = {"annotations": wanted.metadata.annotations, "resourceVersion": current.metadata.resource_version}
        return whole(await self.api.patch(CUSTOM[wanted.kind], key[0], wanted.metadata.name, {"metadata": changes}))

    async def _set_status(self, key: Key, wanted: Resources, current: Resources) -> Resources:
        if wanted.status == current.status:
            return current
        body = wanted.to_document()
        body["metadata"]["resourceVersion"] = current.metadata.resource_version
        return whole(await self.api.replace_status(CUSTOM[wanted.kind], key[0], body))

    async def _start(self, key: Key, picture: Picture, request: TaskRequest) -> None:
        try:
            parts = await asyncio.to_thread(inputs.packed, request)  # seconds, for a large archive
        except InvalidInputError as error:
            fault = TaskFault(reason=REASON_TASK_FAILED, message=str(error))
            self.faults.setdefault(key, {})[request.name] = TaskResult(fault=fault)
            return
        attempt = next_attempt(picture, request)
        wanted = manifests.job(request, attempt, picture.search, self.settings, len(parts))
        self.checked.discard(key)  # until all of it is there, whatever happens in between
        body = await inputs.start(self.api, key[0], wanted, parts)
        if body is None:  # most likely the garbage collector is about to take what is in the way
            names = inputs.numbered(wanted["metadata"]["name"], len(parts))
            why = await in_the_way_of_input(self.api, key[0], names)
            held = (TASKS, why) if why else (TASKS, "", STALE_INPUT_SECONDS)
            self.refusals.setdefault(key, Refusal()).hold(*held)
            return
        self.checked.add(key)
        started = view(body)
        assert started is not None
        self.overlays["Job"].put(key, started)
        picture.jobs[started.name] = started
        log.info("task started", task=request.name, attempt=attempt)

    async def _retire(self, key: Key, picture: Picture, needed: set[str]) -> None:
        """Let Jobs go whose tasks nobody asks about: their results are in a status, or nobody wants them any more."""
        for job in list(picture.jobs.values()):
            if job.task in needed and job.name in picture.unrecorded and job.outcome is not None:
                await self._record(key, picture, job, Judged(job.outcome, job.problem))
            if job.task in needed or job.expiring:
                continue
            if job.state is JobState.RUNNING:
                await self._delete_job(key, picture, job)
                continue
            outcome = job.outcome or Outcome.LOST
            await self._record(key, picture, job, Judged(outcome, job.problem), self.settings.job_ttl_seconds)
        kept = {job.uid for job in picture.jobs.values() if job.task in needed}
        self.results[key] = {uid: result for uid, result in self.results.get(key, {}).items() if uid in kept}
        self.faults[key] = {task: fault for task, fault in self.faults.get(key, {}).items() if task in needed}

    async def _delete_job(self, key: Key, picture: Picture, job: JobView) -> None:
        await self.api.delete(JOBS, key[0], job.name)
        self.overlays["Job"].drop(key, job)
        picture.jobs.pop(job.name, None)
        log.info("task abandoned", task=job.task, attempt=job.attempt)

    def _saw(self, key: Key, picture: Picture, item: Resources) -> None:
        """Take what a write returned into the picture and the overlay."""
        self.overlays[item.kind].put(key, item)
        if isinstance(item, Search):
            picture.search = item
        elif isinstance(item, Candidate):
            picture.candidates[item.metadata.name] = item
        else:
            picture.evaluations[item.metadata.name] = item


def without_summary(actions: list[Action]) -> list[Action]:
    """The actions without the search's own status where it comes last and another plan follows anyway.

    That status sums up the others, and no task waits for it: it is written once, when all else is done.
    """
    last, before = (actions[-1], actions[:-1]) if actions else (None, [])
    sums_up = isinstance(last, Update) and isinstance(last.resource, Search)
    changed = any(isinstance(action, Create | Update) for action in before)
    return before if sums_up and changed else actions

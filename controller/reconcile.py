"""Observe, plan, apply: one search, until nothing is left to do now.

Level-triggered: it looks at what is there and never at what woke it.  Every write is guarded (a resourceVersion, or a
deterministic name), so a controller that dies anywhere goes on where it was, and one that looks at an old picture is
refused and looks again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import structlog

from controller import manifests, troubles
from controller.api import (
    CANDIDATES,
    CLAIMS,
    CONFIG_MAPS,
    EVALUATIONS,
    JOBS,
    NETWORK_POLICIES,
    SEARCHES,
    Api,
    ApiError,
    Document,
    Resource,
)
from controller.cache import Broken, Key, Overlay, parse
from controller.events import happenings, publish
from controller.jobs import JobState, JobView, Outcome, view
from controller.metrics import Metrics
from controller.outcomes import Judged, judge, record
from controller.settings import Settings
from poise_lib.names import LABEL_SEARCH
from poise_lib.resources import Candidate, Evaluation, Search
from poise_lib.resources.search import DeletionPolicy
from poise_lib.search import Action, Create, Observed, StartTask, TaskObservation, TaskState, Update, plan
from poise_lib.search.candidates import owner
from poise_lib.tasks.protocol import TaskRequest, TaskResult

MAX_PASSES: Final = 200
"""Plans in one reconcile; whoever needs more goes to the end of the line."""
LOOK_AGAIN: Final = 30.0
"""Seconds after which a search with tasks in flight is looked at without an event: deadlines, pods that never start."""
MAX_DISRUPTIONS: Final = 50
"""Attempts that the cluster took away before the task counts as lost after all."""

log = structlog.get_logger()

_KINDS: Final[dict[str, Resource]] = {"Search": SEARCHES, "Candidate": CANDIDATES, "Evaluation": EVALUATIONS}


class World(Protocol):
    """What the watch streams have brought, by search."""

    def search(self, key: Key) -> Search | Broken | None:
        """The search itself."""

    def candidates(self, key: Key) -> Iterable[Candidate | Broken]:
        """Its candidates."""

    def evaluations(self, key: Key) -> Iterable[Evaluation | Broken]:
        """Its evaluations."""

    def jobs(self, key: Key) -> Iterable[JobView]:
        """The Jobs of its tasks."""


class Consulted(dict[str, TaskObservation]):
    """Tasks by name, remembering which ones a plan asked about: those are still needed."""

    def __init__(self, tasks: dict[str, TaskObservation]) -> None:
        super().__init__(tasks)
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Look a task up."""
        self.names.add(name)
        return super().get(name, default)


@dataclass(slots=True)
class Picture:
    """One search as it stands: the watch's objects under our own writes."""

    search: Search
    candidates: dict[str, Candidate]
    evaluations: dict[str, Evaluation]
    jobs: dict[str, JobView]
    broken: list[Broken]


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
    results: dict[str, TaskResult] = field(default_factory=dict)
    """Results read from logs, by the uid of the Job, until they are in a status."""
    prepared: set[str] = field(default_factory=set)
    """Namespaces whose claim and policy are there."""
    checked: set[Key] = field(default_factory=set)
    """Searches whose running Jobs are known to have their input."""

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
            self.metrics.reconcile_seconds.observe(time.monotonic() - started)
            structlog.contextvars.clear_contextvars()

    async def _reconcile(self, key: Key) -> float | None:
        picture = self._picture(key)
        if picture is None:
            await self._abandon(key)
            return None
        if isinstance(picture, Broken):
            log.error("the search does not fit its model", problem=picture.problem)
            return None
        if picture.search.metadata.deletion_timestamp is not None:
            return None
        for broken in picture.broken:
            log.error("an object does not fit its model and is left out", object=broken.name, problem=broken.problem)
        await self._prepare(key[0])
        await self._adopt(key, picture)
        await self._inputs_are_there(key, picture)
        blocked = await troubles.find(self.api, picture.jobs.values(), time.time())
        for _ in range(MAX_PASSES):
            await self._judge(key, picture)
            tasks = Consulted(self._tasks(picture))
            observed = Observed(
                picture.search, picture.candidates, picture.evaluations, tasks, time.time(), blocked=blocked
            )
            actions = await asyncio.to_thread(plan, observed)
            if not actions:
                await self._retire(key, picture, tasks.names)
                running = any(job.state is JobState.RUNNING for job in picture.jobs.values())
                return LOOK_AGAIN if running or blocked or observed.search.spec.budget.deadline else None
            for action in actions:
                if not await self._apply(key, picture, action):
                    return LOOK_AGAIN  # refused: the watch brings what we had not seen, and wakes us
        return 0.0

    def _picture(self, key: Key) -> Picture | Broken | None:
        watched = self.world.search(key)
        search = self.overlays["Search"].over(key, [watched] if watched is not None else []).get(key[1])
        if watched is None or search is None or isinstance(search, Broken):
            return None if watched is None else search
        candidates = self.overlays["Candidate"].over(key, self.world.candidates(key))
        evaluations = self.overlays["Evaluation"].over(key, self.world.evaluations(key))
        jobs = self.overlays["Job"].over(key, self.world.jobs(key))
        everything = [*candidates.values(), *evaluations.values()]
        return Picture(
            search=search,
            candidates={name: item for name, item in candidates.items() if isinstance(item, Candidate)},
            evaluations={name: item for name, item in evaluations.items() if isinstance(item, Evaluation)},
            jobs=jobs,
            broken=[item for item in everything if isinstance(item, Broken)],
        )

    async def _abandon(self, key: Key) -> None:
        """The search is gone: nothing of it runs on.  Its Jobs go with it by their owner; its archive may stay."""
        self.checked.discard(key)
        for overlay in self.overlays.values():
            overlay.written.pop(key, None)
            overlay.removed.pop(key, None)
        try:
            self.metrics.forget(*key)
        except KeyError:
            log.debug("nothing was ever shown of this search")

    async def _prepare(self, namespace: str) -> None:
        if namespace in self.prepared:
            return
        documents = (
            (CLAIMS, manifests.claim(namespace, self.settings)),
            (NETWORK_POLICIES, manifests.network_policy(namespace)),
        )
        for resource, body in documents:
            try:
                await self.api.create(resource, namespace, body)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        self.prepared.add(namespace)

    async def _adopt(self, key: Key, picture: Picture) -> None:
        """Label candidates that a user wrote, and tie the archive to the search or set it free, as the policy says."""
        wanted = owner("Search", picture.search.metadata)
        if picture.search.spec.deletion_policy is not DeletionPolicy.DELETE:
            wanted = ()
        for candidate in list(picture.candidates.values()):
            metadata = candidate.metadata
            owners = [item for item in metadata.owner_references if item.get("kind") != "Search"]
            body: Document = {}
            if [*owners, *wanted] != list(metadata.owner_references):
                body["ownerReferences"] = [*owners, *wanted]
            if metadata.labels.get(LABEL_SEARCH) != key[1]:
                body["labels"] = {LABEL_SEARCH: key[1]}
            if body:
                body["resourceVersion"] = metadata.resource_version
                answer = await self.api.patch(CANDIDATES, key[0], metadata.name, {"metadata": body})
                self._saw(key, picture, parse(answer))

    async def _inputs_are_there(self, key: Key, picture: Picture) -> None:
        """Once in a controller's life: a Job whose input was never written (we died between the two) goes."""
        if key in self.checked:
            return
        running = [job for job in picture.jobs.values() if job.state is JobState.RUNNING]
        if running:
            found = await self.api.items(CONFIG_MAPS, key[0], labelSelector=f"{LABEL_SEARCH}={key[1]}")
            there = {item["metadata"]["name"] for item in found}
            for job in running:
                if job.name not in there:
                    await self._delete_job(key, picture, job)
        self.checked.add(key)

    async def _judge(self, key: Key, picture: Picture) -> None:
        """Find out how finished attempts ended; what was judged once stays so."""
        ended = [job for job in picture.jobs.values() if job.state is not JobState.RUNNING]
        open_ones = [
            job
            for job in ended
            if job.outcome is None
            or (job.outcome is Outcome.RESULT and job.uid not in self.results and not job.expiring)
        ]
        for job, judged in zip(
            open_ones, await asyncio.gather(*(judge(self.api, job) for job in open_ones)), strict=True
        ):
            if judged.result is not None:
                self.results[job.uid] = judged.result
            if job.outcome is not judged.outcome:
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

    def _tasks(self, picture: Picture) -> dict[str, TaskObservation]:
        """The tasks as the planner sees them, from all of their attempts."""
        attempts: dict[str, list[JobView]] = {}
        for job in picture.jobs.values():
            attempts.setdefault(job.task, []).append(job)
        return {task: self._task(task, jobs) for task, jobs in attempts.items()}

    def _task(self, task: str, jobs: list[JobView]) -> TaskObservation:
        for job in jobs:
            if job.outcome is Outcome.RESULT and job.uid in self.results:
                return TaskObservation(task, TaskState.ENDED, self.results[job.uid])
        if any(job.state is JobState.RUNNING for job in jobs):
            return TaskObservation(task, TaskState.RUNNING)
        last = max(jobs, key=lambda job: job.attempt)
        lost = sum(job.outcome is Outcome.LOST for job in jobs)
        disrupted = sum(job.outcome is Outcome.DISRUPTED for job in jobs)
        return TaskObservation(
            task, TaskState.LOST, None, lost + max(0, disrupted - MAX_DISRUPTIONS), last.problem or last.reason
        )

    async def _apply(self, key: Key, picture: Picture, action: Action) -> bool:
        """Do one thing that the planner wants; False when the picture turned out to be old."""
        try:
            match action:
                case Create(resource):
                    await self._create(key, picture, resource)
                case Update(resource):
                    await self._update(key, picture, resource)
                case StartTask(request):
                    await self._start(key, picture, request)
        except ApiError as error:
            if error.conflict or error.missing:
                log.debug("the picture was old", error=str(error))
                return False
            raise
        return True

    async def _create(self, key: Key, picture: Picture, resource: Candidate | Evaluation) -> None:
        body = resource.to_document()
        body.pop("status", None)
        answer = await self.api.create(_KINDS[resource.kind], key[0], body)
        self._saw(key, picture, parse(answer))

    async def _update(self, key: Key, picture: Picture, resource: Search | Candidate | Evaluation) -> None:
        known = _known(picture, resource)
        kind = _KINDS[resource.kind]
        body = resource.to_document()
        if known.metadata.annotations != resource.metadata.annotations:
            changes = {"annotations": resource.metadata.annotations, "resourceVersion": known.metadata.resource_version}
            answer = await self.api.patch(kind, key[0], resource.metadata.name, {"metadata": changes})
            body["metadata"]["resourceVersion"] = answer["metadata"]["resourceVersion"]
        answer = await self.api.replace_status(kind, key[0], body)
        self._saw(key, picture, parse(answer))
        for happening in happenings(known, resource, picture.search):
            await publish(self.api, happening)

    async def _start(self, key: Key, picture: Picture, request: TaskRequest) -> None:
        attempt = 1 + max((job.attempt for job in picture.jobs.values() if job.task == request.name), default=0)
        body = await self.api.create(JOBS, key[0], manifests.job(request, attempt, picture.search, self.settings))
        try:
            await self.api.create(CONFIG_MAPS, key[0], manifests.job_input(request, body))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                await self.api.delete(JOBS, key[0], body["metadata"]["name"])
                raise
        started = view(body)
        assert started is not None
        self.overlays["Job"].put(key, started)
        picture.jobs[started.name] = started
        log.info("task started", task=request.name, attempt=attempt)

    async def _retire(self, key: Key, picture: Picture, needed: set[str]) -> None:
        """Let Jobs go whose tasks nobody asks about: their results are in a status, or nobody wants them any more."""
        for job in list(picture.jobs.values()):
            if job.task in needed or job.expiring:
                continue
            if job.state is JobState.RUNNING:
                await self._delete_job(key, picture, job)
                continue
            outcome = job.outcome or Outcome.LOST
            await self._record(key, picture, job, Judged(outcome, job.problem), self.settings.job_ttl_seconds)
            self.results.pop(job.uid, None)

    async def _delete_job(self, key: Key, picture: Picture, job: JobView) -> None:
        await self.api.delete(JOBS, key[0], job.name)
        self.overlays["Job"].drop(key, job)
        picture.jobs.pop(job.name, None)
        log.info("task abandoned", task=job.task, attempt=job.attempt)

    def _saw(self, key: Key, picture: Picture, item: Search | Candidate | Evaluation | Broken) -> None:
        """Take what a write returned into the picture and the overlay."""
        if isinstance(item, Broken):
            raise RuntimeError(f"{item.name}: what the API server returned does not fit its model: {item.problem}")
        self.overlays[item.kind].put(key, item)
        if isinstance(item, Search):
            picture.search = item
        elif isinstance(item, Candidate):
            picture.candidates[item.metadata.name] = item
        else:
            picture.evaluations[item.metadata.name] = item


def _known(picture: Picture, resource: Search | Candidate | Evaluation) -> Search | Candidate | Evaluation:
    if isinstance(resource, Search):
        return picture.search
    name = resource.metadata.name
    return picture.candidates[name] if isinstance(resource, Candidate) else picture.evaluations[name]

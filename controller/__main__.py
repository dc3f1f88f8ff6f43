"""``python -m controller``: take the lease, watch, reconcile, until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable

import kopf
import structlog

from controller import handlers, logs
from controller.api import Api
from controller.health import Health, audit, closed, serve
from controller.lease import Lease, LeaseLost
from controller.metrics import Metrics
from controller.reconcile import Reconciler
from controller.settings import Settings
from controller.watched import Watched
from controller.work import WorkQueue
from poise_lib.errors import InvalidInputError

log = structlog.get_logger()


async def operate(settings: Settings) -> None:
    """Run the operator until SIGTERM, or until the lease is lost.

    Raises:
        LeaseLost: another controller has taken over.
        InvalidInputError: there are no rights in any of the namespaces.
    """
    api = await Api.connect()
    metrics, health = Metrics(), Health()
    world = Watched(lambda key: queue.wake(key), lambda key, body: reconciler.forget(key, body))
    reconciler = Reconciler(api, world, settings, metrics)
    queue = WorkQueue(reconciler, world.size)

    def refresh() -> None:
        metrics.queue_depth.set(queue.depth)
        metrics.show(world.searches())
        metrics.count_requests(api.calls)

    lease = Lease(api, settings.lease_namespace, settings.lease_name, settings.identity)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    probes = await serve(health, metrics, refresh, settings.health_port)
    stopping = asyncio.create_task(stop.wait())
    acquiring = asyncio.create_task(lease.acquire())
    try:
        await asyncio.wait({stopping, acquiring}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return
        acquiring.result()
        health.leading = True
        health.beat()
        left_out = await closed(api, settings.namespaces)
        namespaces = tuple(name for name in settings.namespaces if name not in left_out)
        if left_out:
            log.error("no rights in these namespaces: they are left out", namespaces=sorted(left_out))
        if settings.namespaces and not namespaces:
            raise InvalidInputError("POISE_NAMESPACES: no rights in any of them; upgrade the chart once they are there")
        watching = kopf.operator(
            registry=handlers.registry(world),
            clusterwide=not settings.namespaces,
            namespaces=namespaces,
            stop_flag=stop,
        )
        bulk = handlers.reflectors(api, world, namespaces)
        auditing = audit(api, health, world.versions, namespaces, left_out)
        working = _work(queue, [one.filled for one in bulk])
        running = (working, lease.keep(), auditing, watching, *(one.run() for one in bulk))
        parts = {asyncio.create_task(part) for part in running}
        done, rest = await asyncio.wait({stopping, *parts}, return_when=asyncio.FIRST_COMPLETED)
        # kopf takes the signals over while it runs, and then ends by itself, cancelling what it does not know.
        stop.set()
        for part in rest:
            part.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        for part in done:
            if not part.cancelled():
                part.result()
    finally:
        acquiring.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await acquiring
        if health.leading:
            await lease.release()
        await probes.cleanup()
        await api.close()


async def _work(queue: WorkQueue, filled: Iterable[asyncio.Event]) -> None:
    """Reconcile, once the watches have told all that there is."""
    for event in filled:
        await event.wait()
    log.info("the watches have told all that there is")
    await queue.run()


def main() -> int:
    """Entry point; returns the exit status."""
    try:
        settings = Settings.from_environment(os.environ)
    except InvalidInputError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    logs.configure(settings.log_level)
    try:
        asyncio.run(operate(settings))
    except LeaseLost as error:
        log.error("the lease is lost", error=str(error))
        return 1
    except InvalidInputError as error:
        log.error("there is nothing to watch", error=str(error))
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

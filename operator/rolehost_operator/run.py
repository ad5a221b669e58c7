"""The composition root: the parts of a running operator, and its life from start to end."""

import asyncio
import logging
import time

import kopf

from rolehost_api.names import API_VERSION, BACKENDS, GATEWAY_SERVICE, REVISIONS, ROLES
from rolehost_operator.contract import OutdatedDefinitions
from rolehost_operator.evidence.analyses import STAGES, Analyses
from rolehost_operator.evidence.gateways import Gateways
from rolehost_operator.evidence.prometheus import Prometheus
from rolehost_operator.handlers.doorbells import doorbells
from rolehost_operator.handlers.doorbells import settings as watching
from rolehost_operator.handlers.shell import WORKERS, Shell
from rolehost_operator.kube.access import access
from rolehost_operator.kube.client import ApiError, Client
from rolehost_operator.kube.lease import Claim, Leadership
from rolehost_operator.settings import Settings, public_keys
from rolehost_operator.telemetry import Metrics, serve

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
SETTLE_SECONDS = 10.0
"""Most that is waited for the gateways' first word before this operator offers to lead."""


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Until `stop`, or until a part of it fails for good: then all of it ends, to be started anew."""
    claim = Claim(settings.identity)
    client = Client(access, lambda: claim.may_write(time.monotonic()), settings.watch_silence_seconds)
    metrics = Metrics()
    client.on_write = metrics.wrote
    shell = Shell(client, settings.platform, metrics, settings.identity)
    shell.analyses = Analyses(
        Prometheus(settings.prometheus_url, settings.prometheus_token) if settings.prometheus_url else None,
        lambda: shell.world.in_rollout(STAGES),
        shell.ring,
        metrics,
        settings.platform.namespace,
        settings.prometheus_matchers,
    )
    leadership = Leadership(client, settings.platform.namespace, claim, shell.lead)
    gateways = Gateways(
        client,
        settings.platform.namespace,
        settings.token_file,
        shell.sightings,
        shell.ring,
        port=settings.internal_port,
    )
    synced = asyncio.Event()
    runner = await serve(metrics, settings.metrics_port, synced.is_set)
    try:
        async with asyncio.TaskGroup() as tasks:
            parts = tasks.create_task(_live(shell, settings, gateways, leadership, metrics, synced, stop))
            await stop.wait()
            parts.cancel()
    finally:
        await leadership.release()
        await client.close()
        await runner.cleanup()


async def _live(
    shell: Shell,
    settings: Settings,
    gateways: Gateways,
    leadership: Leadership,
    metrics: Metrics,
    synced: asyncio.Event,
    stop: asyncio.Event,
) -> None:
    await _first_sight(shell)
    try:
        async with asyncio.TaskGroup() as tasks:
            lost: asyncio.Queue[str] = asyncio.Queue()
            metrics.watch(shell.tidings)
            metrics.rollouts(shell.world.with_rollouts)
            metrics.judged(shell.verdicts)
            tasks.create_task(_relist(shell, lost), name="relists")
            for watch in shell.watches:
                tasks.create_task(watch.keep(), name="watch")
            tasks.create_task(_watch(shell, lost, settings.watch_silence_seconds, stop), name="watches")
            tasks.create_task(gateways.follow(lambda: set(shell.world.roles())), name="gateways")
            tasks.create_task(shell.keep_synced(), name="resync")
            tasks.create_task(shell.keep_keys(lambda: public_keys(settings.platform_keys)), name="public keys")
            tasks.create_task(shell.upgrades.keep(), name="upgrades")
            tasks.create_task(shell.analyses.keep(), name="analyses")
            tasks.create_task(_measure(shell, metrics), name="gauges")
            synced.set()
            # Who leads without having heard the gateways would tell every Role that there are none.
            try:
                await asyncio.wait_for(gateways.settled.wait(), SETTLE_SECONDS)
            except TimeoutError:
                log.warning("not every gateway answered yet")
            for number in range(WORKERS):
                tasks.create_task(shell.work(), name=f"worker {number}")
            tasks.create_task(leadership.keep(), name="lease")
    finally:
        await shell.config_maps.close()


async def _first_sight(shell: Shell) -> None:
    """Wait for the apiserver, our CRDs and the gateways' Service, having seen everything once.

    Sandboxes made without the Service's address could not prove that they do not reach it.
    """
    while True:
        try:
            missing = {ROLES, REVISIONS, BACKENDS} - await shell.client.serves(API_VERSION)
            if missing:
                log.warning("the cluster does not serve %s yet; are the CRDs installed?", ", ".join(sorted(missing)))
            else:
                await shell.check_contract()
                await shell.resync()
                if shell.platform.gateway_targets:
                    return
                namespace = shell.platform.namespace
                log.warning(
                    "there is no Service %s with an address in %s; is the chart installed?", GATEWAY_SERVICE, namespace
                )
        except ApiError as error:
            log.warning("the cluster cannot be listed: %s", error)
        except OutdatedDefinitions as error:
            log.error("%s", error)
        await asyncio.sleep(RETRY_SECONDS)


async def _watch(shell: Shell, lost: asyncio.Queue[str], silence_seconds: float, stop: asyncio.Event) -> None:
    """kopf takes the process' signals for itself and returns on them, so its end is ours."""
    registry = doorbells(shell.world, shell.ring, shell.tidings, lost.put_nowait)
    await kopf.operator(registry=registry, settings=watching(silence_seconds), clusterwide=True, standalone=True)
    stop.set()


async def _relist(shell: Shell, lost: asyncio.Queue[str]) -> None:
    """One kind at a time, and once for however often it was asked before the listing began."""
    while True:
        plurals = {await lost.get()}
        while not lost.empty():
            plurals.add(lost.get_nowait())
        for plural in sorted(plurals):
            await shell.relist(plural)


async def _measure(shell: Shell, metrics: Metrics) -> None:
    while True:
        metrics.roles.set(sum(1 for _ in shell.world.roles()))
        metrics.gateways.set(shell.sightings.gateways)
        await asyncio.sleep(5.0)

"""The loop: observe, decide, act: one Role at a time, rings during the work are kept."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from rolehost_api.errors import RolehostError
from rolehost_api.names import API_VERSION, BACKENDS, GATEWAY_SERVICE, GROUP, REVISIONS, ROLES
from rolehost_operator import clock, contract
from rolehost_operator.desired.event import event
from rolehost_operator.evidence.analyses import STAGES, Analyses
from rolehost_operator.evidence.sightings import Sightings
from rolehost_operator.handlers.doorbells import FEW
from rolehost_operator.handlers.queue import LONGEST_CONFLICT, LONGEST_DELAY, KeyedQueue, Reason
from rolehost_operator.handlers.rights import Rights
from rolehost_operator.handlers.upgrades import Upgrades
from rolehost_operator.kube.client import ApiError, Client, Fenced, Kind
from rolehost_operator.kube.configmaps import ConfigMaps
from rolehost_operator.kube.tidings import Tidings
from rolehost_operator.kube.unwatched import Unwatched
from rolehost_operator.kube.watch import Watch
from rolehost_operator.kube.world import World
from rolehost_operator.objects import KubeObject, fits
from rolehost_operator.observed import Key, Observed
from rolehost_operator.plan import Note, Plan, Prune
from rolehost_operator.platform import Platform
from rolehost_operator.reconcile import reconcile
from rolehost_operator.rollout.evidence import Evidence
from rolehost_operator.rollout.transitions import transitions
from rolehost_operator.rollout.verdicts import Verdicts
from rolehost_operator.settings import service_targets
from rolehost_operator.telemetry import Metrics

log = logging.getLogger(__name__)

WORKERS = 8
RESYNC_SECONDS = 300.0
KEYS_SECONDS = 10.0
"""How often the gateways' public keys are read again; a mounted ConfigMap changes within two minutes."""
RELIST_SECONDS = 2.0
COMPARED = frozenset({"Deployment", "NetworkPolicy", "ServiceAccount", "PodDisruptionBudget", "Secret", "ConfigMap"})
"""Kinds that are applied whenever what is there does not fit."""
MANY = (
    Kind("apps/v1", "Deployment"),
    Kind(API_VERSION, "RoleRevision"),
    Kind(API_VERSION, "Role"),
)
"""Kinds of which there are as many as Roles, or more."""
SOONEST = 0.05
"""Between two looks at one Role that nothing rang for."""


class Contested(RolehostError):
    """The apiserver stores something else than was applied, e.g. by an admission webhook."""

    code = "contested"
    retryable = True

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Does an admission webhook change it? Leave out tenants' namespaces there")


class Shell:
    """What was seen, who is to be looked at, and the hands that write."""

    def __init__(self, client: Client, platform: Platform, metrics: Metrics, identity: str) -> None:
        self.client = client
        self.platform = platform
        self.metrics = metrics
        self.identity = identity
        self.world = World()
        self.sightings = Sightings()
        self.queue: KeyedQueue[Key] = KeyedQueue(lane=lambda key: key[0])
        self.tidings = Tidings([kind.plural for kind in (*MANY, *FEW)])
        self.watches = [Watch(client, self.world, self.ring, kind, self.tidings) for kind in MANY]
        self._few = {kind.plural: Watch(client, self.world, self.ring, kind, self.tidings) for kind in FEW}
        """Listed by us, watched by kopf."""
        self.config_maps = ConfigMaps(client, self.world, self.ring, self.may_not)
        self.unwatched = Unwatched(client, self.world, self.ring, time.monotonic)
        self.rights = Rights()
        self.upgrades = Upgrades(lambda: self.world.wave(self.platform), self.ring, metrics)
        self.analyses = Analyses(None, lambda: self.world.in_rollout(STAGES), self.ring, metrics)
        self.verdicts = Verdicts(lambda key: self.world.is_tenant(key[0]) and bool(self.world.rollout_id(key, STAGES)))
        self.leading = False

    def ring(self, key: Key) -> None:
        self.queue.ring(key, Reason.EDIT if self.world.is_edited(key) else Reason.NEWS)

    def ring_all(self) -> None:
        """As a net under the watches: behind whoever rings, but for those that nobody looked at yet."""
        for key in self.world.roles():
            self.queue.ring(key, Reason.EDIT if self.world.is_edited(key) else Reason.NONE)

    def lead(self, leading: bool) -> None:
        """Called when the Lease is won or lost. Who begins to lead looks at everything."""
        self.leading = leading
        self.metrics.leader.set(leading)
        self.upgrades.lead(leading)
        self.analyses.leading = leading
        self.verdicts.forget()
        if leading:
            self.queue.forgive()
            # Somebody else may have led meanwhile, or we were cut off in the middle. Were they behind whoever rings, a
            # tenant whose first Role is looked after would come with all of its Roles before another tenant's first.
            self.world.forget_looks()
            self.ring_all()

    # ── seeing ──────────────────────────────────────────────────────────────────────

    async def resync(self) -> None:
        """List everything: at the start, and as a net under the watches, which can miss a deletion."""
        await self._look_at_the_gateways_service()
        for watch in (*self._few.values(), *self.watches):
            await watch.list()
        self.config_maps.follow(self.world.config_map_namespaces())
        namespaces = {key[0] for key in self.world.roles()}
        self.rights.keep(namespaces)
        self.unwatched.keep(namespaces)

    async def check_contract(self) -> None:
        """Raises OutdatedDefinitions where the cluster's CRDs are older than this operator."""
        names = [f"{plural}.{GROUP}" for plural in (ROLES, REVISIONS, BACKENDS)]
        found = [await self.client.get("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", one) for one in names]
        contract.check(one for one in found if one is not None)

    async def _look_at_the_gateways_service(self) -> None:
        """Where sandboxes must fail to connect. Gone for a moment, it keeps its last address: another one rolls every pod,
        in waves."""
        service = await self.client.get("v1", "Service", self.platform.namespace, GATEWAY_SERVICE)
        if service is not None and (targets := service_targets(service)):
            self.platform = replace(self.platform, gateway_targets=targets)

    async def relist(self, plural: str) -> None:
        """A watch of kopf's lost its place, and who vanished in its gap is told by nobody: see what is left."""
        while True:
            try:
                return await self._few[plural].list()
            except ApiError as error:
                log.warning("%s cannot be listed: %s", plural, error)
                await asyncio.sleep(RELIST_SECONDS)

    async def keep_synced(self) -> None:
        """For ever, or until somebody put older CRDs in place: this operator ends then, and waits from its start on."""
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            try:
                await self.check_contract()
                await self.resync()
            except ApiError as error:
                log.warning("the cluster cannot be listed: %s", error)
            self.ring_all()

    async def keep_keys(self, read: Callable[[], tuple[str, ...]]) -> None:
        """Follow the gateways' public keys, so that pods learn a new one before it signs. Those before it stand
        where there are none.
        """
        while True:
            await asyncio.sleep(KEYS_SECONDS)
            try:
                keys = await asyncio.to_thread(read)
            except (RolehostError, OSError) as error:
                log.warning("the gateways' public keys cannot be read again: %s", error)
                continue
            if keys != self.platform.public_keys:
                log.info("the gateways have %d public keys now; every tenant namespace is told", len(keys))
                self.platform = replace(self.platform, public_keys=keys)
                self.ring_all()

    def observe(self, key: Key) -> Observed | None:
        names = self.world.revision_names(key)
        observed = self.world.observe(
            key,
            self.platform,
            pods=self.sightings.pods(key),
            gateways=self.sightings.gateways,
            listening=self.sightings.listening,
            idle_since=self.sightings.idle_since(key[0], names),
            sessions=self.sightings.sessions(key[0], names),
            rollouts=self.sightings.rollouts(key),
            warmed=self.sightings.warmed(key),
            expected=self.sightings.expected,
        )
        return replace(observed, evidence=self._evidence_of(key)) if observed is not None else None

    def _evidence_of(self, key: Key) -> Evidence | None:
        """Of the rollout that goes on; None where none is judged."""
        rollout = self.world.rollout_id(key, STAGES)
        return self.analyses.evidence_of(key, rollout) if rollout else None

    def may_not(self, namespace: str) -> None:
        """Kubernetes refused us something in a tenant's namespace: its label is there, our rights are not."""
        if self.rights.refused(namespace, time.monotonic()):
            log.warning(
                "namespace %s is labelled as a tenant's, but this operator has no rights there, so its Roles wait. "
                "A platform administrator grants them: rolehost tenants add %s",
                namespace,
                namespace,
            )
        self.metrics.without_rights.set(len(self.rights))

    def may(self, namespace: str) -> None:
        if self.rights.granted(namespace):
            log.info("namespace %s: this operator has its rights there now", namespace)
            self.metrics.without_rights.set(len(self.rights))

    # ── acting ──────────────────────────────────────────────────────────────────────

    async def work(self) -> None:
        """One of several workers. A Role that fails waits longer each time and holds up no other."""
        while True:
            key = await self.queue.take()
            self.metrics.depth.set(len(self.queue))
            if not self.leading:
                self.queue.done(key)
                continue
            started = time.perf_counter()
            try:
                await self._look_after(key)
            except Fenced:
                self.queue.done(key)
                outcome = "fenced"
            except ApiError as error:
                if error.no_right:
                    self.may_not(key[0])
                else:
                    log.warning("%s/%s: %s", *key, error)
                longest = LONGEST_CONFLICT if error.http_status == 409 else LONGEST_DELAY
                self.queue.failed(key, error.retry_after, longest)
                outcome = "forbidden" if error.no_right else "refused"
            except Contested as error:
                log.warning("%s/%s: %s", *key, error)
                self.queue.failed(key)
                outcome = "contested"
            except Exception:
                log.exception("%s/%s could not be looked after", *key)
                self.queue.failed(key)
                outcome = "failed"
            else:
                self.queue.done(key)
                outcome = "done"
            self.metrics.looked_after(outcome, time.perf_counter() - started)

    async def _look_after(self, key: Key) -> None:
        if self.world.is_tenant(key[0]):
            await self.unwatched.look(key[0])
        observed = self.observe(key)
        self.world.looked_at(key)
        self.upgrades.waiting.pop(key, None)
        if observed is None:
            if self.world.awaits_config_maps(key):
                self.config_maps.watch(key[0])  # which rings once it has listed them
            return
        plan = reconcile(observed, clock.now())
        self.verdicts.say(key, plan.judgement, time.monotonic())
        # That something was put back is told once it was.
        self.world.memory[key] = replace(plan.memory, drift_told=observed.memory.drift_told)
        if plan.waits:
            self.upgrades.waiting[key] = None
        # From here on others see that these roll, though the cluster does not know it yet.
        begun = {(key[0], name) for name in plan.rolls}
        self.world.granted |= begun
        try:
            await self._carry_out(observed, plan)
        finally:
            self.world.granted -= begun
        if key in self.world.memory:  # the Role was not deleted meanwhile
            self.world.memory[key] = plan.memory
        if plan.writes and observed.namespace.tenant:
            self.may(key[0])
        if plan.requeue_after is not None:
            self.queue.ring_later(key, max(SOONEST, plan.requeue_after.total_seconds()))

    async def _carry_out(self, observed: Observed, plan: Plan) -> None:
        told = plan.status_first and await self._told(observed, plan)
        for part in plan.share:
            self._saw([await self.client.share(part)])
        for wanted in plan.apply:
            await self._apply(wanted)
        for gone in plan.prune:
            if self._still(observed, gone):
                await self.client.prune(gone)
        if not told:
            await self._told(observed, plan)

    def _still(self, observed: Observed, gone: Prune) -> bool:
        """Whether it is to go by what is known now: since it was decided, somebody may have pinned it or gone back to it."""
        fresh = self.observe((observed.role.meta.namespace, observed.role.meta.name))
        return fresh is not None and gone in reconcile(fresh, clock.now()).prune

    async def _told(self, observed: Observed, plan: Plan) -> bool:
        """The status, then the events. True: nothing of it is left to do."""
        if plan.status is None or await self._tell(observed, plan):
            for note in plan.notes:
                await self._post(observed, note)
        return True

    async def _apply(self, wanted: KubeObject) -> None:
        """Raises Contested where it is not as wanted even then: to try again at once would never end."""
        answer = await self.client.apply(wanted)
        if wanted["kind"] == "Deployment" and not fits(wanted, answer):
            # An apply leaves what others added to a list: a container of theirs would run beside ours.
            answer = await self.client.replace_pods(wanted)
        self._saw([answer])
        if wanted["kind"] in COMPARED and not fits(wanted, answer):
            raise Contested(f"{wanted['kind']} {wanted['metadata']['name']} is not stored as it was applied")

    async def _tell(self, observed: Observed, plan: Plan) -> bool:
        """Write the status; False where there is nobody to be told."""
        try:
            raw = await self.client.write_status(observed.role.raw, msgspec.to_builtins(plan.status))
        except ApiError as error:
            # Where the namespace is no tenant's we may not write; and of a Role that is gone there is nothing to say.
            if error.http_status == 404 or (error.http_status == 403 and not observed.namespace.tenant):
                return False
            raise
        self._saw([raw])
        if plan.status is not None:
            meta, happened = observed.role.meta, transitions(observed.role.status, plan.status)
            self.metrics.rolled(meta.namespace, meta.name, happened)
        return True

    def _saw(self, answers: Iterable[dict[str, object]]) -> None:
        """Our own writes' answers are news like any other, and earlier than the watch's."""
        for raw in answers:
            for key in self.world.put(raw):
                self.ring(key)

    async def _post(self, observed: Observed, note: Note) -> None:
        """A Kubernetes Event; an event that cannot be written is no reason to stop."""
        meta = observed.role.meta
        try:
            await self.client.create(event(meta, note, self.identity, datetime.now(UTC)))
        except ApiError as error:
            log.warning("an event of %s/%s could not be written: %s", meta.namespace, meta.name, error)

"""A link to every pod that this gateway must or may speak to; which of them serves a session; what they report.

Level-triggered: whatever rang, every pod of the table has a keeper and no other has, and
each keeper knows whether it is this gateway's duty to link to its pod (`binder`). A link's
life is: dial, hear the probe, prove ourselves, bind, then read until it ends. What a pod
says decides nothing here but its own report: whose pod it is comes from the table.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress

from rolehost_api.crd.role import LogPolicy
from rolehost_api.errors import Conflict, Forbidden, RolehostError, Unavailable
from rolehost_api.link.messages import (
    BUNDLE_CHUNK_BYTES,
    PROTOCOLS,
    BundleChunk,
    Hello,
    LoadError,
    LogLine,
    Prove,
    StartTurn,
    proof_text,
)
from rolehost_api.observed import Observed, PodReport
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.link.bind import Verdicts, bind_message, breach, checked_hello
from rolehost_runtime.gateway.link.binder import rank
from rolehost_runtime.gateway.link.budget import Budget
from rolehost_runtime.gateway.link.call import Call
from rolehost_runtime.gateway.link.carrier import Carrier
from rolehost_runtime.gateway.link.followers import Follower, Followers
from rolehost_runtime.gateway.link.keeper import BACKOFF_SECONDS, Keeper, Rows
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.logs import LogReader
from rolehost_runtime.gateway.link.report import Known, Picture, Pins, pod_report
from rolehost_runtime.gateway.link.rules import LinkStage
from rolehost_runtime.gateway.link.serving import Serving
from rolehost_runtime.gateway.ports import Bundles, Dialer, Signer
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Tables, Tenant

log = logging.getLogger(__name__)

DIAL_SECONDS = 5.0
HELLO_SECONDS = 10.0
BIND_SECONDS = 60.0
"""For the bundle's way over the link and the import of the logic in it."""
LOOK_SECONDS = 5.0
"""How often time itself is looked at: links that fell idle, pods that wait for too long."""
MAX_STRANGERS = 8
"""Of one tenant, that are reported."""


class LinkPool:
    """Implements ports.Links, ports.Report and ports.Logs."""

    def __init__(
        self,
        tables: Tables,
        dialer: Dialer,
        bundles: Bundles,
        signer: Signer,
        now_ms: Callable[[], int],
        gateway_name: str,
        *,
        require_gvisor: bool = True,
        backoff_seconds: Sequence[float] = BACKOFF_SECONDS,
        me: str = "",
        members: Callable[[], Collection[str]] = tuple,
        budget: Budget | None = None,
    ) -> None:
        """`members` are the gateways that are alive and not draining, `me` this one's name among them.

        None at all are taken for this one alone: a pod bound twice is better than never.
        Whoever changes what they are calls `members_changed`.
        """
        self._tables, self._dialer, self._signer = tables, dialer, signer
        self._now_ms = now_ms
        self._require_gvisor = require_gvisor
        self._backoff = backoff_seconds
        self._me = me or gateway_name
        self._members = members
        self._ranks: dict[str, int | None] = {}
        self._ranked_among: frozenset[str] = frozenset()
        self._keepers: dict[str, Keeper] = {}
        self._followers = Followers()
        self._verdicts = Verdicts()
        self._carrier = Carrier(bundles, budget)
        self._serving = Serving(tables.pods, self._keepers, self._verdicts, lambda: len(self._alive()))
        self._doorbell = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._pins = Pins(now_ms)
        self._picture = Picture(
            f"{gateway_name}-{secrets.token_hex(4)}", self._pod_reports, self._pins, lambda: tables.stale
        )

    async def start(self) -> None:
        for table in (self._tables.pods, self._tables.strangers, self._tables.revisions, self._tables.roles):
            table.listen(lambda _key: self._doorbell.set())
        self._doorbell.set()
        self._watcher = asyncio.create_task(self._watch(), name="links")

    async def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        tasks = [task for keeper in self._keepers.values() if (task := keeper.stop()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keepers.clear()

    def members_changed(self) -> None:
        """Gateways came, went or began to drain: pods may have another binder."""
        self._doorbell.set()

    # ── keeping links up ────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._doorbell.wait()
            rung = self._doorbell.is_set()
            self._doorbell.clear()
            try:
                self.look()
            except Exception as error:  # a bug of ours: without this task no pod would ever be bound again
                faults.internal(log, "looking after links", error)
            if rung:
                self._ring()

    def look(self) -> None:
        """Make it so that every pod of the table has a keeper and no other has, and that each knows its duty."""
        now_ms, congested = self._now_ms(), self._carrier.congested
        pods = {pod.uid: pod for pod in self._tables.pods.values()}
        self._rank(pods.keys())
        for uid in self._keepers.keys() - pods.keys():
            self._keepers.pop(uid).stop()
        for uid, pod in pods.items():
            keeper = self._keepers.get(uid)
            if keeper is None:
                keeper = self._keepers[uid] = Keeper(pod, self._serve, self._ring, self._backoff)
            keeper.look(pod, self._rows(pod), self._ranks[uid], now_ms, congested=congested)
        self._followers.seek(self._keepers.values())

    def _alive(self) -> frozenset[str]:
        return frozenset(self._members() or (self._me,))

    def _rank(self, pods: AbstractSet[str]) -> None:
        """This gateway's place in the order of each pod; worked out again where the members changed."""
        members = self._alive()
        if members != self._ranked_among:
            self._ranks.clear()
            self._ranked_among = members
        for gone in self._ranks.keys() - pods:
            del self._ranks[gone]
        for uid in pods - self._ranks.keys():
            self._ranks[uid] = rank(uid, self._me, members)

    def _ring(self) -> None:
        """Pods or links changed: wake whoever waits for one, and whoever reads the report."""
        self._serving.ring()
        self._picture.ring()

    def _rows(self, pod: PodEntry) -> Rows:
        """What a link to this pod is made of; where one of them changes, it is tried again at once."""
        tables, namespace = self._tables, pod.tenant.name
        return (
            tables.pods.get(pod.uid),
            tables.roles.get(namespace, pod.role),
            tables.revisions.get(namespace, pod.revision),
        )

    async def _serve(self, keeper: Keeper) -> None:
        """One link's whole life. Raises what ended it before it stood, or the pod's own fault."""
        pod, known = keeper.pod, keeper.known
        _, role, revision = self._rows(pod)
        if role is None or revision is None or revision.tenant != pod.tenant or role.tenant != pod.tenant:
            raise Unavailable("the revision of this pod is not known here yet", code="revision_not_seen")
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await self._dialer.dial(pod)
        link = Link(pod, reader, writer, self._now_ms)
        link.changed = self._ring
        reading = asyncio.create_task(link.run(), name=f"read-{pod.uid}")
        try:
            await self._bind(link, role, revision, known)
            keeper.stands(link, self._now_ms())
            self._followers.ask(link)
            self._ring()
            await link.ended
        finally:
            keeper.lost(link)
            link.close()
            reading.cancel()
            (outcome,) = await asyncio.gather(reading, return_exceptions=True)
            self._ring()
        if isinstance(outcome, Exception):
            raise outcome

    async def _bind(self, link: Link, role: RoleEntry, revision: RevisionEntry, known: Known) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = await link.hello
        fingerprint = self._dialer.attested(link.pod, link.writer, hello)
        link.speak()
        protocol = checked_hello(hello, PROTOCOLS, revision)
        probe = hearsay.probe(hello.probe)
        known.probe = known.probe or probe
        self._picture.ring()
        fault = breach(known.probe, require_gvisor=self._require_gvisor) or breach(
            probe, require_gvisor=self._require_gvisor
        )
        if fault is not None:
            known.error, known.refused = fault, True
            raise Unavailable("the pod's sandbox is not what was asked for", code="sandbox_breached")
        fault = self._verdicts.fault(revision)
        if fault is not None:
            known.error, known.loaded = fault, False
            raise Conflict("the revision is not what its hash says", hint=fault.hint, code=fault.code)
        signature = self._signer.sign(proof_text(hello.nonce, link.pod.uid, fingerprint))
        link.send(0, Prove(protocol=protocol, signature=signature))
        try:
            await self._send_bind(link, role, revision, hello)
            async with asyncio.timeout(BIND_SECONDS):
                bound = await link.bound
        except TimeoutError:
            known.error = LoadError(
                code="bind_timeout", hint="Importing the logic took too long; what does it do at import?"
            )
            raise
        except Unavailable:
            raise  # it will pass, and is no fault of the logic
        except RolehostError as error:
            known.error = LoadError(code=error.code, hint=error.hint[:256])
            raise
        if bound.error is None and bound.hash != revision.spec.hash:
            raise Unavailable("the pod says that it is bound to another revision", code="bound_elsewhere")
        logic = revision.spec.template.logic
        known.error = hearsay.load_error(bound.error, logic.entrypoint if logic else "") if bound.error else None
        known.loaded = bound.error is None

    async def _send_bind(self, link: Link, role: RoleEntry, revision: RevisionEntry, hello: Hello) -> None:
        """Bind, and the bundle after it if the pod has none yet and it is this gateway's duty to bring it."""
        logic = revision.spec.template.logic
        if not hello.bound:
            self._dutiful(link)
            if hello.binding:  # whoever was its binder, or stepped in, is at it
                raise Unavailable("another gateway is binding this pod", code="not_bound_yet")
        if hello.bound or logic is None or not logic.bundle:
            link.stage = LinkStage.BINDING
            link.send(0, bind_message(role, revision, None))
            return
        async with self._carrier.bundle(revision.tenant, logic.bundle, link.ended) as bundle:
            self._dutiful(link).known.carried += 1  # asked again: it may have waited for long
            link.stage = LinkStage.BINDING
            link.send(0, bind_message(role, revision, bundle))
            async with asyncio.timeout(BIND_SECONDS):
                for start in range(0, len(bundle), BUNDLE_CHUNK_BYTES):
                    if link.bound.done():  # by another gateway meanwhile
                        return
                    end = start + BUNDLE_CHUNK_BYTES
                    link.send(0, BundleChunk(data=bundle[start:end], last=end >= len(bundle)))
                    await link.room()

    def _dutiful(self, link: Link) -> Keeper:
        """The keeper of a pod that is this gateway's to bind. Raises Unavailable where it is another's."""
        keeper = self._keepers.get(link.pod_uid)
        if keeper is None or not keeper.duty:
            raise Unavailable("another gateway is to bind this pod first", code="not_bound_yet")
        return keeper

    # ── ports.Links ─────────────────────────────────────────────────────────────────

    async def start_turn(
        self, role: RoleEntry, revision: RevisionEntry, session_key: str, start: StartTurn, wait_seconds: float
    ) -> Call:
        """Start a turn on the session's pod, waiting for one to be ready for at most so long."""
        link = await self._serving.link(revision, session_key, role.spec.sessions.max_per_pod, wait_seconds)
        return link.start(session_key, start, self._until(role))

    def pin(self, role: RoleEntry, revision: str, session_key: str) -> None:
        self._pins.pin(role.tenant.name, role.name, revision, session_key, self._until(role))
        self._picture.ring()

    def release(self, session_key: str) -> None:
        self._pins.release(session_key)
        for link in self._links.values():
            link.vacate(session_key)
        self._picture.ring()

    def _until(self, role: RoleEntry) -> int:
        return self._now_ms() + 1000 * role.spec.sessions.idle_timeout_seconds

    @property
    def _links(self) -> dict[str, Link]:
        """Those that stand, by their pods' UIDs."""
        return {uid: keeper.link for uid, keeper in self._keepers.items() if keeper.link is not None}

    # ── ports.Report and ports.Logs ─────────────────────────────────────────────────

    def listens(self, listening: bool) -> None:
        """The clients' port was opened, or closed."""
        self._picture.listening = listening
        self._picture.ring()

    async def observed(self, after: int, wait_seconds: float) -> Observed:
        return await self._picture.observed(after, wait_seconds)

    def _pod_reports(self) -> tuple[PodReport, ...]:
        """The pods that this gateway has a word on: its own to bind, those that it met, and those just come."""
        reports = []
        for pod in sorted(self._tables.pods.values(), key=lambda pod: pod.uid):
            keeper = self._keepers.get(pod.uid)
            if keeper is None:
                reports.append(pod_report(pod, Known(), 0))
            elif keeper.duty or keeper.known != Known():
                reports.append(pod_report(pod, keeper.known, keeper.occupied()))
        return (*reports, *self._strangers())

    def _strangers(self) -> Iterator[PodReport]:
        """Pods that nobody dials: only what Kubernetes says of them."""
        counts: Counter[Tenant] = Counter()
        for pod in sorted(self._tables.strangers.values(), key=lambda pod: pod.uid):
            counts[pod.tenant] += 1
            if counts[pod.tenant] <= MAX_STRANGERS:
                yield pod_report(pod, Known(), 0)

    async def follow(self, role: RoleEntry, *, after: int, follow: bool) -> AsyncIterator[LogLine]:
        """What the Role's logic printed, over all its pods, as it arrives; their numbers are per pod."""
        if role.spec.logs is LogPolicy.OFF:
            raise Forbidden("this Role's logs are off", hint="Set spec.logs to Tenant", code="logs_off")
        follower = Follower(role, LogReader(self._now_ms, follow=follow), after, follow)
        try:
            for link in self._links.values():
                follower.ask(link)
            self._followers.add(follower)
            follower.seek(self._keepers.values())
            async for line in follower.reader.lines():
                yield line
        finally:
            self._followers.discard(follower)
            follower.end()

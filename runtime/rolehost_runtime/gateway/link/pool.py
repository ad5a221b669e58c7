"""Links to pods: a link's whole life, and all that the other rooms of the gateway ask of them.

Who is linked, and when, is for `keepers` to say. The life of a link is: dial, hear the
probe, prove ourselves, bind, then read until it ends. What a pod says decides nothing
here but its own report: whose pod it is comes from the table.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Container, Iterator, Sequence

from rolehost_api.crd.role import LogPolicy
from rolehost_api.errors import Conflict, Forbidden, RolehostError, Unavailable
from rolehost_api.link.messages import (
    BUNDLE_CHUNK_BYTES,
    MIN_TIMER_SECONDS,
    PROTOCOLS,
    BundleChunk,
    Hello,
    LoadError,
    LogLine,
    Prove,
    StartTurn,
    TimerSpec,
    proof_text,
)
from rolehost_api.observed import Observed, PodReport, RolloutReport, WarmReport
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.link.bind import Verdicts, bind_message, breach, checked_hello
from rolehost_runtime.gateway.link.budget import Budget
from rolehost_runtime.gateway.link.call import Call
from rolehost_runtime.gateway.link.carrier import Carrier
from rolehost_runtime.gateway.link.followers import Follower, Followers
from rolehost_runtime.gateway.link.keeper import BACKOFF_SECONDS, Keeper
from rolehost_runtime.gateway.link.keepers import Keepers
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.logs import LogReader
from rolehost_runtime.gateway.link.metrics import OK, Facts, LinkSink, NoLinkSink, Sight, State
from rolehost_runtime.gateway.link.report import Known, Picture, Pins, pod_report
from rolehost_runtime.gateway.link.rules import LinkStage
from rolehost_runtime.gateway.link.serving import Serving
from rolehost_runtime.gateway.ports import Bundles, Dialer, Person, Signer
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables, Tenant

DIAL_SECONDS = 5.0
HELLO_SECONDS = 10.0
CARRY_SECONDS = 30.0
"""For the bundle's way over the link. A pod that reads slowly must not hold one of the few transfers for long."""
BIND_SECONDS = 60.0
"""For the import of the logic."""
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
        timer_min_seconds: int = MIN_TIMER_SECONDS,
        sink: LinkSink | None = None,
    ) -> None:
        """`members` are the gateways that are alive and not draining, `me` this one's name among them.

        None at all are taken for this one alone: a pod bound twice is better than never.
        Whoever changes what they are calls `members_changed`.
        """
        self._tables, self._dialer, self._signer = tables, dialer, signer
        self._now_ms = now_ms
        self._require_gvisor = require_gvisor
        self._timer_min_seconds = timer_min_seconds
        self._sink: LinkSink = sink or NoLinkSink()
        self._followers = Followers()
        self._verdicts = Verdicts()
        self._carrier = Carrier(bundles, budget)
        self._keepers = Keepers(
            tables,
            self._serve,
            self._ring,
            now_ms,
            me=me or gateway_name,
            members=members,
            congested=lambda: self._carrier.congested,
            followers=self._followers,
            backoff_seconds=backoff_seconds,
        )
        self._serving = Serving(tables.pods, self._keepers, self._verdicts, lambda: len(self._keepers.alive()), now_ms)
        self._pins = Pins(now_ms)
        self.rollouts: Callable[[], tuple[RolloutReport, ...]] = tuple
        """What ends of rollouts did here, for the report."""
        self.warmed: Callable[[], tuple[WarmReport, ...]] = tuple
        """What was warmed from here, for the report."""
        self._picture = Picture(
            f"{gateway_name}-{secrets.token_hex(4)}",
            self._pod_reports,
            self._pins,
            lambda: tables.stale,
            lambda: self.rollouts(),
            lambda: self.warmed(),
        )

    async def start(self) -> None:
        self._keepers.start()
        self._tables.strangers.listen(lambda _key: self._picture.ring())

    async def stop(self) -> None:
        await self._keepers.stop()

    def members_changed(self) -> None:
        """Gateways came, went or began to drain: pods may have another binder."""
        self._keepers.members_changed()

    def _ring(self) -> None:
        """Pods or links changed: wake whoever waits for one, and whoever reads the report."""
        self._serving.ring()
        self._picture.ring()

    async def _serve(self, keeper: Keeper) -> None:
        """One link's whole life, counted. Raises what ended it before it stood, or the pod's own fault."""
        try:
            await self._served(keeper)
        except (OSError, TimeoutError, RolehostError) as error:
            self._sink.ended(error.code if isinstance(error, RolehostError) else "pod_unreachable")
            raise

    async def _served(self, keeper: Keeper) -> None:
        pod, known = keeper.pod, keeper.known
        _, role, revision = self._keepers.rows(pod)
        if role is None or revision is None or revision.tenant != pod.tenant or role.tenant != pod.tenant:
            raise Unavailable("the revision of this pod is not known here yet", code="revision_not_seen")
        async with asyncio.timeout(DIAL_SECONDS):
            reader, writer = await self._dialer.dial(pod)
        link = Link(pod, reader, writer, self._now_ms)
        link.changed = self._ring
        link.stopped = lambda code: self._sink.stopped(pod.tenant.name, pod.role, code)
        reading = asyncio.create_task(link.run(), name=f"read-{pod.uid}")
        try:
            await self._bind(link, role, revision, known)
            self._sink.bound(known.error.code if known.error else OK)
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
            raise Conflict("the revision cannot be served as it is", hint=fault.hint, code=fault.code)
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
            link.send(0, bind_message(role, revision, None, self._timer_min_seconds))
            return
        async with self._carrier.bundle(revision.tenant, logic.bundle, link.ended) as bundle:
            self._dutiful(link).known.carried += 1  # asked again: it may have waited for long
            link.stage = LinkStage.BINDING
            link.send(0, bind_message(role, revision, bundle, self._timer_min_seconds))
            try:
                async with asyncio.timeout(CARRY_SECONDS):
                    await _carry(link, bundle)
            except TimeoutError:
                raise Unavailable("the pod did not take its bundle in time", code="pod_stalled") from None

    def _dutiful(self, link: Link) -> Keeper:
        """The keeper of a pod that is this gateway's to bind. Raises Unavailable where it is another's."""
        keeper = self._keepers.get(link.pod_uid)
        if keeper is None or not keeper.duty:
            raise Unavailable("another gateway is to bind this pod first", code="not_bound_yet")
        return keeper

    # ── ports.Links ─────────────────────────────────────────────────────────────────

    async def start_turn(
        self,
        role: RoleEntry,
        revision: RevisionEntry,
        session_key: str,
        start: StartTurn,
        wait_seconds: float,
        person: Person | None = None,
    ) -> Call:
        """Start a turn on the session's pod, waiting for one to be ready for at most so long."""
        link = await self._serving.link(revision, session_key, role.spec.sessions.max_per_pod, wait_seconds)
        if person is not None and link.keeps_user_state:
            start = await person.read(start)
        return link.start(session_key, start, self._until(role))

    async def loaded(
        self, role: RoleEntry, revision: RevisionEntry, session_key: str, wait_seconds: float
    ) -> Sequence[TimerSpec]:
        link = await self._serving.link(revision, session_key, role.spec.sessions.max_per_pod, wait_seconds)
        return hearsay.timers(link.timers, self._timer_min_seconds)

    def timers(self, revision: RevisionEntry) -> Sequence[TimerSpec]:
        for link in self._links.values():
            if (link.pod.tenant, link.pod.revision) == (revision.tenant, revision.name):
                return hearsay.timers(link.timers, self._timer_min_seconds)
        return ()

    def pin(self, role: RoleEntry, revision: str, session_key: str) -> None:
        self._pins.pin(role.tenant.name, role.name, revision, session_key, self._until(role))
        self._picture.ring()

    def release(self, session_key: str) -> None:
        self._pins.release(session_key)
        for link in self._links.values():
            link.vacate(session_key)
        self._picture.ring()

    def leave(self, role: RoleEntry, revision: str, but: Container[str]) -> None:
        for session_key in self._pins.release_on(role.tenant.name, role.name, revision, but):
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

    def on_silent(self, told: Callable[[str, str, str, str], None]) -> None:
        """`told` hears namespace, Role, revision and key of each session that is silent for its idle timeout."""
        self._pins.ran_out = told

    def news(self) -> None:
        """Something that the report tells has changed."""
        self._picture.ring()

    async def observed(self, after: int, wait_seconds: float) -> Observed:
        return await self._picture.observed(after, wait_seconds)

    def facts(self) -> Facts:
        """For whoever counts them."""
        strangers = Counter(pod.tenant.name for pod in self._tables.strangers.values())
        return Facts(tuple(self._sights()), strangers, self._picture.now())

    def _sights(self) -> Iterator[Sight]:
        for keeper in self._keepers.values():
            if keeper.duty or keeper.known.refused:
                pod, linked = keeper.pod, keeper.usable is not None
                yield Sight(pod.tenant.name, pod.role, pod.revision, _state(keeper.known), linked, keeper.occupied())

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


def _state(known: Known) -> State:
    if known.refused:
        return "refused"
    if known.error is not None:
        return "failed"
    return "loaded" if known.loaded else "waiting"


async def _carry(link: Link, bundle: bytes) -> None:
    """The whole bundle, or as much of it as the pod still wants. Raises Unavailable `pod_lost`."""
    for start in range(0, len(bundle), BUNDLE_CHUNK_BYTES):
        if link.bound.done():  # by another gateway meanwhile
            return
        end = start + BUNDLE_CHUNK_BYTES
        link.send(0, BundleChunk(data=bundle[start:end], last=end >= len(bundle)))
        await link.room()

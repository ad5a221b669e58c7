"""A link to every trusted pod, kept up; which of them serves a session; what they report.

One keeper task per pod of the table: dial, hear the probe, prove ourselves, bind, then
read until the link ends, and again. What a pod says decides nothing here but its own
report: whose pod it is comes from the table.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from rolehost_api.crd.role import LogPolicy
from rolehost_api.errors import Conflict, Forbidden, Overloaded, ProtocolViolation, RolehostError, Unavailable
from rolehost_api.link.messages import (
    BUNDLE_CHUNK_BYTES,
    PROTOCOLS,
    BundleChunk,
    LoadError,
    LogLine,
    Probe,
    Prove,
    StartTurn,
    proof_text,
)
from rolehost_api.observed import Observed, PodReport
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.link.bind import Verdicts, bind_message, breach, checked_hello
from rolehost_runtime.gateway.link.call import Call
from rolehost_runtime.gateway.link.link import Link
from rolehost_runtime.gateway.link.logs import LogReader
from rolehost_runtime.gateway.link.placement import choose
from rolehost_runtime.gateway.link.report import Picture, Pins
from rolehost_runtime.gateway.link.rules import LinkStage
from rolehost_runtime.gateway.ports import Bundles, Dialer
from rolehost_runtime.gateway.tables import PodEntry, RevisionEntry, RoleEntry, Tables

log = logging.getLogger(__name__)

DIAL_SECONDS = 5.0
HELLO_SECONDS = 10.0
FETCH_SECONDS = 30.0
BIND_SECONDS = 60.0
"""For the bundle's way over the link and the import of the logic in it."""
BACKOFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
MAX_BUNDLES_IN_MEMORY = 8


class Signer(Protocol):
    """The platform's private key; an Ed25519PrivateKey is one."""

    def sign(self, data: bytes, /) -> bytes: ...


@dataclass(slots=True)
class Known:
    """What is known of a pod, for the report."""

    probe: Probe | None = None
    """The first one, from before any tenant byte; what it says after that proves nothing."""
    loaded: bool = False
    stood: bool = False
    """The last link to it came as far as Bound."""
    error: LoadError | None = None
    refused: bool = False
    """Its sandbox leaks: it is never bound. A fresh pod may do better, this one may not."""


@dataclass(eq=False, slots=True)
class Follower:
    """One reader of a Role's logs and what it asked of which link; `asked` grows with the pods that come."""

    role: RoleEntry
    reader: LogReader
    after: int
    follow: bool
    asked: list[tuple[Link, int]] = field(default_factory=list)

    def ask(self, link: Link) -> None:
        if (link.pod.tenant, link.pod.role) == (self.role.tenant, self.role.name) and not link.closed:
            self.asked = [(asked, request) for asked, request in self.asked if not asked.closed]
            self.asked.append((link, link.read_logs(self.reader, after=self.after, follow=self.follow)))


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
    ) -> None:
        self._tables, self._dialer, self._bundles, self._signer = tables, dialer, bundles, signer
        self._now_ms = now_ms
        self._require_gvisor = require_gvisor
        self._backoff = backoff_seconds
        self._known: dict[str, Known] = {}
        self._links: dict[str, Link] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._followers: set[Follower] = set()
        self._verdicts = Verdicts()
        self._doorbell = asyncio.Event()
        self._news = asyncio.Event()
        self._bundle_slots = asyncio.Semaphore(MAX_BUNDLES_IN_MEMORY)
        self._watcher: asyncio.Task[None] | None = None
        self._pins = Pins(now_ms)
        self._picture = Picture(
            f"{gateway_name}-{secrets.token_hex(4)}", self._pod_reports, self._pins, lambda: tables.stale
        )

    async def start(self) -> None:
        for table in (self._tables.pods, self._tables.revisions, self._tables.roles):
            table.listen(lambda _key: self._doorbell.set())
        self._doorbell.set()
        self._watcher = asyncio.create_task(self._watch(), name="links")

    async def stop(self) -> None:
        tasks = [*self._keepers.values()] + ([self._watcher] if self._watcher else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._keepers.clear()

    # ── keeping links up ────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        """Level-triggered: whatever rang, every pod of the table has a keeper and no other has."""
        while True:
            await self._doorbell.wait()
            self._doorbell.clear()
            present = {pod.uid for pod in self._tables.pods.values()}
            for uid in self._keepers.keys() - present:
                self._keepers.pop(uid).cancel()
                self._known.pop(uid, None)
            for uid in present - self._keepers.keys():
                self._known[uid] = Known()
                self._keepers[uid] = asyncio.create_task(self._keep(uid), name=f"link-{uid}")
            self._ring()

    def _ring(self) -> None:
        """Pods or links changed: wake whoever waits for one, and whoever reads the report."""
        self._news.set()
        self._news = asyncio.Event()
        self._picture.ring()

    async def _keep(self, uid: str) -> None:
        attempt = 0
        while (pod := self._tables.pods.get(uid)) is not None:
            known = self._known[uid]
            news, rows = self._news, self._rows(pod)
            known.stood = False
            hostile = False
            try:
                await self._serve(pod, known)
            except (OSError, TimeoutError, RolehostError) as error:
                code = error.code if isinstance(error, RolehostError) else "pod_unreachable"
                log.info("link to pod %s/%s ended: %s", pod.tenant.name, pod.name, code)
                hostile = isinstance(error, ProtocolViolation)
            except Exception as error:  # a bug of ours: this pod's link would be the last that anybody heard of it
                faults.internal(log, "keeping a link", error)
            attempt = 0 if known.stood and not hostile else attempt + 1
            self._ring()
            if known.refused:
                return
            pause = self._backoff[min(attempt, len(self._backoff) - 1)] * (0.5 + secrets.randbelow(1000) / 1000)
            try:
                async with asyncio.timeout(pause):
                    while self._rows(pod) == rows:
                        await news.wait()
                        news = self._news
            except TimeoutError:
                continue

    def _rows(self, pod: PodEntry) -> tuple[PodEntry | None, RoleEntry | None, RevisionEntry | None]:
        """What a link to this pod is made of; where one of them changes, it is tried again at once."""
        tables, namespace = self._tables, pod.tenant.name
        return (
            tables.pods.get(pod.uid),
            tables.roles.get(namespace, pod.role),
            tables.revisions.get(namespace, pod.revision),
        )

    async def _serve(self, pod: PodEntry, known: Known) -> None:
        """One link's whole life. Raises what ended it before it stood, or the pod's own fault."""
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
            await link.ended
        finally:
            if self._links.get(pod.uid) is link:
                del self._links[pod.uid]
            link.close()
            reading.cancel()
            (outcome,) = await asyncio.gather(reading, return_exceptions=True)
            self._ring()
        if isinstance(outcome, Exception):
            raise outcome

    async def _bind(self, link: Link, role: RoleEntry, revision: RevisionEntry, known: Known) -> None:
        async with asyncio.timeout(HELLO_SECONDS):
            hello = await link.hello
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
        signature = self._signer.sign(proof_text(hello.nonce, link.pod.uid))
        link.send(0, Prove(protocol=protocol, signature=signature))
        try:
            await self._send_bind(link, role, revision, bound=bool(hello.bound))
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
        known.stood = True
        self._links[link.pod.uid] = link
        for follower in self._followers:
            with suppress(Overloaded):  # more readers than a link takes; the pod serves all the same
                follower.ask(link)
        self._ring()

    async def _send_bind(self, link: Link, role: RoleEntry, revision: RevisionEntry, *, bound: bool) -> None:
        """Bind, and the bundle after it if the pod has none yet."""
        logic = revision.spec.template.logic
        async with self._bundle_slots:
            bundle: bytes | None = None
            if logic is not None and logic.bundle and not bound:
                async with asyncio.timeout(FETCH_SECONDS):
                    bundle = await self._bundles.fetch(revision.tenant, logic.bundle)
            link.stage = LinkStage.BINDING
            link.send(0, bind_message(role, revision, bundle))
            if bundle is None:
                return
            async with asyncio.timeout(BIND_SECONDS):
                for start in range(0, len(bundle), BUNDLE_CHUNK_BYTES):
                    end = start + BUNDLE_CHUNK_BYTES
                    link.send(0, BundleChunk(data=bundle[start:end], last=end >= len(bundle)))
                    await link.room()

    # ── ports.Links ─────────────────────────────────────────────────────────────────

    def _serving(self, revision: RevisionEntry) -> list[Link]:
        """Links to pods of this revision that may take a turn; none where its row was changed under them."""
        if self._verdicts.fault(revision) is not None:
            return []
        return [
            link
            for uid, link in self._links.items()
            if (pod := self._tables.pods.get(uid)) is not None
            and (pod.tenant, pod.revision) == (revision.tenant, revision.name)
            and not (pod.leaving or link.draining or link.closed)
            and self._known[uid].loaded
        ]

    async def start_turn(
        self, role: RoleEntry, revision: RevisionEntry, session_key: str, start: StartTurn, wait_seconds: float
    ) -> Call:
        """Start a turn on the session's pod, waiting for one to be ready for at most so long."""
        try:
            async with asyncio.timeout(wait_seconds):
                while not (serving := self._serving(revision)):
                    await self._news.wait()
        except TimeoutError:
            raise Unavailable(
                "no pod of this Role is ready",
                hint="`kubectl describe rhr` says why; it may just be starting",
                code="no_pod_ready",
            ) from None
        link = choose(session_key, serving, role.spec.sessions.max_per_pod)
        if link is None:
            raise Overloaded(
                "every pod of this Role serves as many sessions as it may",
                hint="Raise spec.scaling.replicas or spec.sessions.maxPerPod",
                code="pods_full",
            )
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

    # ── ports.Report and ports.Logs ─────────────────────────────────────────────────

    async def observed(self, after: int, wait_seconds: float) -> Observed:
        return await self._picture.observed(after, wait_seconds)

    def _pod_reports(self) -> tuple[PodReport, ...]:
        reports = []
        for pod in sorted(self._tables.pods.values(), key=lambda pod: pod.uid):
            known = self._known.get(pod.uid, Known())
            link = self._links.get(pod.uid)
            reports.append(
                PodReport(
                    uid=pod.uid,
                    name=pod.name,
                    namespace=pod.tenant.name,
                    role=pod.role,
                    revision=pod.revision,
                    probe=known.probe,
                    loaded=known.loaded,
                    error=known.error,
                    sessions=link.occupied() if link else 0,
                )
            )
        return tuple(reports)

    async def follow(self, role: RoleEntry, *, after: int, follow: bool) -> AsyncIterator[LogLine]:
        """What the Role's logic printed, over all its pods, as it arrives; their numbers are per pod."""
        if role.spec.logs is LogPolicy.OFF:
            raise Forbidden("this Role's logs are off", hint="Set spec.logs to Tenant", code="logs_off")
        follower = Follower(role, LogReader(self._now_ms, follow=follow), after, follow)
        try:
            for link in self._links.values():
                follower.ask(link)
            if follow:
                self._followers.add(follower)
            async for line in follower.reader.lines():
                yield line
        finally:
            self._followers.discard(follower)
            for link, request in follower.asked:
                link.stop_logs(request)

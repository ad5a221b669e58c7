"""The composition root: the only module that knows every adapter.

    gateway = Gateway(Options(port=0), Adapters(tables=…, dialer=…, …))
    await gateway.start()      # gateway.port is the port that it got
    await gateway.stop()       # or: await gateway.run(), until SIGTERM or SIGINT

`in_cluster` puts the cluster's adapters together; `rolehost dev` brings its own.
"""

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import MIN_TIMER_SECONDS
from rolehost_api.link.root_secret import attestation_root
from rolehost_runtime.core.assignment import assignment_key
from rolehost_runtime.core.safety.guards import Guard
from rolehost_runtime.gateway import faults, heap
from rolehost_runtime.gateway.broker.archive.probe import ArchiveProbe
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.models.metrics import PrometheusModelSink
from rolehost_runtime.gateway.broker.models.plugins import PluginProvider
from rolehost_runtime.gateway.broker.models.provider import HttpProvider
from rolehost_runtime.gateway.broker.models.service import ModelService
from rolehost_runtime.gateway.broker.reach.metrics import PrometheusReachSink
from rolehost_runtime.gateway.broker.reach.opening import Outside
from rolehost_runtime.gateway.broker.state.gauges import StoreGauges
from rolehost_runtime.gateway.broker.state.redis_leases import RedisLeases
from rolehost_runtime.gateway.broker.state.redis_ledger import RedisLedger
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.redis_tables import RedisLastGood
from rolehost_runtime.gateway.edge.auth import Authenticator, KeyAuth, Tokens
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.internal import OperatorOnly, Reviewer, SmallServer, internal_app, metrics_app
from rolehost_runtime.gateway.edge.platform import PlatformHealth
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.rest import make_rest
from rolehost_runtime.gateway.edge.rooms import Rooms
from rolehost_runtime.gateway.edge.server import GRACE_SECONDS, EdgeServer
from rolehost_runtime.gateway.edge.tokens import signing_key
from rolehost_runtime.gateway.edge.uploads import Uploads
from rolehost_runtime.gateway.edge.websocket import Door
from rolehost_runtime.gateway.kept import Forgettable
from rolehost_runtime.gateway.link.dialer import TlsDialer
from rolehost_runtime.gateway.link.metrics import LinkGauges, PrometheusLinkSink
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.memories import MemoryStore
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.peers.dialer import TLS_SECONDS, TlsPeerDialer
from rolehost_runtime.gateway.peers.guests import Guests
from rolehost_runtime.gateway.peers.identity import PlatformIdentity
from rolehost_runtime.gateway.peers.mesh import Mesh
from rolehost_runtime.gateway.ports import (
    ArchiveFacts,
    Bundles,
    Dialer,
    Embedder,
    Leases,
    ModelProvider,
    Report,
    SegmentStore,
    SessionStore,
    Signer,
    StoreFacts,
    Toolbox,
    Web,
)
from rolehost_runtime.gateway.sessions.admission import Admission
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.sessions.history import Past
from rolehost_runtime.gateway.sessions.judging import Judging
from rolehost_runtime.gateway.sessions.limits import USUAL, Limits
from rolehost_runtime.gateway.sessions.metrics import (
    PrometheusAdmissionSink,
    PrometheusArchiveSink,
    PrometheusRetentionSink,
    PrometheusSink,
    PrometheusTimerSink,
)
from rolehost_runtime.gateway.sessions.ownership import PrometheusOwnership
from rolehost_runtime.gateway.sessions.pressure import Pressure
from rolehost_runtime.gateway.sessions.retention import Sweeper
from rolehost_runtime.gateway.sessions.routing import Routing
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.sessions.timekeeping import LOOK_SECONDS, Timekeeper
from rolehost_runtime.gateway.sessions.warming import Warmer
from rolehost_runtime.gateway.settings import GatewaySettings
from rolehost_runtime.gateway.tables import Tables
from rolehost_runtime.gateway.timers import MAX_TIMED
from rolehost_runtime.gateway.tracing.opening import Telemetry
from rolehost_runtime.gateway.tracing.tracer import Tracer
from rolehost_runtime.gateway.upload import signing
from rolehost_runtime.gateway.upload.client import UploadClient
from rolehost_runtime.gateway.watch.api import Api, from_kubeconfig
from rolehost_runtime.gateway.watch.api import in_cluster as access_of_pod
from rolehost_runtime.gateway.watch.cluster import ClusterFeed
from rolehost_runtime.gateway.watch.lastgood import LastGood
from rolehost_runtime.gateway.watch.review import TokenReview
from rolehost_runtime.plugins.finding import find
from rolehost_runtime.plugins.kinds import GUARD, IN_GATEWAY, MEMORY_STORE, PROMPT_TEMPLATE
from rolehost_runtime.plugins.prompts import PromptTemplate

if TYPE_CHECKING:
    from rolehost_runtime.gateway.edge.grpc.server import GrpcServer

FEED_PAUSE_SECONDS = 1.0
LAST_TURNS_SECONDS = 1.0
SETTLE_SECONDS = 3.0
"""For the first word of every other gateway."""
SCRIPT_PAUSE_SECONDS = 0.02
"""Between pieces of a scripted answer, so that people see it stream."""

log = logging.getLogger(__name__)


class Feed(Protocol):
    """Something that runs beside the gateway for as long as it lives, e.g. a watch."""

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a gateway is told about itself."""

    name: str = "local"
    """The pod's name; the report to the operator carries it with a nonce of this start."""
    host: str = "127.0.0.1"
    port: int = 8080
    """0: any free port, see `Gateway.port`."""
    internal_port: int | None = None
    operator_service_account: str = "rolehost-system/rolehost-operator"
    metrics_port: int | None = None
    allowed_origins: tuple[str, ...] = ()
    """Origins whose pages may connect, beside the gateway's own page; no Origin at all is no browser."""
    allowed_hosts: tuple[str, ...] = ()
    """Names in the Host header that are answered to; empty: all."""
    page: bool = False
    """Serve the playground at `/`."""
    max_connections: int = 20_000
    drain_seconds: float = 10.0
    """How long running turns may go on after the signal to stop."""
    migrate_seconds: float = 0.0
    """Over how long at most the sockets are asked to move then."""
    peer_port: int | None = None
    grpc_port: int | None = None
    """None: gRPC is not served."""
    timer_min_seconds: int = MIN_TIMER_SECONDS
    """Logic with a shorter timer does not load."""
    timer_look_seconds: float = LOOK_SECONDS
    """How often a Role's timers are looked at: so late they may go off."""
    most_timed: int = MAX_TIMED
    """Sessions of one Role that have timers."""
    inspect_bytes: int = 0
    """What prompts and traces of the newest turns may take, for who looks into one; 0: none are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peering:
    """How other gateways know this one. Nobody has the one without the other: silence alone tells nobody who died."""

    identity: PlatformIdentity
    leases: Leases
    """By them it is known to live where its links do not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """What differs between the cluster and one machine. Whoever makes them closes them by `closing`."""

    tables: Tables
    dialer: Dialer
    bundles: Bundles
    store: SessionStore
    models: ModelProvider
    embedder: Embedder | None = None
    """What memories mean; None: nobody tells."""
    web: Web | None = None
    """Servers outside; None: logic cannot reach any."""
    toolbox: Toolbox | None = None
    """Tools of other servers; None: there are none."""
    guards: Mapping[str, Guard] = field(default_factory=dict)
    """Those that are installed beside the platform's own, by the names that Roles use."""
    layouts: Mapping[str, PromptTemplate] = field(default_factory=dict)
    """PromptTemplates that are installed."""
    home: MemoryStore | None = None
    """Where memories are at home; None: beside the sessions' logs. Closed with the sessions."""
    auth: Authenticator
    signing_key: Signer
    """Proves to pods (and to the upload service) that this is the platform."""
    store_answers: Callable[[], Awaitable[bool]]
    """For /readyz."""
    store_facts: Callable[[], Awaitable[StoreFacts]] | None = None
    """For /v1/platform/health; None: there is none here."""
    archive_facts: Callable[[], Awaitable[ArchiveFacts]] | None = None
    durability: str = "local-fsync"
    """What session.created says an acknowledged turn survives."""
    archive: Archive | None = None
    """What takes old records out of the store. None: they stay (local mode)."""
    limits: Limits = USUAL
    """Of one session."""
    admission: Admission | None = None
    """Which tenants may have one more session. None: all (local mode)."""
    require_gvisor: bool = True
    uploads: Uploads | None = None
    """None: no upload and no check over HTTP (local mode)."""
    reviewer: Reviewer | None = None
    """None: nobody may ask for /internal/v1/observed."""
    peering: Peering | None = None
    """None: it is alone (local mode)."""
    assignment_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """Of the buckets that new sessions fall in: the same in every gateway, and nobody else's."""
    owner: str = field(default_factory=lambda: secrets.token_hex(8))
    """This process's own name, which the store writes into a session's head."""
    places: Sequence[Forgettable] = ()
    """Where anything of a session or a user is kept beside the sessions' logs: what is forgotten is deleted there too."""
    tracer: Tracer | None = None
    """None: turns have no traces."""
    feeds: Sequence[Feed] = ()
    closing: Sequence[Callable[[], Awaitable[None]]] = ()


def wall_ms() -> int:
    return time.time_ns() // 1_000_000


class Gateway:
    """One process's worth of gateway, started and stopped from wherever a loop runs."""

    def __init__(self, options: Options, adapters: Adapters, metrics: Metrics | None = None) -> None:
        self._options, self._adapters = options, adapters
        self.metrics = metrics or Metrics()
        tables = adapters.tables
        self._hub = Hub(tables.keys)
        peering = adapters.peering
        self._mesh = (
            Mesh(
                tables,
                TlsPeerDialer(peering.identity),
                prove=peering.identity.sign,
                me=adapters.owner,
                pod=options.name,
                leases=peering.leases,
            )
            if peering
            else None
        )
        self._pool = LinkPool(
            tables,
            adapters.dialer,
            adapters.bundles,
            adapters.signing_key,
            wall_ms,
            options.name,
            require_gvisor=adapters.require_gvisor,
            me=adapters.owner,
            members=self._members,
            timer_min_seconds=options.timer_min_seconds,
            sink=PrometheusLinkSink(self.metrics.registry),
        )
        self.metrics.registry.register(LinkGauges(self._pool.facts))
        ownership = PrometheusOwnership(self.metrics.registry)
        self._routing = routing = Routing(tables, adapters.assignment_key, wall_ms)
        self._pool.rollouts, routing.changed = routing.moves.reports, self._pool.news
        self._pool.on_silent(routing.fell_silent)
        self.metrics.held_back.set_function(lambda: routing.held_back)
        self._scores = routing.cohorts = Judging(tables, self.metrics.registry)
        sink = PrometheusSink(self.metrics.registry)
        self._scores.scored, self._scores.forgotten = routing.scored, sink.forget
        self._sessions = SessionService(
            tables,
            self._pool,
            adapters.store,
            adapters.models,
            wall_ms,
            sink,
            durability=adapters.durability,
            peers=self._mesh,
            archive=adapters.archive,
            snapshots=lambda outcome: self.metrics.snapshots.labels(outcome).inc(),
            places=adapters.places,
            ownership=ownership,
            limits=adapters.limits,
            admission=adapters.admission,
            embedder=adapters.embedder,
            home=adapters.home,
            memory=lambda what, outcome: self.metrics.memory.labels(what, outcome).inc(),
            memory_lag=self.metrics.memory_lag.observe,
            web=adapters.web,
            toolbox=adapters.toolbox,
            most_timed=options.most_timed,
            guards=adapters.guards,
            layouts=adapters.layouts,
            inspect_bytes=options.inspect_bytes,
            routing=routing,
            scores=self._scores,
            tracer=adapters.tracer,
        )
        self._warmer = Warmer(
            self._sessions.world, adapters.owner, lambda outcome: self.metrics.warm_ups.labels(outcome).inc()
        )
        self._pool.warmed, self._warmer.changed = self._warmer.reports, self._pool.news
        self._timekeeper = Timekeeper(
            tables,
            adapters.store,
            self._sessions.look,
            self._mesh.owners if self._mesh is not None else tuple,
            wall_ms,
            PrometheusTimerSink(self.metrics.registry),
            look_seconds=options.timer_look_seconds,
        )
        self._ticking: asyncio.Task[None] | None = None
        if self._mesh is not None:
            self._mesh.changed, self._mesh.given_up = self._pool.members_changed, ownership.given_up
            self._mesh.doubted = self._sessions.doubt
        self._guests = (
            Guests(self._sessions, me=adapters.owner, leaving=lambda: self._hub.draining, check=peering.identity.signed)
            if peering
            else None
        )
        self._peer_server: asyncio.Server | None = None
        self._edge: EdgeServer | None = None
        self._grpc: GrpcServer | None = None
        self._small: list[SmallServer] = []
        self._metrics_server: SmallServer | None = None
        self._running: list[asyncio.Task[None]] = []

    def _members(self) -> frozenset[str]:
        """The gateways that take on new work, this one among them unless it leaves."""
        return self._mesh.members if self._mesh is not None else frozenset({self._adapters.owner})

    @property
    def port(self) -> int:
        """Of the clients' port; known once started."""
        if self._edge is None:
            raise RuntimeError("the gateway is not started")
        return self._edge.port

    @property
    def grpc_port(self) -> int:
        """Of gRPC's port; known once started."""
        if self._grpc is None:
            raise RuntimeError("the gateway is not started, or serves no gRPC")
        return self._grpc.port

    @property
    def metrics_port(self) -> int:
        """Of the metrics' port; known once started."""
        if self._metrics_server is None:
            raise RuntimeError("the gateway is not started, or serves no metrics")
        return self._metrics_server.port

    @property
    def report(self) -> Report:
        """What the pods said, for whoever makes revisions serve."""
        return self._pool

    async def start(self) -> None:
        """Open all ports and start all that runs beside them. Raises RolehostError; nothing is left running then."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        options, adapters = self._options, self._adapters
        self.metrics.vitals.start()
        policy = Policy(
            frozenset(o.lower() for o in options.allowed_origins), frozenset(options.allowed_hosts), options.page
        )
        gate = Gate(
            tables=adapters.tables,
            sessions=self._sessions,
            hub=self._hub,
            metrics=self.metrics,
            now_ms=wall_ms,
            scores=self._scores,
        )
        rooms = Rooms(
            gate=gate,
            auth=adapters.auth,
            logs=self._pool,
            uploads=adapters.uploads,
            store_answers=adapters.store_answers,
            settled=lambda: self._mesh is None or self._mesh.settled,
            page=options.page,
            platform=PlatformHealth(adapters.store_facts, wall_ms, self._members, archive_facts=adapters.archive_facts),
            inspecting=self._sessions,
        )
        self._edge = EdgeServer(
            make_rest(rooms, policy),
            Door(policy, adapters.auth, gate),
            host=options.host,
            port=options.port,
            max_connections=options.max_connections,
            gateways=lambda: len(self._members()),
        )
        if options.grpc_port is not None:
            self._grpc = _grpc_server(rooms, self._edge, options, options.grpc_port)
        if options.internal_port is not None and adapters.reviewer is not None:
            door = OperatorOnly(adapters.reviewer, options.operator_service_account)
            self._small.append(SmallServer(internal_app(self._pool, door), options.host, options.internal_port))
        if options.metrics_port is not None:
            self._metrics_server = SmallServer(metrics_app(self.metrics.registry), options.host, options.metrics_port)
            self._small.append(self._metrics_server)
        self._running = [asyncio.create_task(self._feed(feed)) for feed in adapters.feeds]
        for server in self._small:
            await server.start()
        if self._mesh is not None:
            await self._open_to_peers()
            await self._mesh.start()
            with suppress(TimeoutError):  # who takes itself for alone would offer its bundles to every pod
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._mesh.until_settled()
        await self._pool.start()
        await self._edge.start()
        if self._grpc is not None:
            await self._grpc.start()
        self._pool.listens(True)
        self._warmer.start()
        self._ticking = asyncio.create_task(self._feed(self._timekeeper), name="timers")

    async def _open_to_peers(self) -> None:
        options, peering = self._options, self._adapters.peering
        if options.peer_port is None or peering is None or self._guests is None:
            return
        self._peer_server = await asyncio.start_server(
            self._guests.serve,
            options.host,
            options.peer_port,
            ssl=peering.identity.server_context(),
            ssl_handshake_timeout=TLS_SECONDS,
        )

    async def _feed(self, feed: Feed) -> None:
        """A feed that ends by a bug is started again: a gateway with frozen tables would serve on, unnoticed."""
        while True:
            try:
                await feed.run()
            except Exception as error:
                faults.internal(log, "keeping the tables", error)
            await asyncio.sleep(FEED_PAUSE_SECONDS)

    async def stop(self) -> None:
        """Ask clients to connect again, let running turns end, give sessions away, then let go of everything."""
        if self._edge is not None:
            self._edge.stop_accepting()
            if self._grpc is not None:
                longest = self._options.migrate_seconds + self._options.drain_seconds + LAST_TURNS_SECONDS
                self._grpc.stop_accepting(longest)
            self._pool.listens(False)
            if self._mesh is not None:
                self._mesh.leave()
            self._sessions.leave()
            await self._stop_timers()
            await self._warmer.stop()
            await self._hub.drain(self._options.migrate_seconds, self._options.drain_seconds)
            await self._sessions.stop(LAST_TURNS_SECONDS)
            if self._grpc is not None:
                await self._grpc.stop(GRACE_SECONDS)
            await self._edge.stop()
        if self._peer_server is not None:
            self._peer_server.close()
        if self._guests is not None:
            await self._guests.stop()
        if self._mesh is not None:
            await self._mesh.stop()
        for server in self._small:
            await server.stop()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._pool.stop()
        self.metrics.vitals.stop()
        for close in self._adapters.closing:
            try:
                await close()
            except Exception as error:
                faults.internal(log, "closing", error)

    async def _stop_timers(self) -> None:
        """Nothing more goes off here. A turn that runs goes on; what is due is another gateway's once this one is gone."""
        if self._ticking is not None:
            self._ticking.cancel()
            await asyncio.gather(self._ticking, return_exceptions=True)

    async def run(self) -> None:
        """Start, and stop at SIGTERM or SIGINT."""
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        await self.start()
        heap.settle()
        log.info("serving on port %d", self.port)
        await asked.wait()
        log.info("stopping: running turns have %.0f s", self._options.drain_seconds)
        await self.stop()


def _grpc_server(rooms: Rooms, edge: EdgeServer, options: Options, port: int) -> "GrpcServer":
    """Loaded only where it is served: it is heavy. Raises Unavailable `port_taken`, or where it is not installed."""
    try:
        from rolehost_runtime.gateway.edge.grpc.server import GrpcServer
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"gRPC cannot be served: {error.name} is not installed",
            hint="pip install 'rolehost[gateway]', or set grpc_port to 0",
            code="grpc_not_installed",
            retryable=False,
        ) from None
    return GrpcServer(rooms, host=options.host, port=port, max_connections=options.max_connections, full=edge.full)


def _segments(url: str) -> SegmentStore | None:
    """Loaded only where an archive is named. Raises BadRequest `invalid_archive_url`, or Unavailable where the library
    is not installed."""
    if not url:
        return None
    try:
        from rolehost_runtime.gateway.broker.archive.objects import ObjectSegments
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"an archive cannot be used: {error.name} is not installed",
            hint="pip install 'rolehost[gateway]', or name no archive",
            code="archive_not_installed",
            retryable=False,
        ) from None
    return ObjectSegments.connect(url)


async def in_cluster(settings: GatewaySettings) -> Gateway:
    """The gateway of a cluster: tables by watches, pods by TLS, bundles by the upload service, state in Redis."""
    plugins = find(settings.plugins, IN_GATEWAY)
    metrics, tables = Metrics(), Tables()
    telemetry = Telemetry.of(settings.traces(), metrics.registry)
    key, root = signing.LinkKey(settings.link_key_file), attestation_root(settings.attestation_file)
    api = await Api(from_kubeconfig(settings.kubeconfig) if settings.kubeconfig else access_of_pod()).__aenter__()
    uploads = await UploadClient(settings.upload_url, key).__aenter__()
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    owner = f"{settings.pod_name}/{secrets.token_hex(8)}"
    noticed = metrics.store_troubles
    store = RedisSessionStore.connect(settings.redis_url, password, owner, lambda what: noticed.labels(what).inc())
    segments = _segments(settings.archive_url)
    archive = Archive(
        Past(store.shortened, segments),
        forget=settings.archive_forget,
        sink=PrometheusArchiveSink(metrics.registry),
    )
    sweeper = Sweeper(tables, store, archive, wall_ms, PrometheusRetentionSink(metrics.registry))
    admitted = PrometheusAdmissionSink(metrics.registry)
    pressure = Pressure(tables, store, store.memory, wall_ms, admitted.over)
    store.most_kept = settings.tenant_max_sessions
    admission = Admission(tables, store, wall_ms, lambda: pressure.over, settings.tenant_max_sessions, admitted)
    store.doubted = lambda why: metrics.set_aside.labels(why).inc()
    ledger = RedisLedger.connect(settings.redis_url, password)
    keys = KeyRing(settings.model_keys_dir)
    models = ModelService(
        HttpProvider(keys),
        tables,
        wall_ms,
        ledger,
        PrometheusModelSink(metrics.registry),
        script_pause_seconds=SCRIPT_PAUSE_SECONDS,
        plugins=PluginProvider.of(plugins, keys),
    )
    outside = Outside.of(settings.reach(), PrometheusReachSink(metrics.registry), KeyRing(settings.tool_keys_dir))
    feed = ClusterFeed(api, tables, metrics, namespace=settings.namespace)
    kept = RedisLastGood.connect(settings.redis_url, password)
    leases = RedisLeases.connect(settings.redis_url, password)
    last_good = LastGood(
        tables, kept, feed.places, key, signing.MountedKeys(settings.platform_keys_dir), metrics, wall_ms
    )
    adapters = Adapters(
        tables=tables,
        dialer=TlsDialer(root, metrics.not_attested.inc),
        bundles=uploads,
        store=store,
        models=models.provider,
        embedder=models.embedder,
        web=outside.web,
        toolbox=outside.toolbox,
        guards=plugins.made(GUARD),
        layouts=plugins.made(PROMPT_TEMPLATE),
        home=plugins.get(MEMORY_STORE, settings.memory_store).make() if settings.memory_store else None,
        auth=KeyAuth(tables.keys, Tokens(signing_key(root), wall_ms)),
        assignment_key=assignment_key(root),
        signing_key=key,
        store_answers=store.answers,
        store_facts=store.facts,
        archive_facts=ArchiveProbe(segments, settings.pod_name, forgets=settings.archive_forget).facts,
        durability=store.durability,
        archive=archive,
        limits=Limits(settings.session_max_turns, settings.session_max_mebibytes << 20),
        admission=admission,
        uploads=uploads,
        reviewer=TokenReview(api),
        owner=owner,
        peering=Peering(identity=PlatformIdentity(settings.link_key_file, settings.platform_keys_dir), leases=leases),
        tracer=telemetry.tracer,
        feeds=(feed, last_good, archive, sweeper, pressure, StoreGauges(store.facts, metrics.store), *telemetry.feeds),
        closing=(
            telemetry.close,
            outside.close,
            models.close,
            ledger.close,
            store.close,
            kept.close,
            leases.close,
            uploads.close,
            api.close,
        ),
    )
    options = Options(
        name=settings.pod_name,
        host=settings.host,
        port=settings.port,
        internal_port=settings.internal_port,
        metrics_port=settings.metrics_port,
        operator_service_account=settings.operator_service_account,
        allowed_origins=settings.allowed_origins,
        allowed_hosts=settings.allowed_hosts,
        page=settings.page,
        inspect_bytes=settings.inspect_mebibytes << 20,
        max_connections=settings.max_connections,
        drain_seconds=settings.drain_seconds,
        migrate_seconds=settings.migrate_seconds,
        peer_port=settings.peer_port,
        grpc_port=settings.grpc_port or None,
        timer_min_seconds=settings.timer_min_seconds,
        timer_look_seconds=settings.timer_look_seconds,
        most_timed=settings.tenant_max_sessions,
    )
    return Gateway(options, adapters, metrics)

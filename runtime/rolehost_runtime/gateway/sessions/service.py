"""The way into sessions: for the edge attach, read, list; for other gateways host. Implements ports.Sessions, ports.Host."""

import asyncio
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from rolehost_api import identity
from rolehost_api.errors import NotFound, RolehostError
from rolehost_api.link.peer import Attach
from rolehost_api.wire import HeardPart, Said
from rolehost_runtime.core.behavior.place import nodes
from rolehost_runtime.core.channels import Word
from rolehost_runtime.core.merge import version_of, view_of
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.routes import Routes
from rolehost_runtime.core.safety.guards import Guard
from rolehost_runtime.core.shown import shown
from rolehost_runtime.gateway.inspected import Inspected
from rolehost_runtime.gateway.kept import Forgettable, Whose
from rolehost_runtime.gateway.memories import MemoryStore
from rolehost_runtime.gateway.ports import (
    NOBODY,
    Channel,
    Embedder,
    EventsPage,
    Head,
    HeldElsewhere,
    Hosted,
    Links,
    ModelProvider,
    Moving,
    NoToolbox,
    OwnerLost,
    Peers,
    Principal,
    Seat,
    SessionStore,
    Standing,
    StateView,
    Superseded,
    Toolbox,
    UserView,
    Web,
    ignore,
)
from rolehost_runtime.gateway.scores import NoScores, Scores
from rolehost_runtime.gateway.sessions import reading
from rolehost_runtime.gateway.sessions.admission import Admission
from rolehost_runtime.gateway.sessions.archive import Archive
from rolehost_runtime.gateway.sessions.arming import Timed
from rolehost_runtime.gateway.sessions.evacuation import Evacuation
from rolehost_runtime.gateway.sessions.firing import Looked
from rolehost_runtime.gateway.sessions.forgetting import ArchivePlace, MemoryPlace, SharedPlace, TimerPlace
from rolehost_runtime.gateway.sessions.handle import Handle, Seating
from rolehost_runtime.gateway.sessions.homed import Homed, HomePlace
from rolehost_runtime.gateway.sessions.inspecting import Inspections
from rolehost_runtime.gateway.sessions.librarian import Librarian
from rolehost_runtime.gateway.sessions.limits import USUAL, Limits
from rolehost_runtime.gateway.sessions.live import LiveSession, Place
from rolehost_runtime.gateway.sessions.looking import looked_into
from rolehost_runtime.gateway.sessions.meanings import Meanings
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.sessions.metrics import NoSink, TurnSink
from rolehost_runtime.gateway.sessions.ownership import NoOwnership, OwnershipSink
from rolehost_runtime.gateway.sessions.passing import DURABILITY, NoLog, Passing
from rolehost_runtime.gateway.sessions.revisions import find, named
from rolehost_runtime.gateway.sessions.room import Room
from rolehost_runtime.gateway.sessions.routing import Routing
from rolehost_runtime.gateway.sessions.snapshotting import Snapshotting
from rolehost_runtime.gateway.sessions.world import Accepted, World
from rolehost_runtime.gateway.tables import RoleEntry, Tables, Tenant
from rolehost_runtime.gateway.timers import MAX_TIMED
from rolehost_runtime.gateway.tracing.context import PARENT
from rolehost_runtime.gateway.tracing.tracer import Tracer
from rolehost_runtime.plugins.prompts import PromptTemplate

MAX_HELD = 2048
"""Sessions held in memory before those without a channel are let go at once; the store has them all."""
SLEEP_AFTER_MS = 300_000
"""A session this silent lets go of its fold, and of its place here if nobody is attached."""
COMMIT_PAUSES = (0.1, 0.4, 1.0)
"""A Redis that restarts is back within them."""
NOTES_SECONDS = 2.0
"""For the store to be told, at the end, that nothing is open any more."""
LOOKED_AGAIN = 64
"""Sessions that the store is asked about at once."""
MAX_PLACES = 4
"""Gateways that are asked for a place at one session, one after the other."""
LOOKED_AT = 8
"""Sessions looked at for sleep with each one that is touched: the work is spread, no task runs for it."""


class Alone:
    """No other gateways. Implements ports.Peers."""

    def owners(self) -> Collection[str]:
        return ()

    async def certain(self) -> None:
        """There is nobody whom one could not have seen."""

    async def attach(self, owner: str, asked: Attach, channel: Channel, moved: Callable[[], None]) -> Hosted | None:
        raise OwnerLost

    def forgotten(self, key: str) -> None:
        """Nobody else holds it."""


class LocalSeat:
    """A place at a session that is answered here. Implements ports.Hosted."""

    def __init__(self, service: "SessionService", live: LiveSession, channel: Channel) -> None:
        self._service, self._live, self._channel = service, live, channel

    @property
    def epoch(self) -> int:
        return self._live.epoch

    async def say(self, said: Said, begun: Callable[[str], None] = ignore) -> None:
        accepted = Accepted(said, self._channel, asyncio.get_running_loop().time(), begun, PARENT.get())
        await self._service.run(self._live, self._live.turns.say(accepted))

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        await self._live.resume(self._channel, after_seq, whole=whole)

    def watch(self, word: Word) -> None:
        self._live.watch(self._channel, word)

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        await self._service.run(self._live, self._live.turns.cancel(response_id, heard))

    def leave(self) -> None:
        self._live.leave(self._channel)


class AwaySeat:
    """A place at a session that another gateway answers; it takes its tenant's room here all the same."""

    def __init__(self, seat: Seat, left: Callable[[], None]) -> None:
        self._seat, self._left = seat, left
        self._there = True

    async def say(self, said: Said, begun: Callable[[str], None] = ignore) -> None:
        await self._seat.say(said, begun)

    async def resume(self, after_seq: int, *, whole: bool = False) -> None:
        await self._seat.resume(after_seq, whole=whole)

    def watch(self, word: Word) -> None:
        self._seat.watch(word)

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        await self._seat.cancel(response_id, heard)

    def leave(self) -> None:
        if self._there:
            self._there = False
            self._seat.leave()
            self._left()


@dataclass(frozen=True, slots=True)
class Guest:
    """Who wants a place at which session. Implements handle.Seating for one handle."""

    service: "SessionService"
    principal: Principal
    role: RoleEntry
    session_id: str
    key: str
    wanted: str = ""

    async def place(self, channel: Channel, moved: Callable[[], None]) -> Seat:
        return await self.service.place(self, channel, moved)

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        self.service.go(work)

    def unheard(self, error: RolehostError) -> None:
        self.service.unheard(self.role, error)


def _key(principal: Principal, role: RoleEntry, session_id: str) -> str:
    return identity.session_key(role.tenant.uid, role.name, principal.id, session_id)


class SessionService:
    def __init__(
        self,
        tables: Tables,
        links: Links,
        store: SessionStore,
        models: ModelProvider,
        now_ms: Callable[[], int],
        sink: TurnSink | None = None,
        *,
        durability: str = "local-fsync",
        commit_pauses: Sequence[float] = COMMIT_PAUSES,
        room: Room | None = None,
        peers: Peers | None = None,
        archive: Archive | None = None,
        snapshots: Callable[[str], None] = lambda outcome: None,
        places: Sequence[Forgettable] = (),
        ownership: OwnershipSink | None = None,
        limits: Limits = USUAL,
        admission: Admission | None = None,
        embedder: Embedder | None = None,
        memory: Callable[[str, str], None] = lambda what, outcome: None,
        memory_lag: Callable[[float], None] = lambda seconds: None,
        web: Web | None = None,
        toolbox: Toolbox | None = None,
        most_timed: int = MAX_TIMED,
        guards: Mapping[str, Guard] | None = None,
        layouts: Mapping[str, PromptTemplate] | None = None,
        home: MemoryStore | None = None,
        inspect_bytes: int = 0,
        routing: Routing | None = None,
        scores: Scores | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """`snapshots` is told the outcome of each that was taken. `places`: where anything of a session or a user is kept
        beside the log; all of it is deleted with them. `embedder` tells what memories mean; None: nobody does. `memory` is
        told what was done with memory, and the outcome; `memory_lag` how many seconds a memory took to its home. `toolbox`: tools that are not the logic's own; None: there are none.
        `guards`, `layouts`: those that are installed. `home`: where memories are at home, if not beside the log.
        `inspect_bytes`: what prompts of the newest turns may take here, for `inspect`; 0: none are kept. `scores`: where
        turns are held against their Role's objectives. `routing`: where new sessions go; None: as for a gateway that is alone."""
        self._ownership = ownership or NoOwnership()
        homed = Homed(store, home, now_ms, memory, memory_lag) if home is not None else None
        room, peers = room or Room(), peers or Alone()
        snapshotting = Snapshotting(store, snapshots, archive)
        self._world = World(
            tables, links, store, models, now_ms, sink or NoSink(), durability, commit_pauses, room, peers, snapshotting,
            memories=Memories(homed or store, now_ms, count=memory),
            meanings=Meanings(embedder, count=memory),
            routing=routing or Routing(tables, secrets.token_bytes(32), now_ms),
            archive=archive,
            taken=self._ownership.taken,
            limits=limits,
            web=web,
            toolbox=toolbox or NoToolbox(),
            timed=Timed(store, now_ms, most_timed),
            guards=guards or {},
            layouts=layouts or {},
            inspections=Inspections(inspect_bytes, now_ms),
            scores=scores or NoScores(),
            tracer=tracer,
        )  # fmt: skip
        no_log = NoLog()
        self._unkept = replace(
            self._world,
            store=no_log,
            peers=Alone(),
            durability=DURABILITY,
            snapshotting=Snapshotting(no_log),
            memories=Memories(no_log, now_ms),
            archive=None,
            timed=None,
            inspections=Inspections(0, now_ms),
        )
        """The world of sessions that nobody keeps."""
        self._live: OrderedDict[str, LiveSession] = OrderedDict()
        self._away: Counter[str] = Counter()
        """By session: places of clients of this gateway at sessions that others answer."""
        self._turns: set[asyncio.Task[None]] = set()
        self._errands: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._evacuation = Evacuation(tables, links, lambda: tuple(self._live.values()), now_ms, self.go)
        remembered = self._world.memories
        everywhere = (
            SharedPlace(store),
            TimerPlace(store),
            MemoryPlace(remembered, now_ms),
            *([ArchivePlace(archive)] if archive is not None else ()),
            *([HomePlace(homed)] if homed is not None else ()),
            *places,
        )
        self.kept = Librarian(
            store, now_ms, self._forget, self._world.history, remembered, everywhere, self._keep_seconds
        )
        self._admission = admission
        if admission is not None:
            self.kept.admit = admission.admit
        self._routes: Routes[str] = Routes()
        """By session: the gateway that was found to answer it."""

    @property
    def world(self) -> World:
        """What its sessions share, for whoever gives a turn that is no session's."""
        return self._world

    # ── ports.Sessions ──────────────────────────────────────────────────────────────

    async def attach(
        self,
        principal: Principal,
        role: RoleEntry,
        session_id: str | None,
        channel: Channel,
        *,
        revision: str = "",
        told: Told | None = None,
    ) -> Handle:
        """Open or restore a session and send the channel `session.created`. Raises Overloaded `too_many_sessions`, and for
        one that is not there yet `tenant_sessions_full` or `tenant_over_share`; Forbidden `revision_not_allowed`.

        With `told`, a session that nobody keeps: that is its past, and it is over with this handle.
        """
        wanted = named(self._world.tables, role, principal, revision)
        sid = secrets.token_hex(12) if session_id is None else identity.session_id(session_id)
        guest = Guest(self, principal, role, sid, _key(principal, role, sid), wanted)
        seating: Seating = guest
        if told is None and self._admission is not None:
            await self._admission.admit(role.tenant.uid, guest.key if session_id is not None else None)
        if told is not None:
            seating = Passing(self._unkept, principal, role, sid, guest.key, told, wanted, self._begin, self.go)
        allow = partial(named, self._world.tables, role, principal)
        handle = Handle(seating, sid, channel, self._world.now_ms, allow)
        await handle.sit()
        return handle

    async def place(self, guest: Guest, channel: Channel, moved: Callable[[], None]) -> Seat:
        """A place at the session: here, unless another gateway that is alive answers it and somebody speaks there."""
        given: dict[str, int] = {}
        if (seat := await self._routed(guest, channel, moved, given)) is not None:
            return seat
        for _ in range(MAX_PLACES):
            await self._world.peers.certain()
            try:
                place = Place(channel, moved, guest=False)
                return await self._join(guest, place, set(self._world.peers.owners()), given)
            except HeldElsewhere as elsewhere:
                owner, epoch = elsewhere.owner, elsewhere.epoch
                self._routes.put(guest.key, owner, now_ms=self._world.now_ms(), epoch=epoch)
            try:
                if (seat := await self._place_away(owner, guest, channel, moved)) is not None:
                    return seat
            except OwnerLost:
                continue
            given[owner] = epoch
        raise Moving()

    async def _join(
        self, guest: Guest, place: Place, yield_to: Collection[str], given: Mapping[str, int] = NOBODY
    ) -> LocalSeat:
        self._world.room.enter(
            guest.role.tenant.uid, guest.key, guest.principal.end_user
        )  # a refused one is not even held
        live = self._touched(guest)
        live.pinning.wanted = guest.wanted or live.pinning.wanted
        await live.join(place, yield_to, given)
        self._routes.drop(guest.key)
        self._make_room()
        return LocalSeat(self, live, place.channel)

    async def _routed(
        self, guest: Guest, channel: Channel, moved: Callable[[], None], given: dict[str, int]
    ) -> Seat | None:
        """A place where the session was answered a moment ago, without asking the store. None: it is to be asked."""
        key, owner = guest.key, self._routes.get(guest.key, now_ms=self._world.now_ms())
        live = self._live.get(key)
        if owner is None or (live is not None and live.attached):
            return None
        seat: Seat | None = None
        with suppress(OwnerLost):
            seat = await self._place_away(owner, guest, channel, moved)
            if seat is None:
                given[owner] = self._routes.epoch(key, now_ms=self._world.now_ms())  # and of no later one
        if seat is None:
            self._routes.drop(key)
        self._ownership.routed(hit=seat is not None)
        return seat

    async def _place_away(
        self, owner: str, guest: Guest, channel: Channel, moved: Callable[[], None]
    ) -> AwaySeat | None:
        tenant, key = guest.role.tenant, guest.key
        asked = Attach(
            tenant=tenant.name,
            tenant_uid=tenant.uid,
            principal=guest.principal.id,
            role=guest.role.name,
            session_id=guest.session_id,
            revision=guest.wanted,
        )
        self._away[key] += 1
        try:
            self._world.room.enter(tenant.uid, key, guest.principal.end_user)
            seat = await self._world.peers.attach(owner, asked, channel, moved)
        except BaseException:
            self._left_away(tenant.uid, key)
            raise
        if seat is None:
            self._left_away(tenant.uid, key)
            return None
        now_ms = self._world.now_ms()
        if seat.epoch and seat.epoch < self._routes.epoch(
            key, now_ms=now_ms
        ):  # it was superseded, and knows nothing yet
            seat.leave()
            self._left_away(tenant.uid, key)
            raise OwnerLost
        self._routes.put(key, owner, now_ms=now_ms, epoch=seat.epoch)
        self._ownership.relayed()
        return AwaySeat(seat, lambda: self._left_away(tenant.uid, key))

    def _left_away(self, tenant_uid: str, key: str) -> None:
        self._away[key] -= 1
        if self._away[key] <= 0:
            del self._away[key]
            live = self._live.get(key)
            if live is None or not live.attached:
                self._world.room.leave(tenant_uid, key)

    # ── ports.Host ──────────────────────────────────────────────────────────────────

    async def host(self, asked: Attach, channel: Channel, moved: Callable[[], None]) -> LocalSeat | None:
        """A place for another gateway's client at a session that is answered here; None: whoever asks may answer it.

        A gateway that leaves gives every session away that has no turn running.
        """
        role = self._world.tables.roles.get(asked.tenant, asked.role)
        if role is None or role.tenant.uid != asked.tenant_uid:
            raise NotFound("there is no Role at this address", code="role_not_found")
        wanted = find(self._world.tables, role, asked.revision).name if asked.revision else ""
        user = identity.user_of(asked.tenant_uid, asked.principal)
        principal = Principal(role.tenant, asked.principal, frozenset(), user=user)
        sid = asked.session_id
        guest = Guest(self, principal, role, sid, _key(principal, role, sid), wanted)
        live = self._live.get(guest.key)
        if live is None or not (live.busy or (live.attached and not self._leaving)):
            if live is not None:
                live.sleep()
            return None
        return await self._join(guest, Place(channel, moved, guest=True), ())

    def leave(self) -> None:
        """This gateway is about to stop: clients of others go elsewhere, at once or when their session's turn is over.

        Its own are asked to connect again by the edge; until they do they are answered here.
        """
        self._leaving = True
        for live in tuple(self._live.values()):
            self._give_away(live)

    @staticmethod
    def _give_away(live: LiveSession) -> None:
        if not live.busy:
            live.scatter(guests_only=True)

    async def standing(self, principal: Principal, role: RoleEntry, session_id: str) -> Standing:
        """Where the log stands. Raises NotFound for a session that this principal does not have; creates nothing."""
        _, head = await self._head(principal, role, session_id)
        return Standing(head.seq, head.version)

    async def events(self, principal: Principal, role: RoleEntry, session_id: str, after_seq: int) -> EventsPage:
        """The log's events after `after_seq`, as many as one answer holds. Raises NotFound as `standing` does."""
        key, head = await self._head(principal, role, session_id)
        return await reading.events(self._world.history(key), session_id, after_seq, head)

    async def state(self, principal: Principal, role: RoleEntry, session_id: str) -> StateView:
        """The session's state after its newest turn. Raises NotFound as `standing` does."""
        key, head = await self._head(principal, role, session_id)
        live = self._live.get(key)
        awake = live.fold_at(head) if live is not None else None
        user = await self._shared(key) if principal.user else None
        if awake is not None:
            view = StateView(Standing(head.seq, head.version), awake.state, user, awake.urgent)
        else:
            view = replace(await reading.state(self._world.store, key, self._world.history(key)), user=user)
        return replace(view, state=shown(view.state), nodes=nodes(view.state))

    async def inspect(
        self, principal: Principal, role: RoleEntry, session_id: str, turn: int, *, whole: bool
    ) -> Inspected:
        """Implements ports.Inspecting."""
        key, head = await self._head(principal, role, session_id)
        view = await self.state(principal, role, session_id)
        return await looked_into(self._world, key, session_id, head, view, turn, whole=whole)

    def _keep_seconds(self, tenant_uid: str, name: str) -> int:
        tables = self._world.tables
        tenant = next(
            (row.tenant for row in tables.roles.values() if (row.tenant.uid, row.name) == (tenant_uid, name)), None
        )
        return self._world.keep_seconds(tenant or Tenant("", tenant_uid), name)

    async def _shared(self, key: str) -> UserView:
        stored = await self._world.store.user(identity.tag_of(key), {})
        return UserView(version_of(stored), view_of(stored))

    async def _head(self, principal: Principal, role: RoleEntry, session_id: str) -> tuple[str, Head]:
        key = _key(principal, role, identity.session_id(session_id))
        head = await self._world.store.head(key)
        if head is None or head.void:
            raise NotFound("there is no such session", code="session_not_found")
        return key, head

    def forgotten(self, key: str) -> None:
        """Let go of a session that was deleted, and send away whoever listens to it here."""
        self._world.links.release(key)
        self._world.inspections.forget(key)
        live = self._live.get(key)
        if live is not None:
            live.forgotten()

    def _forget(self, key: str) -> None:
        """The same, here and in every other gateway: one that believed to own it may hold its clients."""
        self.forgotten(key)
        self._world.peers.forgotten(key)

    # ── turns ───────────────────────────────────────────────────────────────────────

    async def run(self, live: LiveSession, work: Coroutine[Any, Any, None]) -> None:
        """A turn is a task of its own: whoever waits for it may go, it goes on."""
        await asyncio.shield(self._start(live, work))

    def _start(self, live: LiveSession, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The same, without waiting for it."""
        self._live.setdefault(live.key, live)  # it may have been let go while nobody was attached
        self._live.move_to_end(live.key)
        return self._begin(live, work)

    def _begin(self, live: LiveSession, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """The same for a session that is not held here."""
        turn = asyncio.create_task(work, name="turn")
        self._turns.add(turn)
        turn.add_done_callback(lambda over: self._turn_over(over, live))
        return turn

    def _turn_over(self, turn: asyncio.Task[None], live: LiveSession) -> None:
        self._turns.discard(turn)
        self._make_room()
        if self._leaving:
            self._give_away(live)
        if not turn.cancelled() and isinstance(turn.exception(), Superseded):  # who waited has it, or channels do
            self.go(self._look_again(live))

    async def look(self, role: RoleEntry, whose: Whose, session_id: str) -> Looked:
        """Whether a timer of this session is due, and its turn where one is: taken over for it as for a client's word.
        Raises HeldElsewhere where another gateway that is alive answers it, and what keeps it from being looked at."""
        principal = Principal(role.tenant, whose.principal, frozenset(), user=whose.user)
        live = self._touched(Guest(self, principal, role, session_id, whose.key(session_id)))
        found: list[Looked] = []

        async def looking() -> None:
            found.append(await live.look())

        await self.run(live, looking())
        return found[0]

    async def doubt(self) -> None:
        """Others may have taken sessions over unnoticed: whoever listens to one of those here goes where it went.

        Raises Unavailable where the store is away.
        """
        held = [live for live in self._live.values() if live.attached]
        for start in range(0, len(held), LOOKED_AGAIN):
            await asyncio.gather(*map(self._look_again, held[start : start + LOOKED_AGAIN]))

    async def _look_again(self, live: LiveSession) -> None:
        """Is it still answered here? A turn that runs finds out by itself."""
        await live.turns.noted()
        fence = None if live.busy else await self._world.store.fence(live.key)
        if fence is not None and not fence.ours and not live.busy:
            self._ownership.lost()
            live.displaced()

    def unheard(self, role: RoleEntry, error: RolehostError) -> None:
        """A message that came to no session, here or at another gateway."""
        self._world.scores.refused(role.tenant, role.name, error)

    def go(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends or this service stops."""
        errand = asyncio.create_task(work, name="errand")
        self._errands.add(errand)
        errand.add_done_callback(self._errands.discard)

    async def stop(self, seconds: float) -> None:
        """Let running turns end for so long, then give them up."""
        if self._turns:
            await asyncio.wait(self._turns, timeout=seconds)
        for turn in (left := (*self._turns, *self._errands)):
            turn.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._world.snapshotting.stop()
        if self._admission is not None:
            await self._admission.stop()
        await self._world.memories.stop()
        await self._world.meanings.stop()
        notes = [asyncio.create_task(live.turns.noted()) for live in self._live.values()]
        if notes:
            await asyncio.wait(notes, timeout=NOTES_SECONDS)
        for note in notes:
            note.cancel()

    # ── what is held ────────────────────────────────────────────────────────────────

    def _touched(self, guest: Guest) -> LiveSession:
        """The session out of those held, or a new one; a few of the longest silent are let go."""
        key = guest.key
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = LiveSession(
                self._world, guest.principal, guest.role, guest.session_id, key, self._start
            )
        live.touched_ms = self._world.now_ms()
        self._live.move_to_end(key)
        self._let_go(but=key)
        return live

    def _make_room(self) -> None:
        """Put sessions to sleep while folds take too much; whoever listens to them notices nothing."""
        for key in self._world.room.excess(lambda key: key in self._live and self._live[key].busy):
            if key in self._live:
                self._live[key].sleep()

    def _let_go(self, *, but: str) -> None:
        silent_since = self._world.now_ms() - SLEEP_AFTER_MS
        for key in [key for key, _ in zip(self._live, range(LOOKED_AT), strict=False)]:
            live = self._live[key]
            crowded = len(self._live) > MAX_HELD
            if key == but or live.busy or (live.touched_ms > silent_since and not crowded):
                continue
            if live.audience:
                if live.touched_ms <= silent_since:
                    live.sleep()
                self._live.move_to_end(key)
            else:
                live.sleep()
                del self._live[key]

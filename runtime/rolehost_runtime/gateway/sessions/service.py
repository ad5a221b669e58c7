"""The edge's way into sessions: attach, read, list. Implements ports.Sessions."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence

from rolehost_api import identity
from rolehost_api.errors import Forbidden, NotFound
from rolehost_api.wire import Said, ServerFrame
from rolehost_runtime.gateway.ports import Channel, Links, ModelProvider, Principal, SessionStore
from rolehost_runtime.gateway.sessions.audience import events_after
from rolehost_runtime.gateway.sessions.live import LiveSession
from rolehost_runtime.gateway.sessions.metrics import NoSink, TurnSink
from rolehost_runtime.gateway.sessions.revisions import find
from rolehost_runtime.gateway.sessions.room import Room
from rolehost_runtime.gateway.sessions.world import Accepted, World
from rolehost_runtime.gateway.tables import RoleEntry, Scope, Tables

MAX_HELD = 2048
"""Sessions held in memory before those without a channel are let go at once; the store has them all."""
SLEEP_AFTER_MS = 300_000
"""A session this silent lets go of its fold, and of its place here if nobody is attached."""
COMMIT_PAUSES = (0.1, 0.4, 1.0)
"""A Redis that restarts is back within them."""
LOOKED_AT = 8
"""Sessions looked at for sleep with each one that is touched: the work is spread, no task runs for it."""


class Handle:
    """A session as one channel sees it. Implements ports.SessionHandle."""

    def __init__(self, service: "SessionService", live: LiveSession, channel: Channel, principal: Principal) -> None:
        self.session_id = live.session_id
        self._service, self._live, self._channel = service, live, channel
        self._may_set_user = Scope.ACT_AS_USER in principal.scopes

    async def say(self, said: Said) -> None:
        if said.user is not None and not self._may_set_user:
            raise Forbidden(
                "this key may not say who the user is",
                hint="Use a key with scope act-as-user, or leave `user` out",
                code="user_not_allowed",
            )
        await self._service.run(self._live, Accepted(said, self._channel, asyncio.get_running_loop().time()))

    async def resume(self, after_seq: int) -> None:
        await self._live.resume(self._channel, after_seq)

    def detach(self) -> None:
        self._live.leave(self._channel)


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
    ) -> None:
        room = room or Room()
        self._world = World(tables, links, store, models, now_ms, sink or NoSink(), durability, commit_pauses, room)
        self._live: OrderedDict[str, LiveSession] = OrderedDict()
        self._turns: set[asyncio.Task[None]] = set()

    # ── ports.Sessions ──────────────────────────────────────────────────────────────

    async def attach(
        self, principal: Principal, role: RoleEntry, session_id: str | None, channel: Channel, *, revision: str = ""
    ) -> Handle:
        """Open or restore a session and send the channel `session.created`. Raises Overloaded `too_many_sessions`."""
        wanted = find(self._world.tables, role, revision).name if revision else ""
        sid = secrets.token_hex(12) if session_id is None else identity.session_id(session_id)
        self._world.room.enter(role.tenant.uid, self._key(principal, role, sid))  # a refused one is not even held
        live = self._touched(principal, role, sid)
        live.wanted = wanted or live.wanted
        await live.join(channel)
        self._make_room()
        return Handle(self, live, channel, principal)

    async def events(self, principal: Principal, role: RoleEntry, session_id: str, after_seq: int) -> list[ServerFrame]:
        """The log's events after `after_seq`. Raises NotFound for a session that this principal does not have."""
        key = self._key(principal, role, identity.session_id(session_id))
        records = await self._world.store.read(key)
        if not records and key not in self._live:
            raise NotFound("there is no such session", code="session_not_found")
        return events_after(records, session_id, after_seq)

    async def list_sessions(self, principal: Principal, role: RoleEntry) -> list[str]:
        """Ids of this principal's sessions with the Role that this gateway holds open, newest first."""
        whose = (principal.id, role.tenant, role.name)
        return [
            live.session_id
            for live in reversed(self._live.values())
            if (live.principal_id, live.tenant, live.role_name) == whose
        ]

    # ── turns ───────────────────────────────────────────────────────────────────────

    async def run(self, live: LiveSession, accepted: Accepted) -> None:
        """A turn is a task of its own: whoever waits for it may go, it goes on."""
        self._live.setdefault(live.key, live)  # it may have been let go while nobody was attached
        self._live.move_to_end(live.key)
        turn = asyncio.create_task(live.say(accepted), name="turn")
        self._turns.add(turn)
        turn.add_done_callback(self._turn_over)
        await asyncio.shield(turn)

    def _turn_over(self, turn: asyncio.Task[None]) -> None:
        self._turns.discard(turn)
        self._make_room()
        if not turn.cancelled():
            turn.exception()  # who waited has it; where nobody did, channels were told

    async def stop(self, seconds: float) -> None:
        """Let running turns end for so long, then give them up."""
        if self._turns:
            await asyncio.wait(self._turns, timeout=seconds)
        for turn in (left := tuple(self._turns)):
            turn.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    # ── what is held ────────────────────────────────────────────────────────────────

    @staticmethod
    def _key(principal: Principal, role: RoleEntry, sid: str) -> str:
        return identity.session_key(role.tenant.uid, role.name, principal.id, sid)

    def _touched(self, principal: Principal, role: RoleEntry, sid: str) -> LiveSession:
        """The session out of those held, or a new one; a few of the longest silent are let go."""
        key = self._key(principal, role, sid)
        live = self._live.get(key)
        if live is None:
            live = self._live[key] = LiveSession(self._world, principal, role, sid, key)
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

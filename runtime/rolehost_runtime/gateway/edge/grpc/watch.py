"""RoleSession.Watch: a session's state as it changes. No turn is begun by it, and no session made."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress

from rolehost_api import identity, wire
from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.channels import Word, stalls
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.grpc import codec
from rolehost_runtime.gateway.edge.grpc.call import Call, Caller
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.hub import MOVED, SERVICE_RESTART
from rolehost_runtime.gateway.edge.outbox import Outbox, last_word
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry

log = logging.getLogger(__name__)

RECENT_EVENTS = 256
"""Changes are told one by one to whoever missed no more of the log than this; others get the whole state."""


async def watch(caller: Caller, request: bytes) -> None:
    """Raises what the call ends with, where that is not well; NotFound for a session that is not there."""
    asked = codec.read_watch(request)
    at, session_id = address(asked.role), identity.session_id(asked.session_id)
    gate, principal = caller.gate, caller.principal
    role = find_role(gate.tables.roles, principal, at)
    await gate.sessions.standing(principal, role, session_id)
    call = Call(caller, codec.update)
    follower = Follower(gate, principal, role, session_id, call, asked.after_version)
    handle = await gate.sessions.attach(principal, role, session_id, follower, revision=at.revision)
    watching = asyncio.create_task(follower.report(handle.watch), name="watcher")
    try:
        await call.run(follower, follower.feed)
    finally:
        watching.cancel()
        if call.left_by_client:
            gate.metrics.watchers.labels("lost").inc()
            handle.watch("lost")
        handle.detach()


class Follower:
    """Tells one client every version once and in order. Implements ports.Channel and call.Talk.

    What comes live goes out at once where it is the next version. Whatever else happens (the begin, a gap, a lost
    history), the log is asked.
    """

    def __init__(
        self, gate: Gate, principal: Principal, role: RoleEntry, session_id: str, call: Call, after: int | None
    ) -> None:
        self._gate, self._principal, self._role, self._session_id = gate, principal, role, session_id
        self._call = call
        self._out = Outbox(call, self._fell_behind)
        self._has = after
        """The version that the client has; None: it has nothing to go on from."""
        self._losses = 0
        """Times that the history was lost."""
        self._urgent = asyncio.Event()
        """Set while the session is: then a stall is noticed sooner."""
        self._behind = asyncio.Event()
        self._behind.set()

    # ── ports.Channel ───────────────────────────────────────────────────────────────

    def send(self, event: wire.ServerFrame) -> None:
        if isinstance(event, wire.Resumed) and event.gap:
            self._has = None
            self._losses += 1
            self._behind.set()
        elif isinstance(event, wire.StateDelta):
            if event.scope != "session":
                return
            if event.is_urgent:
                self._urgent.set()  # `channel.urgent` follows it
            self._tell([event])
        elif isinstance(event, wire.Urgent):
            (self._urgent.set if event.is_urgent else self._urgent.clear)()
        elif (last := last_word(event)) is not None:
            self._call.close(*last)

    async def room(self) -> bool:
        return await self._out.room()

    def _tell(self, changes: Iterable[wire.StateDelta]) -> None:
        for change in changes:
            if self._has is not None and change.version == self._has + 1:
                self._has = change.version
                self._out.put(change)
            elif self._has is None or change.version > self._has:
                self._behind.set()
                return

    def _fell_behind(self) -> bool:
        """Too much waits for the client: once it reads, the whole state comes instead."""
        self._has = None
        self._behind.set()
        return True

    # ── how it fares: ports.SessionHandle.watch ─────────────────────────────────────

    async def report(self, say: Callable[[Word], None]) -> None:
        """Tell the session's other channels that this one is there, when it stalls, and when it flows again."""
        said: Word = "flows"
        say(said)
        while True:
            heartbeat_ms = wire.URGENT_HEARTBEAT_MS if self._urgent.is_set() else wire.HEARTBEAT_MS
            if self._urgent.is_set():
                await asyncio.sleep(heartbeat_ms / 1000)
            else:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._urgent.wait(), heartbeat_ms / 1000)
            fares: Word = "stalled" if stalls(1000 * self._call.stuck, heartbeat_ms) else "flows"
            if fares != said:
                said = fares
                say(said)
                if said == "stalled":
                    self._gate.metrics.watchers.labels("stalled").inc()

    # ── call.Talk ───────────────────────────────────────────────────────────────────

    def on_writable(self) -> None:
        self._out.on_writable()

    def on_gone(self) -> None:
        self._out.on_gone()

    def migrate(self) -> None:
        self._call.close(SERVICE_RESTART, MOVED)

    # ── what was missed ─────────────────────────────────────────────────────────────

    async def feed(self) -> None:
        """Catch up whenever something was missed, as fast as the client reads; until cancelled."""
        try:
            while True:
                await self._behind.wait()
                self._behind.clear()
                if not await self._out.room():
                    return
                await self._catch_up()
        except Exception as error:
            told: RolehostError = faults.told(log, "following a state", error)
            self._call.refuse(told)

    async def _catch_up(self) -> None:
        """What live events tell meanwhile may have gone out, and the history may be lost, after every await."""
        if await self._changes_suffice():
            return
        self._has, losses = None, self._losses
        seen = await self._gate.sessions.state(self._principal, self._role, self._session_id)
        if losses != self._losses:
            return  # the bell was rung
        self._has = seen.at.version
        whole = (PatchOp("replace", "", seen.state),)
        self._out.put(
            wire.StateDelta(
                session_id=self._session_id, seq=None, ts=self._gate.now_ms(), version=seen.at.version,
                is_urgent=False, patch=whole,
            )
        )  # fmt: skip

    async def _changes_suffice(self) -> bool:
        """Tell the changes that the client misses; False where they are too many, or lead nowhere."""
        asked, had = (self._principal, self._role, self._session_id), self._has
        if had is None:
            return False
        at = await self._gate.sessions.standing(*asked)
        if self._has is None or at.version < had:
            return False
        if at.version <= self._has:
            return True
        page = await self._gate.sessions.events(*asked, max(0, at.seq - RECENT_EVENTS))
        changes = [event for event in page.events if isinstance(event, wire.StateDelta) and event.scope == "session"]
        if self._has is None:
            return False
        if at.version > self._has:
            if not any(change.version == self._has + 1 for change in changes):
                return False
            self._tell(changes)
            if page.more:
                self._behind.set()
        return True

"""One session in this process: its line of turns, its channels, and its fold while it is needed."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from rolehost_api.errors import NotFound, Overloaded
from rolehost_api.wire import RevisionChanged, SessionCreated
from rolehost_runtime.core.record import CorruptRecord, TurnRecord, render, turns_before
from rolehost_runtime.core.session import Phase, SessionFold
from rolehost_runtime.gateway.link.bind import greeting_of
from rolehost_runtime.gateway.ports import Channel, HeldElsewhere, Principal
from rolehost_runtime.gateway.sessions.attempt import Attempt
from rolehost_runtime.gateway.sessions.audience import Audience, events_after
from rolehost_runtime.gateway.sessions.remembered import Remembered
from rolehost_runtime.gateway.sessions.revisions import Settled, find, label, settle
from rolehost_runtime.gateway.sessions.world import Accepted, World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

MAX_WAITING = 8
"""Messages that may wait in a session's line while one is answered."""
REPLAY_PAGE = 4
"""Records read at once for a channel that resumes, and held while it has no room: each may be over 1 MiB."""
FOLD_QUANTUM = 4
"""Records folded before the other sessions have their turn; one with the largest state takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody who listens."""

    channel: Channel
    moved: Callable[[], None]
    """To be told that the session is not answered here any more."""
    guest: bool
    """A client of another gateway."""


class LiveSession:
    def __init__(self, world: World, principal: Principal, role: RoleEntry, session_id: str, key: str) -> None:
        self._world = world
        self.principal_id = principal.id
        self.tenant = role.tenant
        self.role_name = role.name
        self.session_id = session_id
        self.key = key
        self.wanted = ""
        """A revision that was asked for, by address or by a message; the session moves there with its next turn."""
        self.touched_ms = world.now_ms()
        self.audience = Audience(session_id, world.now_ms)
        self._places: dict[int, Place] = {}
        self._pinned = ""
        self._lasting = False
        """A turn of it is durable, or may be: its revision is needed even while nobody listens."""
        self._joining = 0
        self._told_seq: int | None = None
        """The newest event that whoever listened here was told of; None before the log was read."""
        self._fold: SessionFold | None = None
        self._remembered = Remembered(world.store, key)
        self._loading = asyncio.Lock()
        self._line = asyncio.Lock()
        self._waiting = 0

    # ── life ────────────────────────────────────────────────────────────────────────

    @property
    def busy(self) -> bool:
        return self._line.locked() or self._waiting > 0 or self._joining > 0 or self._loading.locked()

    @property
    def attached(self) -> bool:
        """Somebody listens, or is about to."""
        return bool(self.audience) or self._joining > 0

    def sleep(self) -> None:
        """Let go of what the store holds too; the next turn reads it again."""
        if not self.busy:
            self._fold = None
            self._remembered.forget()
            self._world.room.drop(self.tenant.uid, self.key)

    def leave(self, channel: Channel) -> None:
        self._places.pop(id(channel), None)
        self.audience.leave(channel)
        self._settle_down()

    def scatter(self, *, guests_only: bool = False) -> None:
        """This session is not answered here any more: whoever listens goes where it is answered."""
        gone = [place for place in self._places.values() if place.guest or not guests_only]
        self._told_seq = None if not guests_only else self._told_seq  # who comes from now on is told where it joins
        for place in gone:
            self.leave(place.channel)
        for place in gone:
            place.moved()

    def _settle_down(self) -> None:
        """A session that nobody listens to takes no place, and one that never said a durable word keeps no
        revision alive."""
        if self.attached:
            return
        self._world.room.leave(self.tenant.uid, self.key)
        if self._pinned and not self.busy and not self._lasting:
            self._pinned = ""
            self._world.links.release(self.key)

    def _weigh(self, fold: SessionFold) -> None:
        """Keep a fold, and say what it takes; a lost one is not kept."""
        lost = fold.phase is Phase.GONE
        self._lasting = lost or fold.turn > 0
        self._fold = None if lost else fold
        if lost:
            self._world.room.drop(self.tenant.uid, self.key)
        else:
            self._told_seq = fold.seq
            self._world.room.hold(self.tenant.uid, self.key, fold.weight() + self._remembered.weight)

    async def load(self, yield_to: Collection[str]) -> SessionFold:
        """The session as its log says, taken over for this process if it is not ours yet.

        Raises HeldElsewhere where one of `yield_to` answers it; all who listened here go there.
        """
        async with self._loading:
            if self._fold is not None and self._fold.phase is not Phase.GONE:
                return self._fold
            try:
                head, records = await self._world.store.open(self.key, yield_to)
            except HeldElsewhere:
                self._fold = None
                self.scatter()
                raise
            head, records, lost = await self._remembered.mend(head, records)
            fold = SessionFold(head.log_id, head.epoch)
            for number, record in enumerate(records, 1):
                fold.replay(record)
                if number % FOLD_QUANTUM == 0:
                    await asyncio.sleep(0)
            if (fold.turn, fold.seq) != (head.turn, head.seq):
                raise CorruptRecord("a session's head and its log disagree")
            self._remembered.took(fold, records)
            if lost:
                self._told_seq = self.audience.lost(fold.seq)
            self._tell_missed(records)
            self._weigh(fold)
            self._pinned = self._pinned or fold.revision
            return fold

    def _tell_missed(self, records: Sequence[TurnRecord]) -> None:
        """Turns that were called failed and are in the log after all, or that another gateway added meanwhile: who
        listens is told of them now, as the next event would else leave a gap."""
        if self._told_seq is not None:
            for event in events_after(records, self.session_id, self._told_seq):
                self.audience.broadcast(event)

    def role(self) -> RoleEntry:
        """The Role as it is declared now. Raises NotFound where it was deleted meanwhile."""
        role = self._world.tables.roles.get(self.tenant.name, self.role_name)
        if role is None or role.tenant != self.tenant:
            raise NotFound("this Role does not exist any more", code="role_not_found")
        return role

    async def join(self, place: Place, yield_to: Collection[str]) -> None:
        """Attach a channel, whose place in the room is taken already, and tell it where the session stands."""
        self._joining += 1
        try:
            self._greet(place.channel, await self.load(yield_to))
            self._places[id(place.channel)] = place
        finally:
            self._joining -= 1
            self._settle_down()

    def _greet(self, channel: Channel, fold: SessionFold) -> None:
        role = self.role()
        revision = self._world.tables.revisions.get(self.tenant.name, self._pinned) if self._pinned else None
        if revision is None:
            revision = self._settle(role, fold).revision
            self._pinned = self._pinned or revision.name
        self._world.links.pin(role, revision.name, self.key)
        self.audience.join(channel)
        channel.send(
            SessionCreated(
                session_id=self.session_id,
                seq=None,
                ts=self._world.now_ms(),
                role=role.name + label(revision),
                head=fold.seq,
                version=fold.version,
                durability=self._world.durability,
                heartbeat_ms=self._world.heartbeat_ms,
                resume_ttl_s=self._world.resume_ttl_s,
                display_name=role.spec.display_name or role.name,
                greeting=greeting_of(revision) if fold.turn == 0 else "",
            )
        )

    async def resume(self, channel: Channel, after_seq: int) -> None:
        """`session.resumed`, the events after `after_seq`, and what the open turn has said so far.

        No faster than the channel has room for, and with few records in memory; turns that end meanwhile are read
        from the log as well, so that what is told is in order and told once.
        """
        store, replaying = self._world.store, self.audience.withhold(channel)
        try:
            heard = self.audience.resumed(channel, await store.last_seq(self.key), after_seq)
            turn = turns_before(heard)
            while True:
                missed = replaying.missed_seq
                page = await store.page(self.key, turn, REPLAY_PAGE)
                for record in page:
                    if not self.audience.replay(channel, record, heard):
                        break
                    turn, heard = record.turn, max(heard, record.seq_first + record.seq_count - 1)
                    if not await channel.room():
                        return
                if len(page) < REPLAY_PAGE and replaying.missed_seq == missed:  # nobody was told more than the log said
                    return
        finally:
            self.audience.rejoin(replaying)

    # ── turns ───────────────────────────────────────────────────────────────────────

    async def say(self, accepted: Accepted) -> None:
        """One message in, until its turn is durable. Raises what it failed with."""
        running = self.audience.running
        message_id = accepted.said.client_msg_id
        if running is not None and message_id and message_id == running.opened.client_msg_id:
            self.audience.catch_up(accepted.channel)
            await asyncio.shield(running.done)
            return
        if self._waiting >= MAX_WAITING:
            raise Overloaded(f"{MAX_WAITING} messages wait in this session already", code="busy")
        self._waiting += 1
        try:
            await self._line.acquire()
        finally:
            self._waiting -= 1
        try:
            await self._turn(accepted)
        finally:
            self._line.release()
            if self._fold is not None:
                self._weigh(self._fold)
            self._settle_down()

    async def _turn(self, accepted: Accepted) -> None:
        began = asyncio.get_running_loop().time()
        self.touched_ms = self._world.now_ms()
        told = self._told_seq
        fold = await self.load(self._world.peers.owners())
        known = fold.turn_of(accepted.said.client_msg_id)
        if known is not None:
            if told == fold.seq or known != fold.turn:  # else it is what everybody here was told just now
                await self._replay(accepted.channel, known)
            return
        role = self.role()
        if accepted.said.revision:
            self.wanted = find(self._world.tables, role, accepted.said.revision).name
        revision = self._move(role, self._settle(role, fold))
        opened = fold.begin(
            accepted.said.message,
            revision=revision.name,
            response_id=f"r{secrets.token_hex(8)}",
            rng_seed=secrets.randbits(63),
            now_ms=self._world.now_ms(),
            client_msg_id=accepted.said.client_msg_id,
            user=accepted.said.user,
        )
        running = self.audience.begin(opened)
        await Attempt(
            self._world,
            self.audience,
            self.key,
            self.session_id,
            role,
            revision,
            fold,
            running,
            accepted,
            began,
            self._remembered,
        ).answer()

    async def _replay(self, channel: Channel, turn: int) -> None:
        """The message was answered before: the same events again, to who asks for them."""
        for record in await self._world.store.page(self.key, turn - 1, 1):
            for event in render(record, self.session_id, replay=True):
                channel.send(event)

    def _settle(self, role: RoleEntry, fold: SessionFold) -> Settled:
        idle_ms = self._world.now_ms() - fold.last_at_ms if fold.turn else None
        return settle(self._world.tables, role, self._pinned, wanted=self.wanted, idle_ms=idle_ms)

    def _move(self, role: RoleEntry, settled: Settled) -> RevisionEntry:
        """Pin the session to its revision, telling its channels where that is another one."""
        revision = settled.revision
        if settled.reason:
            before = self._world.tables.revisions.get(self.tenant.name, self._pinned)
            self.audience.broadcast(
                RevisionChanged(
                    session_id=self.session_id,
                    seq=None,
                    ts=self._world.now_ms(),
                    from_=label(before) if before else self._pinned,
                    to=label(revision),
                    reason=settled.reason,
                )
            )
            self._world.links.release(self.key)
        self._pinned = revision.name
        self._world.links.pin(role, revision.name, self.key)
        return revision

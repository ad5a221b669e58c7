"""One session in this process: who listens to it, its fold while it is needed, and the revision it lives on."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rolehost_api import identity
from rolehost_api.errors import NotFound
from rolehost_api.link.messages import TimerSpec
from rolehost_api.wire import ForkedFrom, SessionCreated
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.channels import Word
from rolehost_runtime.core.departing import Fate
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.core.record import CorruptRecord, Position, Record, following, last_seq, place_after
from rolehost_runtime.core.session import Phase, SessionFold
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.link.bind import greeting_of, greetings_of
from rolehost_runtime.gateway.ports import NOBODY, Channel, Head, HeldElsewhere, Principal, Superseded
from rolehost_runtime.gateway.sessions.alarm import Alarm
from rolehost_runtime.gateway.sessions.answering import Answering
from rolehost_runtime.gateway.sessions.arming import Arming
from rolehost_runtime.gateway.sessions.audience import Audience, events_after, session_forgotten
from rolehost_runtime.gateway.sessions.firing import Looked, look
from rolehost_runtime.gateway.sessions.history import History
from rolehost_runtime.gateway.sessions.listing import Listing
from rolehost_runtime.gateway.sessions.person import Person
from rolehost_runtime.gateway.sessions.pinning import Pinning, Stands
from rolehost_runtime.gateway.sessions.remembered import Remembered
from rolehost_runtime.gateway.sessions.revisions import Settled, label, settle
from rolehost_runtime.gateway.sessions.snapshot import snapshot
from rolehost_runtime.gateway.sessions.world import World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

NEWEST = 4
"""Records that come with a session whose log is not read: who comes back has mostly missed no more."""
REPLAY_PAGE = 4
"""Records read at once for a channel that resumes, and held while it has no room: each may be over 1 MiB."""
LOADED_SECONDS = 10.0
"""For a pod to be there, where a session's timers are looked at."""
FOLD_QUANTUM = 4
"""Records folded before the other sessions have their turn; one with the largest state takes milliseconds."""


async def folded(head: Head, records: Sequence[Record]) -> SessionFold:
    """The session that these records make, from its snapshot on where it has one. Raises CorruptRecord."""
    kept = head.kept
    fold = SessionFold(head.log_id, head.epoch)
    if kept is not None:
        fold = SessionFold.restored(head.log_id, head.epoch, kept.snapshot, kept.size)
    for number, record in enumerate(records, 1):
        if kept is not None and last_seq(record) <= kept.snapshot.seq:
            fold.recall(record)
        else:
            fold.replay(record)
        if number % FOLD_QUANTUM == 0:
            await asyncio.sleep(0)
    return fold


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody who listens."""

    channel: Channel
    moved: Callable[[], None]
    """To be told that the session is not answered here any more."""
    guest: bool
    """A client of another gateway."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What the store gave."""

    head: Head
    records: list[Record]
    forgets: int
    """How often the session had been forgotten when it was asked."""

    @property
    def fits(self) -> bool:
        """Whether the newest record is the one that the head speaks of."""
        newest = self.records[-1]
        return (newest.turn, last_seq(newest)) == (self.head.turn, self.head.seq)


Start = Callable[["LiveSession", Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Runs work of a session that outlives whoever waits for it."""


class LiveSession:
    def __init__(
        self,
        world: World,
        principal: Principal,
        role: RoleEntry,
        session_id: str,
        key: str,
        start: Start,
        *,
        told: Told | None = None,
    ) -> None:
        """`told`: the client tells the past itself, and nothing of this session outlives its last listener."""
        self._world = world
        self.declared = role
        self.principal_id = principal.id
        self.user = principal.user or None
        self.tenant = role.tenant
        self.role_name = role.name
        self.session_id = session_id
        self.key = key
        self.touched_ms = world.now_ms()
        self.audience = Audience(session_id, world.now_ms)
        self.pinning = Pinning(world, key, session_id, self.user, self.audience)
        self.person = (
            Person(world, identity.tag_of(key), session_id, self.audience, self.keep_seconds)
            if principal.user and told is None
            else None
        )
        self._places: dict[int, Place] = {}
        self._told = told
        self._sent_away: bool | None = None
        """Its revision is taken away: whether whoever listened then was told; it waits for the turn to be over. None: no."""
        self._forked_from: ForkedFrom | None = None
        self._lasting = False
        """A turn of it is durable, or may be: its revision is needed even while nobody listens."""
        self._joining = 0
        self._told_seq: int | None = None
        """The newest event that whoever listened here was told of; None before the log was read."""
        self._fold: SessionFold | None = None
        self.remembered = Remembered(world.store, key, lambda: world.history(key), self.keep_seconds)
        whose = Whose(role.tenant.uid, role.name, principal.user)
        self.listing = Listing(world.store, whose, session_id, self.keep_seconds)
        self.arming = Arming(world.timed, whose, session_id, key) if world.timed is not None and told is None else None
        self._taken: Head | None = None
        """It is ours, and nobody has needed its log so far but for its newest records; never beside a fold."""
        self._loading = asyncio.Lock()
        self._forgets = 0
        self._start = start
        self.alarm = Alarm(role.name, session_id, self.user, self.audience.broadcast, world.now_ms, world.heartbeat_ms)
        self.turns = Answering(world, self)

    @property
    def assignment(self) -> Assignment | None:
        """Its side of a rollout's comparison. None: it is not compared, e.g. as it was open before, was asked for by
        revision, its unit has another session that is, or it was taken over from another gateway."""
        return self.pinning.assignment

    @property
    def pinned(self) -> str:
        """Name of its revision; empty where nothing says."""
        return self.pinning.pinned

    # ── life ────────────────────────────────────────────────────────────────────────

    @property
    def busy(self) -> bool:
        return self.turns.busy or self._joining > 0 or self._loading.locked()

    @property
    def attached(self) -> bool:
        """Somebody listens, or is about to."""
        return bool(self.audience) or self._joining > 0

    def sleep(self) -> None:
        """Let go of what the store holds too; the next turn reads it again."""
        if not self.busy:
            self._fold = self._taken = None
            self.remembered.forget()
            if self.person is not None:
                self.person.forget()
            self._world.room.drop(self.tenant.uid, self.key)

    def leave(self, channel: Channel) -> None:
        self._places.pop(id(channel), None)
        self.audience.leave(channel)
        self.alarm.left(id(channel))
        self.settle_down()

    def watch(self, channel: Channel, word: Word) -> None:
        """A channel that follows the state beside others says how it fares."""
        if id(channel) in self._places:
            self.alarm.watcher(id(channel), word)

    def scatter(self, *, guests_only: bool = False) -> None:
        """This session is not answered here any more: whoever listens goes where it is answered."""
        gone = [place for place in self._places.values() if place.guest or not guests_only]
        self._told_seq = None if not guests_only else self._told_seq  # who comes from now on is told where it joins
        for place in gone:
            self.leave(place.channel)
        for place in gone:
            place.moved()

    def displaced(self) -> None:
        """Another gateway answers it: nothing is held of it here, and whoever listened goes there."""
        self._fold = self._taken = None
        self._doubt_timers()
        self._world.room.drop(self.tenant.uid, self.key)
        self.turns.left_open(None, None)
        self.scatter()

    def settle_down(self) -> None:
        """A session that nobody listens to takes no place, and one that never said a durable word keeps no
        revision alive."""
        self._go_on()
        if self.attached:
            return
        self.alarm.rest()
        self._world.room.leave(self.tenant.uid, self.key)
        if self.pinned and not self.busy and not self._lasting:
            self.pinning.pinned = ""
            self._world.links.release(self.key)
        if self._told is not None:
            self.sleep()

    def weigh(self, fold: SessionFold) -> None:
        """Keep a fold, and say what it takes; a lost one is not kept."""
        lost = fold.phase is Phase.GONE
        self._lasting = self._told is None and (lost or fold.turn > 0)
        self._fold, self._taken = None if lost else fold, None
        if lost:
            self._world.room.drop(self.tenant.uid, self.key)
        else:
            self._told_seq = fold.seq
            shared = self.person.weight if self.person is not None else 0
            self._world.room.hold(self.tenant.uid, self.key, fold.weight() + self.remembered.weight + shared)

    def forgotten(self) -> None:
        """All that was kept of it is deleted: let go of what is held, and send away whoever listens.

        A turn that runs ends as fenced; one whose record is on its way to the log is refused there.
        """
        self._forgets += 1
        fold, self._fold, self._taken = self._fold, None, None
        if fold is not None and fold.phase is Phase.OPEN:
            fold.lose()
        self.remembered.forget()
        self.turns.left_open(None, None)
        self._world.room.drop(self.tenant.uid, self.key)
        self._tell_forgotten()

    def _tell_forgotten(self) -> None:
        """Those who listen hear of it, and are let go of: whoever comes again begins anew."""
        self._told_seq, self._lasting = None, False
        self.pinning.forget()
        self.listing.forgotten()
        self._doubt_timers()
        self.audience.broadcast(session_forgotten(self.session_id, self._world.now_ms()))

    async def load(self, yield_to: Collection[str], given: Mapping[str, int] = NOBODY) -> SessionFold:
        """The session as its log says, taken over for this process if it is not ours yet.

        `given`: who gave it away, in which epoch. Raises HeldElsewhere where one of `yield_to` answers it; all who listened here go
        there.
        """
        async with self._loading:
            if self._fold is not None and self._fold.phase is not Phase.GONE:
                return self._fold
            mine = self._taken.epoch if self._taken is not None else 0
            return await self._read(await self._open(yield_to, given, mine=mine))

    async def take(self, yield_to: Collection[str], given: Mapping[str, int] = NOBODY) -> Stands:
        """The session as `load` takes it over, but its log is read only where that cannot wait: who comes back, perhaps
        with thousands of others, mostly listens. Whoever speaks first reads it."""
        async with self._loading:
            if (stands := self._stands) is not None:
                return stands
            new_here = self._told is None and self.remembered.nothing and not self.audience
            opened = await self._open(yield_to, given, NEWEST if new_here else 0)
            if opened.head.unread and opened.fits:
                return self._took(opened)
            if opened.head.unread:  # the whole of it has to say what is wrong with it
                opened = await self._open(yield_to, given, mine=opened.head.epoch)
            return await self._read(opened)

    @property
    def _stands(self) -> Stands | None:
        """As far as it is known here without asking; None where it is not."""
        return self._fold if self._fold is not None and self._fold.phase is not Phase.GONE else self._taken

    async def _open(
        self, yield_to: Collection[str], given: Mapping[str, int], newest: int = 0, mine: int = 0
    ) -> Opened:
        forgets = self._forgets
        try:
            head, records = await self._world.store.open(self.key, yield_to, given, newest, mine)
        except HeldElsewhere:
            self.displaced()
            raise
        if not head.turn:  # new, or it lasted its time: its row may be swept already
            self.listing.forgotten()
        if head.how:  # another gateway may have fired some meanwhile
            self._doubt_timers()
        if head.forgotten:
            self._world.links.release(self.key)  # versions of its state begin anew: no pod holds any of them
        if self.remembered.heed(head):
            self._tell_forgotten()
        if head.how:
            self._world.taken(head.how)
        return Opened(head, records, forgets)

    def _took(self, opened: Opened) -> Head:
        head = opened.head
        self._still_there(opened)
        self.remembered.took(head, opened.records)
        self._taken, self._told_seq, self._lasting = head, head.seq, True
        self._world.room.hold(self.tenant.uid, self.key, self.remembered.weight_alone)
        self._came(head)
        self.turns.left_open(None, None)
        return head

    async def _read(self, opened: Opened) -> SessionFold:
        head, records = opened.head, opened.records
        if head.kept is None and records and records[0].position != (1, 0):  # its begin is in the archive
            records = await self._world.history(self.key).whole()
        head, records, lost = await self.remembered.mend(head, records)
        fold = await folded(head, records)
        fold.told = self._told
        if (fold.turn, fold.seq, fold.amends) != (head.turn, head.seq, head.amends):
            raise CorruptRecord("a session's head and its log disagree")
        self._still_there(opened)
        self.remembered.took(fold, records)
        if lost:
            self._told_seq = self.audience.lost(fold.seq)
            self.alarm.forgot(fold.version)
        self._came(head)
        await self._tell_missed(head, records)
        self.weigh(fold)
        self.turns.left_open(head, fold)
        return fold

    def _still_there(self, opened: Opened) -> None:
        if self._forgets != opened.forgets:
            raise Superseded("the session was forgotten while it was being read")

    def _came(self, head: Head) -> None:
        self.alarm.at(head.version)
        self._forked_from = head.origin
        self.pinning.came(head.revision)
        if head.turn:
            self.listing.opened(head.last_at_ms)

    async def _tell_missed(self, head: Head, records: Sequence[Record]) -> None:
        """Turns that were called failed and are in the log after all, or that another gateway added meanwhile: who
        listens is told of them now, as the next event would else leave a gap. What lies before the records that were
        read is read a few at a time."""
        told = self._told_seq
        if told is None or not self.audience:
            return
        start = place_after(told, head.turn, head.seq, head.amends)
        history = self._world.history(self.key)
        while records and told < records[0].seq_first - 1:
            found = await history.page(start, REPLAY_PAGE)
            page = [record for record in found if record.position < records[0].position]
            if not page:
                break
            self._tell(page, told)
            start, told = following(page[-1]), max(told, last_seq(page[-1]))
            self._told_seq = told  # should the store fail now, the next load goes on from here
        self._tell(records, told)

    def _tell(self, records: Sequence[Record], after_seq: int) -> None:
        for event in events_after(records, self.session_id, after_seq):
            self.audience.broadcast(event)

    def fold_at(self, head: Head) -> SessionFold | None:
        """The session as of `head`, where it is awake and stands just there."""
        fold = self._fold
        stands = fold is not None and (fold.log_id, fold.turn) == (head.log_id, head.turn)
        return fold if stands else None

    def keep_seconds(self) -> int:
        """For how long it is kept after what is written now."""
        return self._world.keep_seconds(self.tenant, self.role_name)

    def role(self) -> RoleEntry:
        """The Role as it is declared now. Raises NotFound where it was deleted meanwhile."""
        role = self._world.tables.roles.get(self.tenant.name, self.role_name)
        if role is None or role.tenant != self.tenant:
            raise NotFound("this Role does not exist any more", code="role_not_found")
        return role

    async def join(self, place: Place, yield_to: Collection[str], given: Mapping[str, int] = NOBODY) -> None:
        """Attach a channel, whose place in the room is taken already, and tell it where the session stands."""
        self._joining += 1
        try:
            role = self.role()
            revision = self.pinning.greeted(role, await self.take(yield_to, given))
            await self.pinning.claim(role)
            self._greet(place.channel, role, revision, await self.take(yield_to, given))
            self._places[id(place.channel)] = place
            await self._leave_revision(ends=False)
        finally:
            self._joining -= 1
            self.settle_down()
        self.turns.take_up()

    def _greet(self, channel: Channel, role: RoleEntry, revision: RevisionEntry, stands: Stands) -> None:
        self.audience.join(channel)
        channel.send(
            SessionCreated(
                session_id=self.session_id,
                seq=None,
                ts=self._world.now_ms(),
                role=role.name + label(revision),
                head=stands.seq,
                version=stands.version,
                durability=self._world.durability,
                heartbeat_ms=self._world.heartbeat_ms,
                resume_ttl_s=self._world.resume_ttl_s,
                display_name=role.spec.display_name or role.name,
                greeting=greeting_of(revision) if stands.turn == 0 else "",
                memory="session" if self.person is None else "user",
                user_state="session" if self.person is None else "user",
                forked_from=self._forked_from,
                greetings=greetings_of(revision)[1:] if stands.turn == 0 else (),
            )
        )
        self.alarm.wake()
        for event in self.alarm.standing():
            channel.send(event)

    async def resume(self, channel: Channel, after_seq: int, *, whole: bool = False) -> None:
        """`session.resumed`, the events after `after_seq`, and what the open turn has said so far.

        Where the log goes on only after a gap, or the channel fell so far behind that it asks for the `whole`, one
        `session.snapshot` stands for the events that are not told.
        No faster than the channel has room for, and with few records in memory; turns that end meanwhile are read
        from the log as well, so that what is told is in order and told once.
        """
        history, replaying = self._world.history(self.key), self.audience.withhold(channel)
        try:
            await self.turns.taken_up()
            if whole and (not await channel.room() or not (after_seq := await self._snapshot(channel))):
                return
            turn, seq, amends = await self._standing(after_seq)
            heard = after_seq if after_seq <= seq else 0
            start = place_after(heard, turn, seq, amends)
            missed, page = replaying.missed_seq, await self._page(history, start, heard)
            heard = after_seq if whole else self.audience.resumed(channel, seq, after_seq, page)
            if not whole and after_seq < heard:  # a part of it is nowhere any more: this is what it came to
                await self._snapshot(channel)
            while True:
                for record in page:
                    if not self.audience.replay(channel, record, heard):
                        break
                    start, heard = following(record), max(heard, last_seq(record))
                    if not await channel.room():
                        return
                if len(page) < REPLAY_PAGE and replaying.missed_seq == missed:  # nobody was told more than the log said
                    return
                missed, page = replaying.missed_seq, await self._page(history, start, heard)
        finally:
            self.audience.rejoin(replaying)

    async def _standing(self, after_seq: int) -> tuple[int, int, int]:
        """The log's turn, event and amends, as new as is needed to go on after that event: another gateway may have
        written since this one knew, and who heard of that asks the store."""
        stands: Stands | None = self._stands if self._told is None else None
        if stands is None or stands.seq < after_seq:
            stands = await self._world.store.head(self.key)
        return (stands.turn, stands.seq, stands.amends) if stands is not None else (0, 0, 0)

    async def _page(self, history: History, start: Position, heard: int) -> Sequence[Record]:
        """The next records from that place on, for who heard all up to `heard`. What came with a session that is unread
        is not read again."""
        came = self.remembered.since(heard) if self._taken is not None else None
        return await history.page(start, REPLAY_PAGE) if came is None else came[:REPLAY_PAGE]

    async def _snapshot(self, channel: Channel) -> int:
        """Tell the channel what the session has come to, in one frame. Returns the last event in it."""
        fold = await self.loaded()
        channel.send(snapshot(fold, self.session_id, self._world.now_ms()))
        return fold.seq

    # ── what its turns ask of it: answering.Home ────────────────────────────────────

    @property
    def fold(self) -> SessionFold | None:
        return self._fold

    @property
    def epoch(self) -> int:
        """The one in which it is ours; 0 where that is not known."""
        return self._stands.epoch if self._stands is not None else 0

    @property
    def told_seq(self) -> int | None:
        return self._told_seq

    def changed(self, version: int, urgent: bool) -> None:
        self.alarm.changed(version, urgent=urgent)

    async def loaded(self) -> SessionFold:
        """As `load`, unless another gateway that is alive answers it."""
        self.touched_ms = self._world.now_ms()
        if self._fold is None or self._fold.phase is Phase.GONE:
            await self._world.peers.certain()
        return await self.load(self._world.peers.owners())

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._start(self, work)

    async def moved_for(self, role: RoleEntry, fold: SessionFold, wanted: str | None) -> RevisionEntry:
        """The revision of the next turn, to which the session is pinned now. Raises NotFound for one that is not."""
        if wanted:
            self.pinning.ask(role, wanted)
        revision = self.pinning.move(role, self.pinning.settle(role, fold), fold)
        await self.pinning.claim(role)
        return revision

    def moved_back(self, role: RoleEntry, revision: str) -> RevisionEntry:
        """That revision, or where it is gone or left the one that takes its place."""
        tables, now_ms = self._world.tables, self._world.now_ms()
        there = tables.revisions.get(self.tenant.name, revision) is not None
        settled = settle(tables, role, revision if there else self.pinned, now_ms=now_ms)
        if settled.revision.name == self.pinned:  # it went there already, and everybody was told
            settled = Settled(settled.revision)
        return self.pinning.move(role, settled, self._fold)

    def resets(self, fold: SessionFold, revision: RevisionEntry) -> bool:
        return self.pinning.resets(fold, revision)

    # ── a revision that is left: evacuation.Moving ──────────────────────────────────

    async def evacuate(self) -> None:
        await self._leave_revision(ends=True)
        self.settle_down()

    async def _leave_revision(self, *, ends: bool) -> None:
        """Where its revision is left, go on on another; a turn that runs has its time first. `ends`: whoever listens is
        sent away where that is what becomes of it; who only comes now is not."""
        role = self._world.tables.roles.get(self.tenant.name, self.role_name)
        leaves = self.pinning.leaving(role) if role is not None else None
        if role is None or leaves is None:
            return
        if ends and self.attached and leaves.fate(self._world.now_ms()) is Fate.ENDS:
            self._sent_away = self._sent_away or False
        elif self._sent_away:  # somebody came back
            self._sent_away = None
        if self.turns.answering:
            self.turns.leave_by(role.spec.sessions.turn_timeout_seconds if self._sent_away is None else 0)
            return
        settled = self.pinning.left(role, leaves)
        is_told = self.attached and self._sent_away is None and self._fold is None
        if is_told and settled is not None and self.pinning.may_reset(role, settled.revision):
            await self.load(self._world.peers.owners())
        self._go_on()

    def _go_on(self) -> None:
        """The boundary of a turn: where its revision is left, the session goes on on another one."""
        role = self._world.tables.roles.get(self.tenant.name, self.role_name)
        if role is None or not role.leaving or self.turns.answering or self._sent_away:
            return
        leaves = self.pinning.leaving(role)
        settled = self.pinning.left(role, leaves) if leaves is not None else None
        if settled is None:
            return
        if not self.attached:  # its log says where it is, to whoever answers it next
            if not self.busy:
                self.sleep()
                self.pinning.pinned = ""
                self._world.links.release(self.key)
        elif self._sent_away is not None:
            self._sent_away = True
            self.pinning.withdraw(role)
        elif self._fold is not None or not self.pinning.may_reset(role, settled.revision):
            self.pinning.move(role, settled, self._fold)

    # ── timers: firing.Speaking ─────────────────────────────────────────────────────

    async def logic_timers(self, fold: SessionFold) -> tuple[str, Sequence[TimerSpec]]:
        """The revision of its next turn, and that one's timers. Raises Unavailable."""
        role = self.role()
        revision = self.pinning.settle(role, fold).revision
        return revision.name, await self._world.links.loaded(role, revision, self.key, LOADED_SECONDS)

    async def fire(self, occasion: Occasion, begun: list[str]) -> bool:
        return await self.turns.fire(occasion, begun)

    async def look(self) -> Looked:
        """Whether a timer is due, and its turn where one is. Raises as firing.look."""
        if self.arming is None:
            return Looked.GONE
        try:
            return await look(self.arming, self)
        finally:
            self.settle_down()

    def _doubt_timers(self) -> None:
        if self.arming is not None:
            self.arming.doubt()

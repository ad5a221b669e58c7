"""One session in this process: its line of turns, its channels, and its fold while it is needed."""

import asyncio
import secrets
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from rolehost_api.errors import NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.wire import HeardPart, RevisionChanged, SessionCreated
from rolehost_runtime.core.busy import MAX_WAITING, Verdict, decide
from rolehost_runtime.core.record import CorruptRecord, Record, following, last_seq, place_after, render
from rolehost_runtime.core.session import OpenTurn, Phase, SessionFold
from rolehost_runtime.gateway.link.bind import greeting_of
from rolehost_runtime.gateway.ports import Channel, Head, HeldElsewhere, Principal
from rolehost_runtime.gateway.sessions.attempt import Attempt, overdue
from rolehost_runtime.gateway.sessions.audience import Audience, Running, events_after
from rolehost_runtime.gateway.sessions.line import Line
from rolehost_runtime.gateway.sessions.pen import Pen
from rolehost_runtime.gateway.sessions.revisions import Settled, find, label, settle
from rolehost_runtime.gateway.sessions.world import Accepted, Timing, World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

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


@dataclass(slots=True)
class Orphan:
    """A turn whose gateway died in it. It runs once more here, unless that was a second death."""

    opened: OpenTurn
    given_up: bool
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It runs again, or its end was told."""


Start = Callable[["LiveSession", Coroutine[Any, Any, None]], object]
"""Runs work of a session that outlives whoever waits for it."""


class LiveSession:
    def __init__(
        self, world: World, principal: Principal, role: RoleEntry, session_id: str, key: str, start: Start
    ) -> None:
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
        self._loading = asyncio.Lock()
        self._line = Line()
        self._pen = Pen(world, self.audience, key, session_id, self._settle_down)
        self._start = start
        self._attempt: Attempt | None = None
        """The newest one."""
        self._orphan: Orphan | None = None
        self._ended = ""
        """The newest response that ended here, whatever became of it."""
        self._cancelling = 0

    # ── life ────────────────────────────────────────────────────────────────────────

    @property
    def busy(self) -> bool:
        here = self._line.taken or self._joining > 0 or self._loading.locked() or self._cancelling > 0
        return here or self._pen.notes.pending

    @property
    def attached(self) -> bool:
        """Somebody listens, or is about to."""
        return bool(self.audience) or self._joining > 0

    def sleep(self) -> None:
        """Let go of what the store holds too; the next turn reads it again."""
        if not self.busy:
            self._fold = None
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
            self._world.room.hold(self.tenant.uid, self.key, fold.weight())

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
                self._lay_down(None)
                self.scatter()
                raise
            fold = SessionFold(head.log_id, head.epoch)
            for number, record in enumerate(records, 1):
                fold.replay(record)
                if number % FOLD_QUANTUM == 0:
                    await asyncio.sleep(0)
            if (fold.turn, fold.seq, fold.amends) != (head.turn, head.seq, head.amends):
                raise CorruptRecord("a session's head and its log disagree")
            self._tell_missed(records)
            self._weigh(fold)
            self._lay_down(self._left_open(head, fold))
            self._pinned = self._pinned or fold.revision
            return fold

    def _lay_down(self, orphan: Orphan | None) -> None:
        """This turn, or none, waits to be taken up; whoever waited for another one looks again."""
        before, self._orphan = self._orphan, orphan
        if before is not None:
            before.begun.set()

    def _left_open(self, head: Head, fold: SessionFold) -> Orphan | None:
        """The turn that another owner left open; one of our own has ended, and whoever listened was told."""
        opened = head.open
        if opened is None or opened.turn != fold.turn + 1:
            return None
        if not head.deaths or opened.response_id == self._ended:
            self._pen.notes.given_up(fold, opened.turn)
            return None
        return Orphan(opened, given_up=head.deaths > 1)

    def _tell_missed(self, records: Sequence[Record]) -> None:
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
        self._take_up()

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
        if self._orphan is not None:
            await self._orphan.begun.wait()
        store, replaying = self._world.store, self.audience.withhold(channel)
        try:
            extent = await store.extent(self.key)
            heard = self.audience.resumed(channel, extent.seq, after_seq)
            start = place_after(heard, extent.amends)
            while True:
                missed = replaying.missed_seq
                page = await store.page(self.key, start, REPLAY_PAGE)
                for record in page:
                    if not self.audience.replay(channel, record, heard):
                        break
                    start, heard = following(record), max(heard, last_seq(record))
                    if not await channel.room():
                        return
                if len(page) < REPLAY_PAGE and replaying.missed_seq == missed:  # nobody was told more than the log said
                    return
        finally:
            self.audience.rejoin(replaying)

    async def noted(self) -> None:
        """Until the store knows whether a turn is open."""
        await self._pen.notes.written()

    # ── turns ───────────────────────────────────────────────────────────────────────

    async def say(self, accepted: Accepted) -> None:
        """One message in, until its turn is durable. Raises what it failed with."""
        said, running = accepted.said, self.audience.running
        if running is not None and running.answers(said.client_msg_id):
            accepted.begun(running.opened.response_id)
            self.audience.catch_up(accepted.channel)
            await asyncio.shield(running.done)
            return
        verdict = decide(said.busy_policy, answering=self._line.taken, waiting=self._line.waiting)
        if verdict is Verdict.STEER:
            if running is not None and self._steer(running, accepted):
                await asyncio.shield(running.done)
                return
            verdict = decide("queue", answering=self._line.taken, waiting=self._line.waiting)
        if verdict is Verdict.REFUSE:
            raise busy()
        place = self._line.join(ahead=verdict is Verdict.INTERRUPT)
        amends = self._amended_by(accepted, verdict)
        try:
            await self._line.come(place, accepted.deadline)
        except TimeoutError:
            raise overdue() from None
        try:
            await self._turn(accepted, amends)
        finally:
            self._leave_line()

    def _steer(self, running: Running, accepted: Accepted) -> bool:
        """Let a message join the answer that is being given. False: none is."""
        said = accepted.said
        if self._attempt is None or self._fold is None or not self._attempt.steer(said.message):
            return False
        opened = running.opened.steered(said.message, said.client_msg_id)
        self._pen.notes.opened(self._fold, opened)
        accepted.begun(opened.response_id)
        self.audience.steered(running, opened, accepted.channel, said.client_msg_id)
        return True

    def _leave_line(self) -> None:
        self._line.leave()
        if self._fold is not None:
            self._weigh(self._fold)
        self._take_up()
        if self._orphan is not None and not self._line.taken:
            self._orphan.begun.set()  # it waits for the log to be read again
        self._settle_down()

    def _amended_by(self, accepted: Accepted, verdict: Verdict) -> str | None:
        """An interrupting message cuts short what runs. The response that its `heard` amends where nothing could be
        cut short: the one whose record is on its way, or (empty) the newest."""
        if accepted.said.busy_policy != "interrupt":
            return None
        running, heard = self.audience.running, accepted.said.heard
        if verdict is Verdict.ANSWER:
            return "" if heard is not None else None
        if running is None or self._attempt is None or self._attempt.interrupt(heard):
            return None
        return running.opened.response_id if heard is not None else None

    async def _turn(self, accepted: Accepted, amends: str | None) -> None:
        began = asyncio.get_running_loop().time()
        said = accepted.said
        self.touched_ms = self._world.now_ms()
        told = self._told_seq
        fold = await self.load(self._world.peers.owners())
        if self._orphan is not None:
            opened = self._orphan.opened
            ours = said.client_msg_id is not None and said.client_msg_id in (
                opened.client_msg_id,
                *opened.joined,
            )
            if ours:
                accepted.begun(opened.response_id)
            try:
                again = self._begin_again(fold)
                if not ours and said.busy_policy == "interrupt" and self._attempt is not None:
                    self._attempt.interrupt(said.heard)
                    amends = None
                await again
            except Exception:  # everybody was told
                if ours:
                    raise
            if ours:
                return
            fold = await self.load(self._world.peers.owners())
        known = fold.turn_of(said.client_msg_id)
        if known is not None:
            if told == fold.seq or known != fold.turn:  # else it is what everybody here was told just now
                await self._replay(accepted.channel, known)
            return
        if amends is not None and fold.turn:
            with suppress(NotFound):
                async with self._pen.held:
                    await self._pen.amend(fold, amends or fold.response_id, said.heard)
        if accepted.deadline is not None and asyncio.get_running_loop().time() >= accepted.deadline:
            raise overdue()
        role = self.role()
        if said.revision:
            self.wanted = find(self._world.tables, role, said.revision).name
        revision = self._move(role, self._settle(role, fold))
        opened = fold.begin(
            said.message,
            revision=revision.name,
            response_id=f"r{secrets.token_hex(8)}",
            rng_seed=secrets.randbits(63),
            now_ms=self._world.now_ms(),
            client_msg_id=said.client_msg_id,
            user=said.user,
            deadline_at_ms=None if said.deadline_ms is None else self._wall_ms(accepted.at) + said.deadline_ms,
        )
        self._pen.notes.opened(fold, opened)
        accepted.begun(opened.response_id)
        running = self.audience.begin(opened)
        await self._run(fold, running, role, revision, Timing(accepted.at, began, accepted.deadline))

    def _run(
        self, fold: SessionFold, running: Running, role: RoleEntry, revision: RevisionEntry, timing: Timing
    ) -> Coroutine[Any, Any, None]:
        """A turn that has begun; what is left is to see it through."""
        self._ended = running.opened.response_id
        attempt = self._attempt = Attempt(
            self._world, self.audience, self.key, self.session_id, role, revision, fold, running, self._pen, timing
        )
        if self._line.pressed:
            attempt.interrupt(None)
        return attempt.answer()

    def _wall_ms(self, moment: float) -> int:
        """A moment of the loop's clock, by the clock that survives this process."""
        return self._world.now_ms() - round(1000 * (asyncio.get_running_loop().time() - moment))

    # ── a turn whose gateway died in it ─────────────────────────────────────────────

    def _take_up(self) -> None:
        """Run it beside whoever came, unless a message that has its turn in line will do so first."""
        if self._orphan is None or self._fold is None or not self._line.take():
            return
        try:
            work = self._begin_again(self._fold)
        except BaseException as error:
            self._leave_line()
            if isinstance(error, RolehostError):
                return  # everybody was told
            raise
        self._start(self, self._see_through(work))

    async def _see_through(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        finally:
            self._leave_line()

    def _begin_again(self, fold: SessionFold) -> Coroutine[Any, Any, None]:
        """The turn begins once more, before everybody who is here; what is left is to run it.

        Raises RolehostError where it cannot: everybody was told then, as of any turn that failed.
        """
        orphan, self._orphan = self._orphan, None
        if orphan is None:
            raise KeyError("no turn was left open")
        opened = orphan.opened
        try:
            if orphan.given_up:
                raise Unavailable(
                    "two gateways died while they answered this message; it was given up",
                    hint="Send it again, with the same client_msg_id: what was kept is not answered twice",
                    code="turn_given_up",
                )
            role = self.role()
            pinned = opened.revision if self._is_there(opened.revision) else self._pinned
            revision = self._move(role, settle(self._world.tables, role, pinned))
            fold.begin_again(opened)
        except RolehostError as error:
            self._ended = opened.response_id
            self._pen.notes.given_up(fold, opened.turn)
            self.audience.failed(opened, error)
            raise
        finally:
            orphan.begun.set()
        running = self.audience.begin(opened, again=True)
        now = asyncio.get_running_loop().time()
        left_ms = None if opened.deadline_at_ms is None else opened.deadline_at_ms - self._world.now_ms()
        timing = Timing(now, now, None if left_ms is None else now + left_ms / 1000)
        return self._run(fold, running, role, revision, timing)

    def _is_there(self, revision: str) -> bool:
        return self._world.tables.revisions.get(self.tenant.name, revision) is not None

    # ── what the user heard ─────────────────────────────────────────────────────────

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        """The user hears no more of this response. One that runs ends as cancelled; of the newest that is durable the
        log says what was heard. Nothing where that is known already. Raises NotFound for any other."""
        self._cancelling += 1
        try:
            running = self.audience.running
            if running is not None and running.opened.response_id == response_id and self._attempt is not None:
                cut_short = self._attempt.interrupt(heard)
                with suppress(RolehostError):  # its end was told
                    await asyncio.shield(running.done)
                if cut_short:
                    return
            async with self._pen.held:
                fold = await self.load(self._world.peers.owners())
                orphan = self._orphan
                if orphan is None or orphan.opened.response_id != response_id:
                    await self._pen.amend(fold, response_id, heard)
                    self._weigh(fold)
                    return
            self._take_up()
            await orphan.begun.wait()
        finally:
            self._cancelling -= 1
            self._take_up()
            self._settle_down()
        await self.cancel(response_id, heard)

    async def _replay(self, channel: Channel, turn: int) -> None:
        """The message was answered before: the same events again, to who asks for them."""
        for record in await self._world.store.page(self.key, (turn, 0), 1):
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


def busy() -> Overloaded:
    return Overloaded(
        f"this session is answering another message; at most {MAX_WAITING} wait",
        hint="Send it again when the answer is there, or with busy_policy interrupt",
        code="busy",
    )

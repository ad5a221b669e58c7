"""The turns of one session: whose message is answered next, what interrupts it, and what a dead gateway left open."""

import asyncio
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any, Protocol

from rolehost_api.errors import BadRequest, NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.wire import HeardPart, Metrics
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.behavior.place import node
from rolehost_runtime.core.busy import MAX_WAITING, Verdict, decide
from rolehost_runtime.core.occasions import Occasion
from rolehost_runtime.core.record import Position, following, render
from rolehost_runtime.core.session import OpenTurn, SessionFold, same_message
from rolehost_runtime.gateway.link.bind import greetings_of
from rolehost_runtime.gateway.ports import Channel, Head, HeldElsewhere
from rolehost_runtime.gateway.sessions.arming import Arming
from rolehost_runtime.gateway.sessions.attempt import Attempt, overdue
from rolehost_runtime.gateway.sessions.audience import Audience, Running
from rolehost_runtime.gateway.sessions.line import Line
from rolehost_runtime.gateway.sessions.listing import Listing
from rolehost_runtime.gateway.sessions.metrics import outcome_of
from rolehost_runtime.gateway.sessions.pen import Pen
from rolehost_runtime.gateway.sessions.person import Person
from rolehost_runtime.gateway.sessions.remembered import Remembered
from rolehost_runtime.gateway.sessions.world import Accepted, Timing, World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry
from rolehost_runtime.gateway.tracing.context import Parent

ANSWER_PAGE = 2
"""Records read at once for who says something again: the turn, and what is said of it or comes next."""


class Home(Protocol):
    """The session, as its turns see it."""

    key: str
    session_id: str
    audience: Audience
    remembered: Remembered
    listing: Listing
    user: str | None
    """Whose session it is, where it is an end user's."""
    person: Person | None
    """What it shares with the others of that user; None where nothing is shared."""
    arming: Arming | None
    """Its timers; None where it can have none."""
    declared: RoleEntry
    """The Role as it was declared when the session came here."""

    @property
    def assignment(self) -> Assignment | None:
        """Its side of a rollout's comparison; None: it is not compared."""

    @property
    def fold(self) -> SessionFold | None:
        """The session as its log says, where it is awake."""

    @property
    def told_seq(self) -> int | None:
        """The newest event that whoever listened here was told of."""

    async def loaded(self) -> SessionFold:
        """Awake, and ours. Raises HeldElsewhere where another gateway that is alive answers it."""

    def weigh(self, fold: SessionFold) -> None:
        """The fold has changed, or is lost."""

    def settle_down(self) -> None:
        """Something is over; perhaps nobody needs the session any more."""

    def keep_seconds(self) -> int:
        """For how long it is kept after what is written now, as its Role says."""

    def role(self) -> RoleEntry:
        """The Role as it is declared now. Raises NotFound."""

    async def moved_for(self, role: RoleEntry, fold: SessionFold, wanted: str | None) -> RevisionEntry:
        """The revision of the next turn."""

    def moved_back(self, role: RoleEntry, revision: str) -> RevisionEntry:
        """That revision, or the one in its place."""

    def resets(self, fold: SessionFold, revision: RevisionEntry) -> bool:
        """Whether the typed state begins anew with a turn of this revision."""

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it, whoever waits for it."""

    def changed(self, version: int, urgent: bool) -> None:
        """The state has this version now, and whether that is to be noticed at once."""


@dataclass(slots=True)
class Orphan:
    """A turn whose gateway died in it. It runs once more here, unless that was a second death."""

    opened: OpenTurn
    given_up: bool
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    """It runs again, or its end was told."""


class Answering:
    def __init__(self, world: World, home: Home) -> None:
        self._world, self._home = world, home
        self._line = Line()
        self._pen = Pen(
            world, home.audience, home.key, home.session_id, home.remembered, home.listing, home.settle_down,
            home.keep_seconds,
        )  # fmt: skip
        self._attempt: Attempt | None = None
        """The newest one."""
        self._orphan: Orphan | None = None
        self._ended = ""
        """The newest response that ended here, whatever became of it."""
        self._cancelling = 0

    @property
    def busy(self) -> bool:
        return self._line.taken or self._cancelling > 0 or self._pen.notes.pending

    async def noted(self) -> None:
        """Until the store knows whether a turn is open."""
        await self._pen.notes.written()

    # ── messages ────────────────────────────────────────────────────────────────────

    async def say(self, accepted: Accepted) -> None:
        """One message in, until its turn is durable. Raises what it failed with."""
        scores = self._world.scores
        scores.asked(self._home.key)
        try:
            await self._say(accepted)
        except RolehostError as error:
            if not accepted.under_way and not isinstance(error, HeldElsewhere):
                self._count(outcome_of(error), Metrics(total_ms=self._ms_since(accepted.at)))
            raise
        finally:
            scores.answered(self._home.key)

    def _count(self, outcome: str, metrics: Metrics, revision: str = "") -> None:
        """A message that no attempt was made to answer."""
        role = self._home.declared
        self._world.scores.turn(role, revision, outcome, metrics, key=self._home.key, assignment=self._home.assignment)

    @staticmethod
    def _ms_since(moment: float) -> float:
        return round(1000 * (asyncio.get_running_loop().time() - moment), 3)

    async def _say(self, accepted: Accepted) -> None:
        said, running = accepted.said, self._home.audience.running
        if running is not None and running.answers(said.client_msg_id):
            accepted.begin(running.opened.response_id)
            self._home.audience.catch_up(accepted.channel)
            await asyncio.shield(running.done)
            return
        fold = self._home.fold
        known = fold is not None and fold.turn_of(said.client_msg_id) is not None
        policy = "queue" if known else said.busy_policy or "queue"  # what was answered before touches nothing that runs
        verdict = decide(policy, answering=self._line.taken, waiting=self._line.waiting)
        if verdict is Verdict.STEER:
            if running is not None and self._steer(running, accepted):
                await asyncio.shield(running.done)
                return
            verdict = decide("queue", answering=self._line.taken, waiting=self._line.waiting)
        if verdict is Verdict.REFUSE:
            raise busy()
        place = self._line.join(said.client_msg_id, ahead=verdict is Verdict.INTERRUPT)
        amends = self._amended_by(accepted, verdict) if policy == "interrupt" else None
        try:
            await self._line.come(place, accepted.deadline)
        except TimeoutError:
            raise overdue() from None
        try:
            await self._turn(accepted, amends)
        finally:
            self._leave_line()

    @property
    def answering(self) -> bool:
        """Somebody is being answered, or is about to be."""
        return self._line.taken

    def leave_by(self, seconds: float) -> None:
        """The revision that answers is left: a turn that runs has so long."""
        if self._home.audience.running is not None and self._attempt is not None:
            self._attempt.leave_by(asyncio.get_running_loop().time() + seconds)

    def _steer(self, running: Running, accepted: Accepted) -> bool:
        """Let a message join the answer that is being given. False: none is."""
        said = accepted.said
        if running.opened.occasion is not None:  # nobody asked for that answer: the message is one of its own
            return False
        if self._attempt is None or self._home.fold is None or not self._attempt.steer(said.message):
            return False
        opened = running.opened.steered(said.message, said.client_msg_id)
        self._pen.notes.opened(self._home.fold, opened)
        accepted.begin(opened.response_id)
        self._home.audience.steered(running, opened, accepted.channel, said.client_msg_id)
        return True

    async def fire(self, occasion: Occasion, begun: list[str]) -> bool:
        """A turn without a message. False: somebody is being answered. Nothing where the log has it already.

        Raises what it failed with; `begun` has the response then, if there was one.
        """
        if not self._line.take():
            return False
        try:
            fold = await self._home.loaded()
            if self._orphan is not None:
                with suppress(RolehostError):  # everybody was told
                    await self._begin_again(fold)
                fold = await self._home.loaded()
            if not fold.had(occasion):
                await self._fire(fold, occasion, begun)
            return True
        finally:
            self._leave_line()

    async def _fire(self, fold: SessionFold, occasion: Occasion, begun: list[str]) -> None:
        await self._check_room(fold)
        role = self._home.role()
        revision = await self._home.moved_for(role, fold, None)
        opened = fold.begin(
            "",
            revision=revision.name,
            response_id=f"r{secrets.token_hex(8)}",
            rng_seed=secrets.randbits(63),
            now_ms=self._world.now_ms(),
            user=self._home.user,
            occasion=occasion,
        )
        self._pen.notes.opened(fold, opened)
        begun.append(opened.response_id)
        running = self._home.audience.begin(opened, behavior=node(fold.state))
        now = asyncio.get_running_loop().time()
        await self._run(fold, running, role, revision, Timing(now, now, None))

    def _leave_line(self) -> None:
        self._line.leave()
        if self._home.fold is not None:
            self._home.weigh(self._home.fold)
        self.take_up()
        if self._orphan is not None and not self._line.taken:
            self._orphan.begun.set()  # it waits for the log to be read again
        self._home.settle_down()

    def _amended_by(self, accepted: Accepted, verdict: Verdict) -> str | None:
        """An interrupting message cuts short what runs. The response that its `heard` amends where nothing could be
        cut short: the one whose record is on its way, or (empty) the newest."""
        running, heard = self._home.audience.running, accepted.said.heard
        if verdict is Verdict.ANSWER:
            return "" if heard is not None else None
        if running is None or self._attempt is None or self._attempt.interrupt(heard):
            return None
        return running.opened.response_id if heard is not None else None

    async def _turn(self, accepted: Accepted, amends: str | None) -> None:
        began = asyncio.get_running_loop().time()
        said = accepted.said
        told = self._home.told_seq
        fold = await self._home.loaded()
        if self._orphan is not None:
            if await self._orphan_first(fold, accepted):
                return
            amends = None if said.busy_policy == "interrupt" else amends
            fold = await self._home.loaded()
        known = fold.turn_of(said.client_msg_id)
        if known is not None:
            if told != fold.seq and known == fold.turn:  # it is what everybody here was told just now
                return
            if await self._replay(accepted.channel, known):
                return
        if amends is not None and fold.turn:
            with suppress(NotFound):
                async with self._pen.held:
                    await self._pen.amend(fold, amends or fold.response_id, said.heard)
        if accepted.deadline is not None and asyncio.get_running_loop().time() >= accepted.deadline:
            raise overdue()
        await self._check_room(fold)
        role = self._home.role()
        revision = await self._home.moved_for(role, fold, said.revision)
        if said.greeting and not fold.turn and said.greeting >= len(greetings_of(revision)):
            raise no_greeting()
        opened = fold.begin(
            said.message,
            revision=revision.name,
            response_id=f"r{secrets.token_hex(8)}",
            rng_seed=secrets.randbits(63),
            now_ms=self._world.now_ms(),
            client_msg_id=said.client_msg_id,
            user=self._home.user,
            deadline_at_ms=None if said.deadline_ms is None else self._wall_ms(accepted.at) + said.deadline_ms,
            greeting=said.greeting or 0,
        )
        self._pen.notes.opened(fold, opened)
        if opened.turn == 1:
            self._home.listing.begin(opened.now_ms)
        accepted.begin(opened.response_id)
        running = self._home.audience.begin(opened, behavior=node(fold.state))
        timing = Timing(accepted.at, began, accepted.deadline, monotonic())
        await self._run(fold, running, role, revision, timing, accepted.parent)

    async def _check_room(self, fold: SessionFold) -> None:
        """Raises Conflict `session_full`. What the archive took meanwhile is known to the store, which is asked only where
        that may help."""
        limits = self._world.limits
        if limits.refusal(fold.turn, self._pen.log_bytes) is None:
            return
        head = await self._world.store.head(self._home.key)
        self._pen.log_bytes = head.log_bytes if head is not None else 0
        if (refusal := limits.refusal(fold.turn, self._pen.log_bytes)) is not None:
            raise refusal

    async def _orphan_first(self, fold: SessionFold, accepted: Accepted) -> bool:
        """The turn that was left open, before this message; whether it is this message's own. Raises what that one
        failed with."""
        said = accepted.said
        if self._orphan is None:
            return False
        opened = self._orphan.opened
        ours = said.client_msg_id is not None and said.client_msg_id in (opened.client_msg_id, *opened.joined)
        if ours:
            accepted.begin(opened.response_id)
        try:
            again = self._begin_again(fold)
            if not ours and said.busy_policy == "interrupt" and self._attempt is not None:
                self._attempt.interrupt(said.heard)
            await again
        except Exception:  # everybody was told
            if ours:
                raise
        return ours

    def _run(
        self,
        fold: SessionFold,
        running: Running,
        role: RoleEntry,
        revision: RevisionEntry,
        timing: Timing,
        parent: Parent | None = None,
    ) -> Coroutine[Any, Any, None]:
        """A turn that has begun; what is left is to see it through."""
        self._ended = running.opened.response_id
        attempt = self._attempt = Attempt(
            self._world,
            self._home.audience,
            self._home.key,
            self._home.session_id,
            role,
            revision,
            fold,
            running,
            self._pen,
            timing,
            self._home.changed,
            self._home.person,
            self._home.arming,
            resets=self._home.resets(fold, revision),
            assignment=self._home.assignment,
            parent=parent,
        )
        if self._line.pressed(running.opened.client_msg_id):
            attempt.interrupt(None)
        return attempt.answer()

    def _wall_ms(self, moment: float) -> int:
        """A moment of the loop's clock, by the clock that survives this process."""
        return self._world.now_ms() - round(1000 * (asyncio.get_running_loop().time() - moment))

    async def _replay(self, channel: Channel, turn: int) -> bool:
        """The message was answered before: the same events again, and what was heard, to who asks. False: that was too
        long ago for it to be the same one."""
        place: Position = (turn, 0)
        history = self._world.history(self._home.key)
        while page := await history.page(place, ANSWER_PAGE):
            for record in page:
                if record.turn != turn:
                    return True
                if record.position == (turn, 0) and not same_message(record.at_ms, self._world.now_ms()):
                    return False
                for event in render(record, self._home.session_id, replay=True):
                    channel.send(event)
            place = following(page[-1])
        return True

    # ── a turn whose gateway died in it ─────────────────────────────────────────────

    def left_open(self, head: Head | None, fold: SessionFold | None) -> None:
        """The log was read, or is another's to read. A turn that another owner left open waits to be taken up; one of
        our own has ended, and whoever listened was told. Whoever waited for an earlier one looks again."""
        before, self._orphan = self._orphan, None
        if before is not None:
            before.begun.set()
        self._pen.log_bytes = head.log_bytes if head is not None else 0
        opened = head.open if head is not None else None
        if head is None or fold is None or opened is None or opened.turn != fold.turn + 1:
            return
        if not head.deaths or opened.response_id == self._ended:
            self._pen.notes.given_up(fold, opened.turn)
        else:
            self._orphan = Orphan(opened, given_up=head.deaths > 1)

    async def taken_up(self) -> None:
        """Until no turn waits to be taken up, or it waits for the log to be read again."""
        if self._orphan is not None:
            await self._orphan.begun.wait()

    def take_up(self) -> None:
        """Run it beside whoever came, unless a message that has its turn in line will do so first."""
        if self._orphan is None or self._home.fold is None or not self._line.take():
            return
        try:
            work = self._begin_again(self._home.fold)
        except BaseException as error:
            self._leave_line()
            if isinstance(error, RolehostError):
                return  # everybody was told
            raise
        self._home.start(self._see_through(work))

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
            role = self._home.role()
            revision = self._home.moved_back(role, opened.revision)
            opened = fold.begin_again(replace(opened, revision=revision.name))
        except RolehostError as error:
            self._ended = opened.response_id
            self._pen.notes.given_up(fold, opened.turn)
            self._home.audience.failed(opened, error)
            if opened.occasion is None:
                self._count(outcome_of(error), Metrics(), opened.revision)
            raise
        finally:
            orphan.begun.set()
        self._pen.notes.found(opened)
        running = self._home.audience.begin(opened, again=True, behavior=node(fold.state))
        now = asyncio.get_running_loop().time()
        left_ms = None if opened.deadline_at_ms is None else opened.deadline_at_ms - self._world.now_ms()
        timing = Timing(now, now, None if left_ms is None else now + left_ms / 1000)
        return self._run(fold, running, role, revision, timing)

    # ── what the user heard ─────────────────────────────────────────────────────────

    async def cancel(self, response_id: str, heard: HeardPart | None) -> None:
        """The user hears no more of this response. One that runs ends as cancelled; of the newest that is durable the
        log says what was heard. Nothing where that is known already. Raises NotFound for any other."""
        self._cancelling += 1
        try:
            running = self._home.audience.running
            if running is not None and running.opened.response_id == response_id and self._attempt is not None:
                cut_short = self._attempt.interrupt(heard)
                with suppress(RolehostError):  # its end was told
                    await asyncio.shield(running.done)
                if cut_short:
                    return
            async with self._pen.held:
                fold = await self._home.loaded()
                orphan = self._orphan
                if orphan is None or orphan.opened.response_id != response_id:
                    await self._pen.amend(fold, response_id, heard)
                    self._home.weigh(fold)
                    return
            self.take_up()
            await orphan.begun.wait()
        finally:
            self._cancelling -= 1
            self.take_up()
            self._home.settle_down()
        await self.cancel(response_id, heard)


def no_greeting() -> BadRequest:
    return BadRequest(
        "this Role has no greeting of that number",
        hint="session.created tells them: 0 is `greeting`, 1 the first of `greetings`",
        code="greeting_not_found",
    )


def busy() -> Overloaded:
    return Overloaded(
        f"this session is answering another message; at most {MAX_WAITING} wait",
        hint="Send it again when the answer is there, or with busy_policy interrupt",
        code="busy",
    )

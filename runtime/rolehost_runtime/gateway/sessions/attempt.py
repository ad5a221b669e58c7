"""From a begun turn to its end: answered, or cut short by the user, and durable; or failed, as if it had never been."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from time import monotonic

from msgspec.structs import replace

from rolehost_api import jsonlog
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.identity import session_of
from rolehost_api.link.messages import Commit, Degraded, StartTurn
from rolehost_api.wire import HeardPart, Metrics, Usage
from rolehost_runtime.core import emitting
from rolehost_runtime.core.assignment import Assignment
from rolehost_runtime.core.lorebook.telling import Moment
from rolehost_runtime.core.patch import InvalidPatch
from rolehost_runtime.core.record import TurnRecord, render
from rolehost_runtime.core.schema import left_of
from rolehost_runtime.core.session import OpenTurn, Outcome, Phase, SessionFold
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.link.bind import greetings_of
from rolehost_runtime.gateway.ports import Superseded, TurnCall
from rolehost_runtime.gateway.sessions.arming import Arming
from rolehost_runtime.gateway.sessions.audience import Audience, Running
from rolehost_runtime.gateway.sessions.guarding import Guarding
from rolehost_runtime.gateway.sessions.lore import telling
from rolehost_runtime.gateway.sessions.metrics import outcome_of
from rolehost_runtime.gateway.sessions.pen import Pen
from rolehost_runtime.gateway.sessions.person import Person, Reading
from rolehost_runtime.gateway.sessions.reaching import Reaching
from rolehost_runtime.gateway.sessions.remembering import Remembering
from rolehost_runtime.gateway.sessions.turn import TurnRun
from rolehost_runtime.gateway.sessions.usage import summed
from rolehost_runtime.gateway.sessions.world import Timing, World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry
from rolehost_runtime.gateway.tracing import spans
from rolehost_runtime.gateway.tracing.context import Parent

log = logging.getLogger(__name__)

AGAIN = "Send the message again, with the same client_msg_id: what was kept after all is not answered twice"


class Attempt:
    """One turn of one session."""

    def __init__(
        self,
        world: World,
        audience: Audience,
        key: str,
        session_id: str,
        role: RoleEntry,
        revision: RevisionEntry,
        fold: SessionFold,
        running: Running,
        pen: Pen,
        timing: Timing,
        changed: Callable[[int, bool], None],
        person: Person | None = None,
        arming: Arming | None = None,
        *,
        assignment: Assignment | None = None,
        parent: Parent | None = None,
        resets: bool = False,
    ) -> None:
        """`changed`: the state has this version now, and whether that is urgent. `parent`: the client's own span.
        `resets`: its typed state begins anew."""
        self._trace = world.tracer.begin(parent) if world.tracer is not None else None
        if self._trace is not None:
            self._trace.before(timing.at, timing.began, timing.ready)
        self._changed, self._arming, self._assignment = changed, arming, assignment
        self._world, self._audience, self._pen = world, audience, pen
        self._key, self._session_id = key, session_id
        self._role, self._revision = role, revision
        self._fold, self._running = fold, running
        self._timing = timing
        self._reported = (0, 0)
        """By the pod, of itself: how many hooks were left out, and how many edges taken."""
        self._ran = False
        """The pod has come to its commit, or failed: nothing of the turn changes any more."""
        self._limit = asyncio.timeout_at(timing.deadline)
        self._left = False
        """Its revision is left, and it took longer than it was given."""
        self._resets = resets
        self._reading = Reading(person) if person is not None else None
        self._user_at: str | None = None
        """The copy of user-scope state that the turn made; None: it changed none."""
        opened = running.opened
        start = StartTurn(
            session="",
            session_id=session_id,
            turn=opened.turn,
            version=fold.version,
            state=left_of(fold.state) if resets else fold.state,
            message=opened.input,
            user=opened.user or "",
            now_ms=opened.now_ms,
            rng_seed=opened.rng_seed,
            deadline_ms=1000 * role.spec.sessions.turn_timeout_seconds,
            occasion=opened.occasion.hook if opened.occasion is not None else "",
            absent_ms=opened.absent_ms,
            first=fold.unstarted and opened.turn > 1,
            trace=world.inspections.on,
        )
        template = revision.spec.template
        self._remembering = Remembering(
            world.memories, world.meanings, role.tenant, key, template, opened.now_ms, frozenset(role.quarantined)
        )
        past = fold.told or list(fold.past)
        self._lore = telling(world.books, revision, past, _moment(fold, running, revision))
        self._message = opened.input
        """As it was when the turn began: what joined it comes after."""
        safety = world.safeties.of(revision)
        self._guarding = (
            Guarding(safety, role, world.tables, world.models, world.sink, timing.deadline, world.guards)
            if safety is not None
            else None
        )
        self._run = TurnRun(
            role=role,
            revision=revision,
            session_key=key,
            start=start,
            past=past,
            emit=lambda text: audience.emit(running, text),
            tables=world.tables,
            links=world.links,
            models=world.models,
            sink=world.sink,
            deadline=timing.deadline,
            person=self._reading,
            remembering=self._remembering,
            reaching=None
            if world.web is None
            else Reaching(world.web, role, template, fold.log_id, opened, pen.notes.knows),
            toolbox=world.toolbox,
            lore=self._lore,
            guarding=self._guarding,
            layouts=world.layouts,
            seen=world.inspections.begin(key, opened.turn),
            trace=self._trace,
        )

    async def answer(self) -> None:
        """Carry the turn out, make it durable, tell everybody. Raises what it failed with."""
        if self._trace is None:
            return await self._seen_through()
        within = jsonlog.TRACE.set((self._trace.trace_id.hex(), self._trace.root_id))
        try:
            await self._seen_through()
        finally:
            jsonlog.TRACE.reset(within)

    async def _seen_through(self) -> None:
        try:
            record, call = await self._answer()
        except BaseException as error:
            self._failed(error)
            raise
        try:
            self._told(record, call)
        finally:
            self._audience.end(self._running, None)
            self._world.snapshotting.after_turn(self._role.tenant.uid, self._key, self._fold)

    def interrupt(self, heard: HeardPart | None) -> bool:
        """The user hears no more of it: the turn ends as cancelled. False: its record is on its way already, or will
        never be."""
        if self._ran or self._fold.phase is not Phase.OPEN:
            return False
        self._run.interrupt(heard)
        return True

    def steer(self, message: str) -> bool:
        """The answer goes on with one more message known. False: no answer is being given that could."""
        return not self._ran and self._fold.phase is Phase.OPEN and self._run.steer(message)

    def leave_by(self, moment: float) -> None:
        """Its revision is left: the turn has until then, by the loop's clock."""
        before = self._timing.deadline
        if not self._ran and (before is None or moment < before):
            self._left = True
            self._limit.reschedule(moment)

    async def _answer(self) -> tuple[TurnRecord, TurnCall]:
        try:
            async with self._limit:
                call, commit = await self._run.run()
        except TimeoutError:
            raise (left_behind() if self._left else overdue()) from None
        finally:
            self._ran = True
        if self._run.seen is not None:
            self._run.seen.traced(hearsay.traces(commit.trace))
        self._reported = (len(commit.degraded), len(commit.transitions))
        try:
            unarmed = await self._armed()
            async with self._pen.held:
                if self._fold.phase is not Phase.OPEN:
                    raise Superseded("the session was lost in mid-turn")
                max_bytes = self._revision.spec.template.state.max_bytes
                base = self._check_shared(commit, max_bytes)
                self._remembering.check(commit)
                emitting.check(commit.emitted)
                record = self._fold.propose(
                    self._opened(),
                    Outcome(
                        reply="".join(self._run.reply),
                        finish_reason="stop" if self._cancelled else self._run.finish_reason,
                        patch=commit.patch,
                        user_patch=commit.user_patch,
                        user_base=base,
                        degraded=(
                            *hearsay.degradations(commit.degraded),
                            *self._run.degraded,
                            *unarmed,
                            *self._guard_failures(),
                        ),
                        journal=self._run.journal(),
                        usage=self._usage(),
                        model=self._run.model,
                        metrics=self._metrics(),
                        given_anew=self._running.again,
                        status="filtered" if self._run.filtered else "cancelled" if self._cancelled else "completed",
                        heard=self._run.heard,
                        urgent=commit.urgent,
                        transitions=hearsay.transitions(commit.transitions),
                        session_id=self._session_id,
                        atoms=commit.atoms,
                        forgotten=commit.forgotten,
                        confirmed=commit.confirmed,
                        tools=tuple(self._run.tools.used),
                        emitted=commit.emitted,
                        lore=tuple(self._lore.told.values()) if self._lore is not None else (),
                        lore_began=tuple(self._lore.began) if self._lore is not None else (),
                        decisions=self._guarding.decisions if self._guarding is not None else (),
                        schema=self._revision.spec.template.state.schema_version,
                        reset=self._resets,
                    ),
                    now_ms=self._world.now_ms(),
                    max_bytes=max_bytes,
                )
                record = await self._written(record)
                self._fold.committed()
                self._pen.notes.committed()
                record = self._shared(record)
                self._remembered(record)
        except BaseException as error:
            call.abort(outcome_of(error))
            raise
        return record, call

    async def _written(self, record: TurnRecord) -> TurnRecord:
        if self._trace is None:
            return await self._pen.write(self._fold, record)
        began, failed = monotonic(), ""
        try:
            return await self._pen.write(self._fold, record)
        except BaseException as error:
            failed = outcome_of(error)
            raise
        finally:
            self._trace.step("commit", began, monotonic(), error=failed)

    async def _armed(self) -> tuple[Degraded, ...]:
        """The session's timers are in the store before the turn that begins them. What it goes on without."""
        opened = self._running.opened
        if self._arming is None or opened.occasion is not None:
            return ()
        timers = self._world.links.timers(self._revision)
        return await self._arming.arm(self._revision.name, timers, opened.now_ms)

    @property
    def _cancelled(self) -> bool:
        """Of a message that was not let in there is no answer to cut short."""
        return self._run.interrupted and not self._run.filtered

    def _opened(self) -> OpenTurn:
        """The turn as it is kept: with what guards wrote into the message instead of what was there."""
        opened, message = self._running.opened, self._run.start.message
        if message == self._message:
            return opened
        return dataclasses.replace(opened, input=message + opened.input[len(self._message) :])

    def _guard_failures(self) -> list[Degraded]:
        return self._guarding.degraded if self._guarding is not None else []

    def _usage(self) -> Usage:
        """Of the answers, and of the questions about them."""
        return self._run.usage if self._guarding is None else summed(self._run.usage, self._guarding.usage)

    def _check_shared(self, commit: Commit, max_bytes: int) -> int:
        """The version of user-scope state that the turn had read. Raises InvalidPatch for a change that cannot be."""
        if commit.user_patch and self._reading is None:
            raise InvalidPatch("a pod changed user-scope state where no end user is named")
        if self._reading is None:
            return 0
        if commit.user_patch:
            self._reading.checked(commit.user_patch, max_bytes)
        return self._reading.base

    def _shared(self, record: TurnRecord) -> TurnRecord:
        """The record with the version that its change of user-scope state got."""
        shared = self._pen.shared
        if shared is None or self._reading is None or not record.user_patch:
            return record
        self._user_at = self._reading.changed(record, shared)
        if shared.overridden:
            self._world.sink.overridden(self._role.tenant.name, self._role.name, shared.overridden)
        return replace(record, user_version=shared.version)

    def _remembered(self, record: TurnRecord) -> None:
        if record.memory:
            self._world.memories.committed(self._key, record, self._pen.shared.memory if self._pen.shared else 0)
            self._world.memories.after_turn(self._key)

    def _told(self, record: TurnRecord, call: TurnCall) -> None:
        """The turn is durable. What its commit took is known only now, so replays lack that one number."""
        call.committed(record.version, self._user_at)
        metrics = replace(self._metrics(), commit_ms=self._since(self._timing.at) - record.metrics.total_ms)
        trace_id = self._traced(record.status)
        for event in render(replace(record, metrics=metrics), self._session_id, trace_id=trace_id):
            self._audience.broadcast(event)
        if record.patch:
            self._changed(record.version, record.urgent)
        if record.transitions:
            self._world.sink.transitions(self._role.tenant.name, self._role.name, len(record.transitions))
        if self._lore is not None and (self._lore.told or self._lore.left_out):
            told, left_out = len(self._lore.told), len(self._lore.left_out)
            self._world.sink.lore(self._role.tenant.name, self._role.name, told, left_out)
        for decision in record.decisions:
            self._world.sink.guard_decision(self._role.tenant.name, self._role.name, decision)
        self._count(record.status, metrics)

    def _count(self, outcome: str, metrics: Metrics) -> None:
        """As it is told to the client."""
        self._world.sink.turn(self._role.tenant.name, self._role.name, outcome, metrics)
        self._world.scores.turn(
            self._role,
            self._revision.name,
            outcome,
            metrics,
            key=self._key,
            assignment=self._assignment,
            asked=self._running.opened.occasion is None,
        )

    def _failed(self, cause: BaseException) -> None:
        """Nothing of the turn is in the log; the session is ready for its next one, and everybody is told."""
        self._pen.notes.given_up(self._fold, self._running.opened.turn)
        if self._fold.phase is Phase.OPEN:
            self._fold.give_up()
        error = _ours(cause)
        self._audience.end(self._running, error)
        metrics = self._metrics()
        trace_id = self._traced(outcome_of(error), outcome_of(error))
        self._audience.failed(self._running.opened, error, self._usage(), metrics, trace_id)
        self._count(outcome_of(error), metrics)

    def _traced(self, outcome: str, error: str = "") -> str:
        """The turn is over: its trace goes where traces go. Its id, where it is told."""
        if self._trace is None or self._world.tracer is None:
            return ""
        opened, first = self._running.opened, self._running.first_text_at
        found: list[tuple[str, spans.Value]] = [
            (spans.TENANT, self._role.tenant.name),
            (spans.ROLE, self._role.name),
            (spans.REVISION, opened.revision),
            (spans.CONVERSATION, session_of(self._key)),
            (spans.TURN, opened.turn),
            (spans.OUTCOME, outcome),
        ]
        if first is not None:
            found.append((spans.TTFT_MS, round(1000 * (first - self._timing.at), 3)))
        if opened.occasion is not None:
            found.append((spans.TIMER, True))
        if error:
            found.append((spans.CODE, error))
        for name, count in zip((spans.POD_DEGRADED, spans.POD_TRANSITIONS), self._reported, strict=True):
            if count:
                found.append((name, count))
        trace_id = self._world.tracer.end(self._trace, self._timing.at, monotonic(), tuple(found), error)
        if not trace_id:
            jsonlog.TRACE.set(None)
        return trace_id

    def _metrics(self) -> Metrics:
        first, accepted_at = self._running.first_text_at, self._timing.at
        return Metrics(
            queue_ms=round(1000 * (self._timing.began - accepted_at), 3),
            route_ms=round(1000 * self._run.clockings.route, 3),
            hooks_ms=round(1000 * self._run.clockings.hooks, 3),
            recall_ms=round(1000 * self._run.clockings.recall, 3),
            ttft_ms=None if first is None else round(1000 * (first - accepted_at), 3),
            total_ms=self._since(accepted_at),
            model_ms=round(1000 * self._run.clockings.model, 3),
        )

    @staticmethod
    def _since(moment: float) -> float:
        return round(1000 * (asyncio.get_running_loop().time() - moment), 3)


def _moment(fold: SessionFold, running: Running, revision: RevisionEntry) -> Moment:
    """The turn, as the lorebook's conditions ask for it."""
    opened = running.opened
    spoken = len(fold.told.past) if fold.told is not None else fold.turn + bool(greetings_of(revision))
    return Moment(opened.turn, opened.rng_seed, spoken, opened.greeting, fold.lore)


def overdue() -> Unavailable:
    return Unavailable(
        "the answer took longer than the message's deadline_ms",
        hint="Send it again, with more time or without a deadline",
        code="deadline_exceeded",
    )


def left_behind() -> Unavailable:
    return Unavailable(
        "the revision that was answering is given up, and the answer took too long", hint=AGAIN, code="revision_left"
    )


def _ours(cause: BaseException) -> RolehostError:
    """What clients are told. A bug's own words stay out of it and out of the log: they may quote anything."""
    if isinstance(cause, RolehostError):
        return cause
    if isinstance(cause, asyncio.CancelledError):
        return Unavailable("the gateway is stopping", hint=AGAIN, code="stopping")
    faults.internal(log, "answering a turn", cause)
    return RolehostError("the platform failed; the turn was not kept", retryable=True)

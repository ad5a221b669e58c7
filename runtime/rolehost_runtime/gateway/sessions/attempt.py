"""From a begun turn to its end: answered, or cut short by the user, and durable; or failed, as if it had never been."""

import asyncio
import logging
from collections.abc import Callable

from msgspec.structs import replace

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.link.messages import Commit, StartTurn
from rolehost_api.wire import HeardPart, Metrics
from rolehost_runtime.core.patch import InvalidPatch
from rolehost_runtime.core.record import TurnRecord, render
from rolehost_runtime.core.session import Outcome, Phase, SessionFold
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.ports import Superseded, TurnCall
from rolehost_runtime.gateway.sessions.audience import Audience, Running
from rolehost_runtime.gateway.sessions.metrics import outcome_of
from rolehost_runtime.gateway.sessions.pen import Pen
from rolehost_runtime.gateway.sessions.person import Person, Reading
from rolehost_runtime.gateway.sessions.turn import TurnRun
from rolehost_runtime.gateway.sessions.world import Timing, World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

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
    ) -> None:
        """`changed`: the state has this version now, and whether that is urgent."""
        self._changed = changed
        self._world, self._audience, self._pen = world, audience, pen
        self._key, self._session_id = key, session_id
        self._role, self._revision = role, revision
        self._fold, self._running = fold, running
        self._timing = timing
        self._ran = False
        """The pod has come to its commit, or failed: nothing of the turn changes any more."""
        self._reading = Reading(person) if person is not None else None
        self._user_at: str | None = None
        """The copy of user-scope state that the turn made; None: it changed none."""
        opened = running.opened
        start = StartTurn(
            session="",
            session_id=session_id,
            turn=opened.turn,
            version=fold.version,
            state=fold.state,
            message=opened.input,
            user=opened.user or "",
            now_ms=opened.now_ms,
            rng_seed=opened.rng_seed,
            deadline_ms=1000 * role.spec.sessions.turn_timeout_seconds,
        )
        self._run = TurnRun(
            role=role,
            revision=revision,
            session_key=key,
            start=start,
            past=fold.told or list(fold.past),
            emit=lambda text: audience.emit(running, text),
            tables=world.tables,
            links=world.links,
            models=world.models,
            sink=world.sink,
            person=self._reading,
        )

    async def answer(self) -> None:
        """Carry the turn out, make it durable, tell everybody. Raises what it failed with."""
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

    async def _answer(self) -> tuple[TurnRecord, TurnCall]:
        try:
            async with asyncio.timeout_at(self._timing.deadline):
                call, commit = await self._run.run()
        except TimeoutError:
            raise overdue() from None
        finally:
            self._ran = True
        try:
            async with self._pen.held:
                if self._fold.phase is not Phase.OPEN:
                    raise Superseded("the session was lost in mid-turn")
                max_bytes = self._revision.spec.template.state.max_bytes
                base = self._check_shared(commit, max_bytes)
                record = self._fold.propose(
                    self._running.opened,
                    Outcome(
                        reply="".join(self._run.reply),
                        finish_reason="stop" if self._run.interrupted else self._run.finish_reason,
                        patch=commit.patch,
                        user_patch=commit.user_patch,
                        user_base=base,
                        degraded=hearsay.degradations(commit.degraded),
                        journal=self._run.journal(),
                        usage=self._run.usage,
                        metrics=self._metrics(),
                        given_anew=self._running.again,
                        status="cancelled" if self._run.interrupted else "completed",
                        heard=self._run.heard,
                        urgent=commit.urgent,
                    ),
                    now_ms=self._world.now_ms(),
                    max_bytes=max_bytes,
                )
                record = await self._pen.write(self._fold, record)
                self._fold.committed()
                self._pen.notes.committed()
                record = self._shared(record)
        except BaseException as error:
            call.abort(outcome_of(error))
            raise
        return record, call

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
        if shared is None or self._reading is None:
            return record
        self._user_at = self._reading.changed(record, shared)
        if shared.overridden:
            self._world.sink.overridden(self._role.tenant.name, self._role.name, shared.overridden)
        return replace(record, user_version=shared.version)

    def _told(self, record: TurnRecord, call: TurnCall) -> None:
        """The turn is durable. What its commit took is known only now, so replays lack that one number."""
        call.committed(record.version, self._user_at)
        metrics = replace(self._metrics(), commit_ms=self._since(self._timing.at) - record.metrics.total_ms)
        for event in render(replace(record, metrics=metrics), self._session_id):
            self._audience.broadcast(event)
        if record.patch:
            self._changed(record.version, record.urgent)
        outcome = record.status if record.status == "cancelled" else outcome_of(None)
        self._world.sink.turn(self._role.tenant.name, self._role.name, outcome, metrics)

    def _failed(self, cause: BaseException) -> None:
        """Nothing of the turn is in the log; the session is ready for its next one, and everybody is told."""
        self._pen.notes.given_up(self._fold, self._running.opened.turn)
        if self._fold.phase is Phase.OPEN:
            self._fold.give_up()
        error = _ours(cause)
        self._audience.end(self._running, error)
        metrics = self._metrics()
        self._audience.failed(self._running.opened, error, self._run.usage, metrics)
        self._world.sink.turn(self._role.tenant.name, self._role.name, outcome_of(error), metrics)

    def _metrics(self) -> Metrics:
        first, accepted_at = self._running.first_text_at, self._timing.at
        return Metrics(
            queue_ms=round(1000 * (self._timing.began - accepted_at), 3),
            route_ms=round(1000 * self._run.clockings.route, 3),
            hooks_ms=round(1000 * self._run.clockings.hooks, 3),
            ttft_ms=None if first is None else round(1000 * (first - accepted_at), 3),
            total_ms=self._since(accepted_at),
        )

    @staticmethod
    def _since(moment: float) -> float:
        return round(1000 * (asyncio.get_running_loop().time() - moment), 3)


def overdue() -> Unavailable:
    return Unavailable(
        "the answer took longer than the message's deadline_ms",
        hint="Send it again, with more time or without a deadline",
        code="deadline_exceeded",
    )


def _ours(cause: BaseException) -> RolehostError:
    """What clients are told. A bug's own words stay out of it and out of the log: they may quote anything."""
    if isinstance(cause, RolehostError):
        return cause
    if isinstance(cause, asyncio.CancelledError):
        return Unavailable("the gateway is stopping", hint=AGAIN, code="stopping")
    faults.internal(log, "answering a turn", cause)
    return RolehostError("the platform failed; the turn was not kept", retryable=True)

"""From a begun turn to its end: answered and durable, or failed and as if it had never been."""

import asyncio
import logging

from msgspec.structs import replace

from rolehost_api.errors import Conflict, RolehostError, Unavailable
from rolehost_api.link.messages import StartTurn
from rolehost_api.wire import Metrics, ResponseDone, error_body
from rolehost_runtime.core.record import TurnRecord, render
from rolehost_runtime.core.session import Outcome, Phase, SessionFold
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.link import hearsay
from rolehost_runtime.gateway.ports import TurnCall
from rolehost_runtime.gateway.sessions.audience import Audience, Running
from rolehost_runtime.gateway.sessions.metrics import outcome_of
from rolehost_runtime.gateway.sessions.remembered import Remembered
from rolehost_runtime.gateway.sessions.turn import TurnRun
from rolehost_runtime.gateway.sessions.world import Accepted, World
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

log = logging.getLogger(__name__)

AGAIN = "Send the message again, with the same client_msg_id: what was kept after all is not answered twice"


class Attempt:
    """One turn of one session. `accepted` is when its message came, `began` when its turn in line came."""

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
        accepted: Accepted,
        began: float,
        remembered: Remembered,
    ) -> None:
        self._world, self._audience = world, audience
        self._key, self._session_id = key, session_id
        self._role, self._revision = role, revision
        self._fold, self._running = fold, running
        self._accepted, self._began = accepted, began
        self._remembered = remembered
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
            past=list(fold.past),
            emit=lambda text: audience.emit(running, text),
            tables=world.tables,
            links=world.links,
            models=world.models,
            sink=world.sink,
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

    async def _answer(self) -> tuple[TurnRecord, TurnCall]:
        try:
            async with asyncio.timeout_at(self._accepted.deadline):
                call, commit = await self._run.run()
        except TimeoutError:
            raise Unavailable(
                "the answer took longer than the message's deadline_ms", code="deadline_exceeded"
            ) from None
        try:
            record = self._fold.propose(
                self._running.opened,
                Outcome(
                    reply="".join(self._run.reply),
                    patch=commit.patch,
                    degraded=hearsay.degradations(commit.degraded),
                    journal=self._run.journal(),
                    usage=self._run.usage,
                    metrics=self._metrics(),
                ),
                now_ms=self._world.now_ms(),
                max_bytes=self._revision.spec.template.state.max_bytes,
            )
            record = await self._commit(record)
        except BaseException as error:
            call.abort(outcome_of(error))
            raise
        return record, call

    async def _commit(self, record: TurnRecord) -> TurnRecord:
        """Durable, or lost. A commit without an answer is sent again as it is: its text was streamed already, and
        the store takes the same record once. A store that went back in time is mended first, once."""
        pauses, mended = iter(self._world.commit_pauses), False
        try:
            while True:
                try:
                    await self._world.store.commit(self._key, record)
                    break
                except Conflict as refusal:
                    if mended:
                        raise
                    record, mended = await self._remembered.refence(self._fold, refusal), True
                except Unavailable as away:
                    pause = next(pauses, None)
                    if pause is None or not away.retryable:
                        raise
                    await asyncio.sleep(pause)
        except BaseException:
            self._fold.lose()  # fenced, or nobody knows whether it went through: the log is read again
            raise
        self._fold.committed()
        self._remembered.committed(record)
        return record

    def _told(self, record: TurnRecord, call: TurnCall) -> None:
        """The turn is durable. What its commit took is known only now, so replays lack that one number."""
        call.committed(record.version)
        metrics = replace(self._metrics(), commit_ms=self._since(self._accepted.at) - record.metrics.total_ms)
        for event in render(replace(record, metrics=metrics), self._session_id):
            self._audience.broadcast(event)
        self._world.sink.turn(self._role.tenant.name, self._role.name, outcome_of(None), metrics)

    def _failed(self, cause: BaseException) -> None:
        """Nothing of the turn is in the log; the session is ready for its next one, and everybody is told."""
        if self._fold.phase is Phase.OPEN:
            self._fold.give_up()
        error = _ours(cause)
        self._audience.end(self._running, error)
        opened, metrics = self._running.opened, self._metrics()
        self._audience.broadcast(
            ResponseDone(
                session_id=self._session_id,
                seq=None,
                ts=self._world.now_ms(),
                response_id=opened.response_id,
                status="failed",
                message="",
                client_msg_id=opened.client_msg_id,
                revision=opened.revision,
                usage=self._run.usage,
                metrics=metrics,
                error=error_body(error),
            )
        )
        self._world.sink.turn(self._role.tenant.name, self._role.name, outcome_of(error), metrics)

    def _metrics(self) -> Metrics:
        first, accepted_at = self._running.first_text_at, self._accepted.at
        return Metrics(
            queue_ms=round(1000 * (self._began - accepted_at), 3),
            route_ms=round(1000 * self._run.clockings.route, 3),
            hooks_ms=round(1000 * self._run.clockings.hooks, 3),
            ttft_ms=None if first is None else round(1000 * (first - accepted_at), 3),
            total_ms=self._since(accepted_at),
        )

    @staticmethod
    def _since(moment: float) -> float:
        return round(1000 * (asyncio.get_running_loop().time() - moment), 3)


def _ours(cause: BaseException) -> RolehostError:
    """What clients are told. A bug's own words stay out of it and out of the log: they may quote anything."""
    if isinstance(cause, RolehostError):
        return cause
    if isinstance(cause, asyncio.CancelledError):
        return Unavailable("the gateway is stopping", hint=AGAIN, code="stopping")
    faults.internal(log, "answering a turn", cause)
    return RolehostError("the platform failed; the turn was not kept", retryable=True)

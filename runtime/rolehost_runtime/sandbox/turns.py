"""Open turns: their journals, their deadlines, and the workers that run them step by step."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from rolehost_api.link.messages import CallModel, Commit, ModelResult, Say, StartTurn, TurnFailed
from rolehost_runtime.core.journal import Entry, Stop, entry
from rolehost_runtime.sandbox.pool import Pool
from rolehost_runtime.sandbox.processes import NoWorkers, Worker, WorkerLost
from rolehost_runtime.sandbox.steps import Entering, Missing, Out, Step, Stepped

MAX_KILLS = 2
"""Workers that one turn may cost; then it fails."""


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that is neither committed nor failed. Enough is kept to run it again from the start."""

    key: int
    owner: object
    """The link and its name for the session, for the log."""
    start: StartTurn
    """Without its state, which is kept encoded."""
    state: bytes
    journal: list[Entry] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    holder: Worker | None = None
    """Where the turn is suspended."""
    kills: int = 0
    spent: float = 0.0
    """Seconds in hooks and in the queue; time in the model is not among them."""

    @property
    def left(self) -> float:
        return self.start.deadline_ms / 1000 - self.spent

    def waiting_for(self) -> int | None:
        """Index of the question that has no answer yet."""
        last = len(self.journal) - 1
        pending = last >= 0 and self.journal[last].kind == "call_model" and self.journal[last].result is None
        return last if pending else None

    def answered(self, result: ModelResult) -> None:
        self.journal[result.index] = Entry("call_model", self.journal[result.index].mark, result)


class Turns:
    """Runs steps of open turns on the pool, and again where a worker was lost."""

    def __init__(self, pool: Pool, *, hook_seconds: float) -> None:
        self._pool = pool
        self._hook_seconds = hook_seconds

    async def begin(self, turn: OpenTurn) -> Sequence[Out]:
        return await self._timed(turn, None)

    async def resume(self, turn: OpenTurn, result: ModelResult) -> Sequence[Out]:
        turn.answered(result)
        return await self._timed(turn, result)

    def end(self, turn: OpenTurn) -> None:
        """Nobody goes on with this turn."""
        if turn.holder is not None:
            turn.holder.forget(turn.key)
            turn.holder = None

    async def _timed(self, turn: OpenTurn, result: ModelResult | None) -> Sequence[Out]:
        """The effects of one step; the turn's last one is Commit or TurnFailed."""
        loop = asyncio.get_running_loop()
        while True:
            if turn.left <= 0:
                return [TurnFailed(code="turn_deadline")]
            began = loop.time()
            try:
                async with asyncio.timeout(turn.left):
                    worker = await self._pool.acquire(turn.holder)
                if not worker.alive:
                    continue  # it died on its way here
                said = await self._on(worker, turn, result)
            except TimeoutError:
                return [TurnFailed(code="turn_deadline")]
            except NoWorkers as error:
                return [TurnFailed(code=error.code)]
            except WorkerLost as lost:
                turn.holder = None
                if failed := self._after_loss(turn, lost, loop.time() - began):
                    return [failed]
                continue
            finally:
                turn.spent += loop.time() - began
            if isinstance(said, Missing):
                turn.holder = None
                continue
            return self._accept(turn, worker, said)

    async def _on(self, worker: Worker, turn: OpenTurn, result: ModelResult | None) -> Stepped | Missing:
        if turn.holder is worker and result is not None:
            step = Step(turn=turn.key, result=result)
        else:
            if turn.holder is not None:
                turn.holder.forget(turn.key)
            step = Step(
                turn=turn.key,
                start=turn.start,
                state=turn.state,
                journal=tuple(turn.journal),
                stops=tuple(turn.stops),
            )
            turn.holder = worker
        return await worker.run(step, turn.owner, wall=self._hook_seconds, left=turn.left)

    def _after_loss(self, turn: OpenTurn, lost: WorkerLost, lasted: float) -> TurnFailed | None:
        turn.kills += 1
        entered: Entering | None = lost.entered
        hook = entered.hook if entered else ""
        if lost.code == "hook_deadline" and turn.left - lasted <= 0:
            return TurnFailed(code="turn_deadline", hook=hook)
        if turn.kills >= MAX_KILLS:
            return TurnFailed(code="logic_unavailable", hook=hook)
        if entered:
            turn.stops.append(Stop(entered.run, len(turn.journal), lost.code))
        return None

    def _accept(self, turn: OpenTurn, worker: Worker, said: Stepped) -> Sequence[Out]:
        """What a worker says decides nothing: a step that no engine makes ends the worker and the turn."""
        *first, last = said.out or (None,)
        whole = isinstance(last, CallModel | Commit | TurnFailed) and all(isinstance(one, Say) for one in first)
        effects = [one for one in said.out if isinstance(one, Say | CallModel)]
        if not whole or [one.index for one in effects] != [*range(len(turn.journal), len(turn.journal) + len(effects))]:
            worker.kill("hook_died")
            return [TurnFailed(code="logic_unavailable")]
        turn.journal += (entry(one) for one in effects)
        if not isinstance(last, CallModel):
            turn.holder = None
        return said.out

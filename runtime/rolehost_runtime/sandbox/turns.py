"""Open turns: their journals, their deadlines, and the workers that run them step by step."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from rolehost_api.link.messages import (
    Commit,
    Question,
    QuestionAnswer,
    Say,
    StartTurn,
    TurnFailed,
)
from rolehost_runtime.core.journal import Entry, Stop, entry
from rolehost_runtime.sandbox.pool import Pool
from rolehost_runtime.sandbox.processes import NoWorkers, Worker, WorkerLost
from rolehost_runtime.sandbox.quarantine import Quarantine
from rolehost_runtime.sandbox.steps import Missing, Out, Step, Stepped

MAX_KILLS = 2
"""Workers that the hooks of one turn may cost for certain; then it fails."""


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that is neither committed nor failed. Enough is kept to run it again from the start."""

    key: int
    owner: str
    """The client's word for the session, for the log."""
    start: StartTurn
    """Without its state, which is kept encoded."""
    state: bytes
    user_state: bytes | None = None
    """None: none is shared."""
    journal: list[Entry] = field(default_factory=list)
    stops: list[Stop] = field(default_factory=list)
    holder: Worker | None = None
    """Where the turn is suspended."""
    doubted: bool = False
    """A worker died in one of its hooks, which another session may have brought about before. Alone it will show."""
    losses: int = 0
    kills: int = 0
    """Of the losses those that nobody else can be blamed for."""
    deaf: bool = False
    """Its `on_delta` cost a worker."""
    spent: float = 0.0
    """Seconds in hooks and in the queue; time in the model is not among them."""

    @property
    def left(self) -> float:
        return self.start.deadline_ms / 1000 - self.spent

    def waiting_for(self) -> int | None:
        """Index of the question that has no answer yet."""
        last = len(self.journal) - 1
        pending = last >= 0 and self.journal[last].kind != "say" and self.journal[last].result is None
        return last if pending else None

    def answered(self, result: QuestionAnswer) -> None:
        self.journal[result.index] = replace(self.journal[result.index], result=result)


class Turns:
    """Runs steps of open turns on the pool, and again where a worker was lost.

    A turn may run apart, on a worker forked for one step of it and then ended: where its
    session has cost the others workers before, or to find out whether it does.
    """

    def __init__(self, pool: Pool, *, hook_seconds: float) -> None:
        self._pool = pool
        self._hook_seconds = hook_seconds
        self._quarantine = Quarantine()

    async def begin(self, turn: OpenTurn) -> Sequence[Out]:
        return await self._timed(turn, None)

    async def resume(self, turn: OpenTurn, result: QuestionAnswer) -> Sequence[Out]:
        turn.answered(result)
        return await self._timed(turn, result)

    async def notice(self, turn: OpenTurn, text: str) -> bool:
        """Show the hooks more of the answer that the turn waits for; True: they want no more of it. Nothing where the
        turn is suspended nowhere, as it is where its session runs apart.

        Where that costs the worker, the hook is not called any more in this turn, which runs again by its journal.
        """
        if turn.holder is None or turn.deaf or turn.left <= 0:
            return False
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout(turn.left):
                worker = await self._pool.acquire(turn.holder)
            step = Step(turn=turn.key, delta=text)
            said = await worker.run(step, turn.owner, wall=self._hook_seconds, left=turn.left)
        except (TimeoutError, NoWorkers):
            return False
        except WorkerLost as lost:
            turn.holder, turn.deaf = None, True
            turn.losses += 1
            self._pool.printed("log", f"(on_delta was ended: {lost.code}. The turn goes on without it.)", turn.owner)
            return False
        finally:
            turn.spent += loop.time() - began
        return isinstance(said, Stepped) and said.stop

    def end(self, turn: OpenTurn) -> None:
        """Nobody goes on with this turn."""
        self._let_go(turn)

    async def _timed(self, turn: OpenTurn, result: QuestionAnswer | None) -> Sequence[Out]:
        """The effects of one step; the turn's last one is Commit or TurnFailed."""
        loop = asyncio.get_running_loop()
        while True:
            if turn.left <= 0:
                return [TurnFailed(code="turn_deadline")]
            began = loop.time()
            try:
                worker = await self._worker(turn)
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
            if isinstance(said, Stepped):
                return self._accept(turn, worker, said)
            turn.holder = None

    async def _worker(self, turn: OpenTurn) -> Worker:
        """Raises TimeoutError where the turn's time ends first, or NoWorkers."""
        apart = turn.doubted or self._quarantine.holds(turn.start.session, asyncio.get_running_loop().time())
        async with asyncio.timeout(turn.left):
            return await (self._pool.acquire_apart() if apart else self._pool.acquire(turn.holder))

    async def _on(self, worker: Worker, turn: OpenTurn, result: QuestionAnswer | None) -> Stepped | Missing | None:
        """What the worker says; None: it died on its way here. Raises WorkerLost."""
        try:
            if not worker.alive:
                return None
            step = self._step(worker, turn, result)
            return await worker.run(step, turn.owner, wall=self._hook_seconds, left=turn.left)
        finally:
            if worker.apart:
                turn.holder = None
                self._pool.part(worker)

    def _step(self, worker: Worker, turn: OpenTurn, result: QuestionAnswer | None) -> Step:
        """On from where the worker holds the turn, else from its start by the journal."""
        if turn.holder is worker and result is not None:
            return Step(turn=turn.key, result=result)
        self._let_go(turn)
        turn.holder = worker
        return Step(
            turn=turn.key, start=turn.start, state=turn.state, user_state=turn.user_state,
            journal=tuple(turn.journal), stops=tuple(turn.stops),
        )  # fmt: skip

    def _let_go(self, turn: OpenTurn) -> None:
        if turn.holder is not None:
            turn.holder.forget(turn.key)
            turn.holder = None

    def _after_loss(self, turn: OpenTurn, lost: WorkerLost, lasted: float) -> TurnFailed | None:
        """Why the turn fails now, or None: it is run again, without the hook that is to blame."""
        entered = lost.entered
        hook = entered.hook if entered else ""
        if lost.code == "template_died":
            return None
        self._quarantine.lost(turn.start.session, asyncio.get_running_loop().time())
        turn.losses += 1
        if lost.code == "hook_died" and not turn.doubted:
            turn.doubted = True
            return None
        turn.kills += 1
        if lost.code == "hook_deadline" and turn.left - lasted <= 0:
            return TurnFailed(code="turn_deadline", hook=hook)
        if turn.kills >= MAX_KILLS:
            return TurnFailed(code="logic_unavailable", hook=hook)
        if entered:
            turn.stops.append(Stop(entered.run, len(turn.journal), lost.code))
            self._pool.printed("log", f"({hook} was ended: {lost.code}. The turn runs again without it.)", turn.owner)
        return None

    def _accept(self, turn: OpenTurn, worker: Worker, said: Stepped) -> Sequence[Out]:
        """What a worker says decides nothing: a step that no engine makes ends the worker and the turn."""
        *first, last = said.out or (None,)
        whole = isinstance(last, Question | Commit | TurnFailed) and all(isinstance(one, Say) for one in first)
        effects = [one for one in said.out if isinstance(one, Say | Question)]
        if not whole or [one.index for one in effects] != [*range(len(turn.journal), len(turn.journal) + len(effects))]:
            worker.kill("hook_died")
            return [TurnFailed(code="logic_unavailable")]
        turn.journal += (entry(one) for one in effects)
        if not isinstance(last, Question):
            turn.holder = None
            if not turn.losses:
                self._quarantine.ended_well(turn.start.session)
        return said.out

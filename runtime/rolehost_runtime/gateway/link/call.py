"""One turn on a link, as the session service drives it. Implements ports.TurnCall."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import (
    Abort,
    Commit,
    Committed,
    Delta,
    Message,
    NeedState,
    Noticed,
    Question,
    QuestionAnswer,
    Say,
    StartTurn,
    StateGiven,
    TurnFailed,
)
from rolehost_api.link.tools import ToolSpec
from rolehost_runtime.gateway.link.rules import TurnRules, TurnStage

SILENT_SECONDS = 5.0
"""Without a byte from a pod that was given a turn: it is the pod that is stuck, not one turn's hooks."""

Heard = Say | Question | Commit | TurnFailed


class Wire(Protocol):
    """What a call needs of the link that it runs on."""

    closed: bool
    bytes_in: int

    def send(self, channel: int, message: Message) -> None: ...

    def worked(self, size: int) -> None: ...

    @property
    def tools(self) -> Sequence[ToolSpec]: ...

    def holds(self, ref: str, version: int) -> None: ...

    def shares(self, ref: str, at: str) -> None: ...

    def forget(self, call: "Call", *, in_flight: bool) -> None: ...

    @property
    def deltas(self) -> bool: ...

    def close(self) -> None: ...


class Call:
    """Messages wait here until the session takes them, and only then are they paid back in
    credit, so a pod that talks too much runs dry instead of filling our memory."""

    def __init__(self, link: Wire, channel: int, start: StartTurn, *, state_left_out: bool) -> None:
        self._link = link
        self._start = start
        self.channel = channel
        self.rules = TurnRules(state_left_out=state_left_out)
        self._heard: deque[tuple[Heard, int]] = deque()
        self._rung = asyncio.Event()
        self._noticed: Callable[[bool], None] = lambda stop: None
        self._over = False

    def receive(self, message: Heard | NeedState | Noticed, size: int) -> None:
        """The link heard something for this turn. Raises ProtocolViolation."""
        self.rules.heard(message)
        if isinstance(message, Noticed):
            self._link.worked(size)
            self._noticed(message.stop)
            return
        if isinstance(message, NeedState):
            self._link.worked(size)
            start = self._start
            self._link.send(
                self.channel,
                StateGiven(version=start.version, state=start.state or {}, user_state=start.user_state),
            )
            return
        self._heard.append((message, size))
        self._rung.set()

    @property
    def deltas(self) -> bool:
        """The pod's logic wants to see answers while they are given."""
        return self._link.deltas and not self._link.closed

    def notice(self, index: int, text: str, noticed: Callable[[bool], None]) -> None:
        """Show the pod more of the answer that it waits for; `noticed` is told whether it wants no more of it. Never
        called where the pod, or the question, is gone."""
        if self._over or self._link.closed or self.rules.stage is not TurnStage.ASKING:
            return
        self.rules.shown(index)
        self._noticed = noticed
        self._link.send(self.channel, Delta(index=index, text=text))

    def lose(self) -> None:
        """The link is gone; what was heard already is still given out."""
        self._rung.set()

    async def next(self, timeout_seconds: float) -> Heard:
        """What the pod asks for next. Raises Unavailable: `pod_lost`, or `turn_timeout` where it is silent."""
        if not self._heard and not self._link.closed:
            self._rung.clear()
            bytes_before = self._link.bytes_in
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._rung.wait()
            except TimeoutError:
                if timeout_seconds >= SILENT_SECONDS and self._link.bytes_in == bytes_before:
                    self._link.close()
                raise Unavailable("the Role's hooks took longer than the turn may", code="turn_timeout") from None
        if not self._heard:
            raise Unavailable("the Role's pod was lost in mid-turn", code="pod_lost")
        message, size = self._heard.popleft()
        self._link.worked(size)
        return message

    @property
    def tools(self) -> Sequence[ToolSpec]:
        return self._link.tools

    def answer(self, result: QuestionAnswer) -> None:
        """The outcome of the question that `next` gave last; not needed where the pod gave the turn up meanwhile."""
        if self.rules.stage is TurnStage.ENDED:
            return
        self.rules.answered(result.index)
        self._link.send(self.channel, result)

    def committed(self, version: int, user_at: str | None = None) -> None:
        self._end()
        self._link.holds(self._start.session, version)
        if user_at is not None:
            self._link.shares(self._start.user_ref, user_at)
        self._link.send(self.channel, Committed(version=version, user_at=user_at or ""))

    def abort(self, code: str) -> None:
        if self._over:
            return
        ended = self.rules.stage is TurnStage.ENDED
        self._end(in_flight=not ended)
        self._link.send(self.channel, Abort(code=code))

    def _end(self, *, in_flight: bool = False) -> None:
        self._over = True
        for _, size in self._heard:
            self._link.worked(size)
        self._heard.clear()
        self._link.forget(self, in_flight=in_flight)

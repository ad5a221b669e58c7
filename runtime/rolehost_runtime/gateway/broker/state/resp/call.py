"""One command on its way, and what is expected back on a connection."""

from __future__ import annotations

from asyncio import Future
from collections.abc import Callable
from typing import Any, Protocol, cast

from hiredis import pack_command

from rolehost_runtime.gateway.broker.state.resp.refusals import NOT_REPLICATED, Refusal

Word = str | bytes | int | float
pack = cast(Callable[[tuple[Word, ...]], bytes], pack_command)
"""A command as it goes over the wire; its own annotation allows for one word only."""


class Desk(Protocol):
    """Where calls come from and go back to: the client."""

    def finished(self, call: Call, reply: Any) -> None: ...

    def refused(self, call: Call, refusal: Refusal) -> None: ...

    def lost(self, call: Call) -> None:
        """The connection broke before the answer: it was carried out, or not."""

    def hopeless(self, call: Call, refusal: Refusal) -> None:
        """No connection can be made, for a reason that stays."""


class Call:
    """A command with its place in the line, its deadline and its future. It may be sent more than once."""

    __slots__ = (
        "asking",
        "deadline",
        "desk",
        "done",
        "durable",
        "key",
        "lane",
        "line",
        "losses",
        "over",
        "packed",
        "pinned",
        "script",
        "trouble",
        "words",
    )

    def __init__(
        self, desk: Desk, words: tuple[Word, ...], packed: bytes, done: Future[Any], deadline: float, key: bytes
    ) -> None:
        self.desk, self.words, self.packed = desk, words, packed
        self.done, self.deadline, self.key = done, deadline, key
        self.lane = 0
        self.line: bytes | None = None
        """The line that this call is the first of: the next one goes when it is over."""
        self.durable = False
        """Its answer waits until the replicas have it."""
        self.script = ""
        """The source, where the command is EVALSHA."""
        self.pinned: Any = None
        """The node that it is for, whichever has its key."""
        self.asking = False
        self.losses = 0
        self.over = False
        self.trouble: Refusal | None = None
        """What it was last refused with, for whoever is told that it took too long."""

    def answered(self, reply: Any) -> None:
        if reply.__class__ is Refusal:
            self.desk.refused(self, reply)
        else:
            self.desk.finished(self, reply)

    def lost(self) -> None:
        self.desk.lost(self)


class Expected(Protocol):
    """Whoever gets the next answer of a connection."""

    def answered(self, reply: Any) -> None: ...

    def lost(self) -> None: ...


class Ignored:
    """An answer that nobody needs, as ASKING's."""

    def answered(self, reply: Any) -> None:
        pass

    def lost(self) -> None:
        pass


class Barrier:
    """One WAIT behind the writes of one tick: what they were answered is passed on when enough replicas have them."""

    __slots__ = ("_held", "_replicas")

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas
        self._held: list[tuple[Call, Any]] = []

    def hold(self, call: Call, reply: Any) -> None:
        self._held.append((call, reply))

    def answered(self, reply: Any) -> None:
        enough = isinstance(reply, int) and reply >= self._replicas
        for call, answer in self._held:
            call.answered(answer if enough else NOT_REPLICATED)

    def lost(self) -> None:
        for call, _ in self._held:
            call.lost()


class Held:
    """A write that waits for its tick's barrier. What was refused was not written, and waits for nothing."""

    __slots__ = ("_barrier", "_call")

    def __init__(self, call: Call, barrier: Barrier) -> None:
        self._call, self._barrier = call, barrier

    def answered(self, reply: Any) -> None:
        if reply.__class__ is Refusal:
            self._call.answered(reply)
        else:
            self._barrier.hold(self._call, reply)

    def lost(self) -> None:
        self._call.lost()

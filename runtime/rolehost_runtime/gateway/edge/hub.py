"""Every open socket, stream and waiting question, and every running turn of this process, for what concerns them all."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, Protocol

from rolehost_api.errors import RolehostError, Unauthorized
from rolehost_runtime.gateway.edge.tokens import expired
from rolehost_runtime.gateway.edge.wheel import Wheel
from rolehost_runtime.gateway.tables import KeyEntry, Table

SERVICE_RESTART = 1012
MOVED = "the gateway restarts; connect again"
_CHANGED = Unauthorized("what this key may do was changed", hint="Connect again", code="key_changed", retryable=True)


class Live(Protocol):
    """An open socket, or an answer over HTTP that is not over yet."""

    key_sha256: str
    """Of its key, or of the one that issued its token."""

    def refuse(self, error: RolehostError) -> None:
        """Say why, then close with the error's close code."""

    def migrate(self) -> None:
        """Ask the client to come again elsewhere, when nothing of its runs any more; until then it is served."""

    def close(self, code: int, reason: str = "") -> None: ...


def spread(sockets: int, most: float) -> float:
    """Seconds over which so many sockets are asked to move: 50 a second, but never longer than `most`.

    >>> spread(1, 60), spread(500, 60), spread(20_000, 60)
    (0.02, 10.0, 60)
    """
    return min(most, sockets / 50)


class Hub:
    def __init__(self, keys: Table[KeyEntry]) -> None:
        self._by_key: defaultdict[str, set[Live]] = defaultdict(set)
        self._keys = keys
        self._ends: dict[Live, asyncio.TimerHandle] = {}
        """When tokens expire, of those who came with one."""
        self._work: set[asyncio.Task[None]] = set()
        self.wheel = Wheel()
        """Rings sockets when it is time to ask whether their clients are still there."""
        self.draining = False
        self.sockets = 0
        """Let in, by their key; streams and waiting questions are counted with them."""
        self.connections = 0
        """WebSockets, and those that are still being turned away. Connections of HTTP are counted by its server."""
        keys.listen(self._key_changed)

    def add(self, socket: Live, seconds: float | None) -> None:
        """`seconds`: until its token is not accepted any more; None where it has none."""
        self._by_key[socket.key_sha256].add(socket)
        self.sockets += 1
        if seconds is not None:
            self._ends[socket] = asyncio.get_running_loop().call_later(seconds, self._token_over, socket)

    def remove(self, socket: Live) -> None:
        held = self._by_key.get(socket.key_sha256, set())
        if socket in held:
            held.remove(socket)
            self.sockets -= 1
            if (end := self._ends.pop(socket, None)) is not None:
                end.cancel()
            if not held:
                del self._by_key[socket.key_sha256]

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run work that outlives its socket, and that a stop waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return task

    async def drain(self, over: float, seconds: float) -> None:
        """No new sockets; ask those that are there to move, one after the other, in a random order, over at most
        `over` seconds; then wait for turns that still run for at most `seconds`, and close what is left."""
        self.draining = True
        sockets = self._sockets()
        random.shuffle(sockets)
        pause = spread(len(sockets), over) / max(1, len(sockets))
        for socket in sockets:
            socket.migrate()
            await asyncio.sleep(pause)
        if self._work:
            await asyncio.wait(tuple(self._work), timeout=seconds)
        for socket in self._sockets():
            socket.close(SERVICE_RESTART, MOVED)

    def _sockets(self) -> list[Live]:
        return [socket for sockets in self._by_key.values() for socket in sockets]

    @staticmethod
    def _token_over(socket: Live) -> None:
        socket.refuse(expired())

    def _key_changed(self, row: tuple[str, ...]) -> None:
        (sha256,) = row
        gone = self._keys.get(sha256) is None
        why = Unauthorized("the key was revoked", code="key_revoked") if gone else _CHANGED
        for socket in tuple(self._by_key.get(sha256, ())):
            socket.refuse(why)

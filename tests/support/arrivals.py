"""People who come one after the other, each a user of their own with a session of their own, and stay.

Each says a few things in a row, then something now and then until the end, on one socket. What is not answered is said
again with the same id. The logic that they talk to counts turns in its state, so what everybody was told proves by
itself that no turn was lost and none counted twice, whatever became of the revision that began the session.
"""

import asyncio
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

LOGIC = """
import time
from rolehost import Role, State, Turn

class Count(State):
    turns: int = 0

{role} = Role("{role}", state=Count)

@{role}.on_message(required=True)
async def answer(t: Turn[Count]) -> None:
    user = int(t.user.rpartition("-")[2]) if t.user else 0
    first = t.state.turns == 0
{fault}
    t.state.turns += 1
    await t.reply(f"{word} {{t.state.turns}}")
"""
EAGER = 6
"""Turns that somebody takes in a row: more than are scored."""


def logic(role: str, word: str, fault: str = "pass") -> str:
    """Logic that answers "<word> <turns>"; `fault` is a statement that runs first and knows `user` and `first`."""
    return LOGIC.format(role=role, word=word, fault=f"    {fault}")


@dataclass
class Visit:
    session_id: str
    user: str
    answers: list[tuple[str, int]] = field(default_factory=list)
    """Word and number of each answer, as told."""
    errors: Counter[str] = field(default_factory=Counter)
    moves: list[dict[str, Any]] = field(default_factory=list)
    """Frames role.revision."""
    cut: int = 0
    """Times that the socket ended, however."""
    answered_at: float = 0.0
    slowest: float = 0.0

    @property
    def first_word(self) -> str:
        return self.answers[0][0] if self.answers else ""


class Arrivals:
    """`with Arrivals(host, key, "cat", per_second=4) as people: …`; then `people.check()`."""

    def __init__(
        self, host: str, key: str, role: str, *, run: str, per_second: float = 4.0, most: int = 400, pause: float = 2.0
    ) -> None:
        self._url, self._key, self._run, self._role = f"ws://{host}/role/{role}", key, run, role
        self._per_second, self._most, self._pause = per_second, most, pause
        self.visits: list[Visit] = []
        self.coming = True
        """Whether somebody new still comes."""
        self._stop = threading.Event()
        self._broken: list[BaseException] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._go()), name=f"arrivals-{role}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def summary(self) -> dict[str, Any]:
        """Counts to print and to keep. Raises what ended the talking, if anything did."""
        if self._broken:
            raise self._broken[0]
        return {
            "visits": len(self.visits),
            "turns": sum(len(one.answers) for one in self.visits),
            "began on": dict(Counter(one.first_word for one in self.visits)),
            "moved": sum(bool(one.moves) for one in self.visits),
            "cut": sum(one.cut for one in self.visits),
            "errors": dict(sum((one.errors for one in self.visits), Counter())),
            "slowest": round(max((one.slowest for one in self.visits), default=0.0), 2),
        }

    def check(self) -> dict[str, Any]:
        """Nobody's socket ended and nobody's turn is missing or counted twice; the summary."""
        summary = self.summary()
        assert summary["cut"] == 0, summary
        for one in self.visits:
            numbers = [number for _, number in one.answers]
            assert numbers == list(range(1, len(numbers) + 1)), (one.session_id, one.answers, one.moves)
        return summary

    # ── talking ─────────────────────────────────────────────────────────────────────

    async def _go(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while not self._stop.is_set():
                    if self.coming and len(self.visits) < self._most:
                        name = f"{self._run}-{len(self.visits)}"
                        visit = Visit(f"s-{self._role}-{name}", f"u-{name}")
                        self.visits.append(visit)
                        group.create_task(self._visit(visit))
                    await asyncio.sleep(1 / self._per_second)
        except BaseException as error:
            self._broken.append(error)

    async def _visit(self, visit: Visit) -> None:
        since = 0.0
        while not self._stop.is_set():
            try:
                async with connect(
                    self._url,
                    additional_headers={"Authorization": f"Bearer {self._key}"},
                    subprotocols=[Subprotocol("role.v1")],
                    compression=None,
                    proxy=None,
                    open_timeout=20,
                ) as socket:
                    while not self._stop.is_set():
                        since = since or time.monotonic()
                        if await self._say(socket, visit):
                            visit.slowest = max(visit.slowest, time.monotonic() - since)
                            since = 0.0
                        eager = len(visit.answers) < EAGER and not visit.errors
                        await asyncio.sleep(0.1 if eager else self._pause)
            except (ConnectionClosed, OSError, TimeoutError, InvalidHandshake):
                visit.cut += not self._stop.is_set()
                await asyncio.sleep(0.2)

    async def _say(self, socket: ClientConnection, visit: Visit) -> bool:
        """Whether it was answered."""
        own = f"m{len(visit.answers) + 1}"
        frame = {"message": own, "session_id": visit.session_id, "user": visit.user, "client_msg_id": own}
        await socket.send(json.dumps(frame))
        while True:
            async with asyncio.timeout(60):
                heard = json.loads(await socket.recv())
            if heard.get("type") == "role.revision":
                visit.moves.append(heard)
            elif heard.get("error"):
                visit.errors[heard["error"]["code"]] += 1
                return False
            elif heard.get("done") and heard["client_msg_id"] == own:
                word, _, number = heard["message"].rpartition(" ")
                visit.answers.append((word, int(number)))
                visit.answered_at = time.monotonic()
                return True

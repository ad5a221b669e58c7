"""People who talk all the time while things are broken, and what each was told: the ledger that the log must bear out.

A talker sends a numbered message with an id of its own, and the same one again until it is
answered. Whoever was answered must be in the log, once, in order, with that very answer.
"""

import asyncio
import json
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

COUNTING = """
from rolehost import Role, State, Turn

class Count(State):
    turns: int = 0

crowd = Role("crowd", state=Count)

@crowd.on_message
async def answer(t: Turn[Count]) -> None:
    t.state.turns += 1
    t.say(f"{t.state.turns}| ")
    await t.reply(t.ask())
"""
"""Logic of the Role that a crowd talks to: each reply begins with the number of the turn."""
SERVICE_RESTART = 1012
ANSWER_SECONDS = 60.0


@dataclass
class Talker:
    session_id: str
    answered: list[tuple[str, str]] = field(default_factory=list)
    """(client_msg_id, reply), in the order in which they were told."""
    told: Counter[str] = field(default_factory=Counter)
    """Codes of the errors before an answer came."""
    moved: int = 0
    """Times that the server asked to come again."""
    cut: int = 0
    """Times that the connection ended without a word."""
    refused: int = 0
    """Times that no connection could be made."""
    slowest: float = 0.0
    """Seconds from the first try of a message to its answer, at most."""


class Crowd:
    """`with Crowd(url, key, "crowd", 12) as crowd: …break things…`, then `crowd.check()`."""

    def __init__(self, host: str, key: str, role: str, people: int, *, prefix: str, pause: float = 0.2) -> None:
        self._host, self._key, self._role, self._pause = host, key, role, pause
        self.talkers = [Talker(f"{prefix}-{number}") for number in range(people)]
        self.probes = 0
        self.failed_probes: list[str] = []
        self._stop = threading.Event()
        self._broken: list[BaseException] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="crowd")

    def __enter__(self) -> Self:
        self._thread.start()
        self.until_all_said(1)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        try:
            if kind is None:
                self.until_all_said(2)  # everybody is answered once more after the last blow
        finally:
            self._stop.set()
            self._thread.join()

    def until_all_said(self, more: int, seconds: float = 60) -> None:
        """Everybody was answered so many times more."""
        before = [len(talker.answered) for talker in self.talkers]
        deadline = time.monotonic() + seconds
        while any(len(one.answered) < was + more for one, was in zip(self.talkers, before, strict=True)):
            if self._broken:
                raise self._broken[0]
            assert time.monotonic() < deadline, f"not everybody was answered within {seconds:.0f} s: {self.summary()}"
            time.sleep(0.05)

    # ── talking ─────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for talker in self.talkers:
                    group.create_task(self._talk(talker))
                group.create_task(self._probe())
        except BaseException as error:
            self._broken.append(error)

    async def _talk(self, talker: Talker) -> None:
        pending: tuple[str, float] | None = None
        while not self._stop.is_set():
            try:
                async with connect(
                    f"ws://{self._host}/role/{self._role}",
                    additional_headers={"Authorization": f"Bearer {self._key}"},
                    compression=None,
                    proxy=None,
                    open_timeout=10,
                ) as socket:
                    while not self._stop.is_set():
                        pending = pending or (f"m{len(talker.answered) + 1}", time.monotonic())
                        if await self._say(socket, talker, *pending):
                            pending = None
                        await asyncio.sleep(self._pause)
            except ConnectionClosed as closed:
                if closed.rcvd is not None and closed.rcvd.code == SERVICE_RESTART:
                    talker.moved += 1
                else:
                    talker.cut += 1
            except (OSError, TimeoutError, InvalidHandshake):
                talker.refused += 1
                await asyncio.sleep(0.1)

    async def _say(self, socket: ClientConnection, talker: Talker, message_id: str, since: float) -> bool:
        """Whether it was answered. Errors must be such as may pass."""
        frame: dict[str, Any] = {"message": message_id, "session_id": talker.session_id, "client_msg_id": message_id}
        await socket.send(json.dumps(frame))
        while True:
            async with asyncio.timeout(ANSWER_SECONDS):
                heard = json.loads(await socket.recv())
            error = heard.get("error")
            if error is not None:
                assert error["retryable"], heard
                talker.told[error["code"]] += 1
                return False
            if heard.get("done") and heard["client_msg_id"] == message_id:
                talker.answered.append((message_id, heard["message"]))
                talker.slowest = max(talker.slowest, time.monotonic() - since)
                return True

    async def _probe(self) -> None:
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(self._get, f"/v1/roles/{self._role}")
            except OSError as error:
                self.failed_probes.append(str(error))
            self.probes += 1
            await asyncio.sleep(0.1)

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(f"http://{self._host}{path}", headers={"Authorization": f"Bearer {self._key}"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    # ── the reckoning ───────────────────────────────────────────────────────────────

    def summary(self) -> dict[str, Any]:
        told: Counter[str] = Counter()
        for talker in self.talkers:
            told += talker.told
        return {
            "people": len(self.talkers),
            "answered": sum(len(one.answered) for one in self.talkers),
            "moved": sum(one.moved for one in self.talkers),
            "cut": sum(one.cut for one in self.talkers),
            "refused": sum(one.refused for one in self.talkers),
            "told": dict(told),
            "slowest_seconds": round(max(one.slowest for one in self.talkers), 2),
            "probes": self.probes,
            "failed_probes": len(self.failed_probes),
        }

    def _log_of(self, session_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        page: dict[str, Any] = {"more": True, "last_seq": 0}
        while page["more"]:
            page = self._get(f"/v1/roles/{self._role}/sessions/{session_id}/events?after_seq={page['last_seq']}")
            events += page["events"]
        return events

    def check(self) -> dict[str, Any]:
        """Every answer is in the log, once, in order, as it was told; nothing is applied twice. The summary."""
        if self._broken:
            raise self._broken[0]
        for talker in self.talkers:
            events = self._log_of(talker.session_id)
            assert [event["seq"] for event in events] == list(range(1, len(events) + 1)), talker.session_id
            done = [(event["client_msg_id"], event["message"]) for event in events if event["type"] == "response.done"]
            assert len({message_id for message_id, _ in done}) == len(done), f"{talker.session_id}: answered twice"
            assert done[: len(talker.answered)] == talker.answered, f"{talker.session_id}: an answer is lost"
            assert len(done) - len(talker.answered) <= 1, f"{talker.session_id}: more than the open one is in the log"
            numbers = [int(message.partition("|")[0]) for _, message in done]
            assert numbers == list(range(1, len(done) + 1)), f"{talker.session_id}: a turn was applied twice or lost"
        return self.summary()

"""Agents, templates, workers, Redis and the gateway itself are killed while clients talk, and the ledger is right."""

import asyncio
import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import pytest
from tests.support.gateway_process import CLIENT_KEY, EVERY_TURNS, quote
from tests.support.killing import Platform, platform
from tests.support.proof import NUMBERS, SOAK, keep
from tests.support.redis import running
from tests.support.rooms import ACME
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from rolehost_api import identity
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.sessions.live import folded

SEED = int(os.environ.get("ROLEHOST_SEED") or (secrets.randbits(32) if SOAK else 20_261_126))
TALKERS = 5
MESSAGES = 120
"""Of one session; then its talker opens the next."""
ANSWER_SECONDS = 60.0
"""For one message to be answered, however often what answers it dies."""
PAUSES = (0.0, 0.05, 0.4, 1.0)
"""Seconds from one kill to the next: from one right into the recovery of the other to one at leisure."""
LIKELY = {"agent": 3, "template": 2, "worker": 4, "redis": 2, "gateway": 2}
CUT_SHORT = 0.3
"""Of the answers, how many are cancelled once their first words are heard."""
SECONDS_A_KILL = 4.0
"""At most, on the average."""

Frame = dict[str, Any]
TOLD_LIVE = frozenset({"ts", "metrics", "replay"})
"""What a replay may say differently: when it is sent, and how long the commit took."""


def gist(frame: Frame) -> Frame:
    return {name: value for name, value in frame.items() if name not in TOLD_LIVE}


@dataclass
class Ledger:
    """One session as one client heard it."""

    session_id: str
    events: list[Frame] = field(default_factory=list)
    """Of the log, by `seq` from 1 on."""

    @property
    def head(self) -> int:
        return len(self.events)

    def heard(self, frame: Frame) -> None:
        """An event of the log: the next one, or one that was heard before and says the same."""
        seq = frame.get("seq")
        if seq is None:
            return
        assert 1 <= seq <= self.head + 1, f"{self.session_id} had heard {self.head} events and then heard {seq}"
        if seq <= self.head:
            assert gist(self.events[seq - 1]) == gist(frame)
        else:
            self.events.append(frame)

    def answers(self) -> list[Frame]:
        return [event for event in self.events if event["type"] == "response.done"]


class Client:
    """A socket that is opened again wherever it breaks, from where its ledger stands."""

    def __init__(self, port: int, ledger: Ledger) -> None:
        self._port, self.ledger = port, ledger
        self.socket: ClientConnection | None = None
        self.reconnects = 0

    async def hear(self) -> Frame:
        """The next frame; the ledger has it. Raises OSError or WebSocketException where the connection breaks."""
        if self.socket is None:
            query = f"session_id={self.ledger.session_id}&after_seq={self.ledger.head}"
            self.socket = await connect(
                f"ws://127.0.0.1:{self._port}/role/cat?{query}",
                additional_headers={"Authorization": f"Bearer {CLIENT_KEY}"},
                subprotocols=[Subprotocol("role.v1")],
                compression=None,
                ping_interval=None,
            )
        with self._noticing(self.socket) as socket:
            frame: Frame = json.loads(await socket.recv())
        self.ledger.heard(frame)
        return frame

    async def say(self, **frame: str) -> None:
        """Once the session is open and what was missed is heard. Raises as `hear`."""
        while self.socket is None:
            opened = await self.hear()
            while opened["type"] not in ("session.resumed", "error"):
                opened = await self.hear()
            if opened["type"] == "error":  # the store is away: it could not be opened, or not be read
                assert opened["error"]["retryable"], opened
                await self.close()
                await asyncio.sleep(0.1)
        with self._noticing(self.socket) as socket:
            await socket.send(json.dumps(frame))

    @contextmanager
    def _noticing(self, socket: ClientConnection) -> Iterator[ClientConnection]:
        try:
            yield socket
        except WebSocketException:
            self.socket = None
            self.reconnects += 1
            raise

    async def cancel(self, response_id: str, heard: int) -> None:
        """Raises as `hear`."""
        assert self.socket is not None
        with self._noticing(self.socket) as socket:
            frame = {"type": "response.cancel", "response_id": response_id, "heard": {"chars": heard}}
            await socket.send(json.dumps(frame))

    async def close(self) -> None:
        if self.socket is not None:
            await self.socket.close()
            self.socket = None


class Talker:
    """Says one thing after the other, each until it is answered, always with the same id."""

    def __init__(self, port: int, name: str, random: Random) -> None:
        self._port, self._name, self._random = port, name, random
        self.ledgers: list[Ledger] = []
        self.said: dict[str, list[str]] = {}
        self.refused: Counter[str] = Counter()
        self.answered = self.reconnects = self.cut = 0

    async def talk(self, over: asyncio.Event) -> None:
        while not over.is_set():
            ledger = Ledger(f"{self._name}-{len(self.ledgers)}")
            self.ledgers.append(ledger)
            said = self.said[ledger.session_id] = []
            client = Client(self._port, ledger)
            while len(said) < MESSAGES and not over.is_set():
                said.append(f"{len(said)}:{self._random.randbytes(4).hex()}")
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._say(client, said)
                self.answered += 1
                await asyncio.sleep(self._random.choice((0, 0, 0.02)))
            again = self._random.randrange(len(said))
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._say(client, said[: again + 1], before=True)
            self.reconnects += client.reconnects
            await client.close()

    async def _say(self, client: Client, said: list[str], *, before: bool = False) -> None:
        """Until `said[-1]` is acknowledged, and what is acknowledged is its answer."""
        number = len(said) - 1
        message_id = f"{client.ledger.session_id}-{number}"
        while True:
            try:
                done = await self._ask(client, said[-1], message_id)
            except (OSError, WebSocketException):
                await asyncio.sleep(0.05)
                continue
            if done is not None:
                break
            await asyncio.sleep(0.05 + self._random.random() / 10)
        answers = client.ledger.answers()
        assert gist(answers[number]) == gist(done)
        assert len(answers) == number + 1 or before
        assert done["replay"] or not before
        whole = quote(said[-2] if number else "", said[-1])
        assert whole.startswith(done["message"]) if done["status"] == "cancelled" else done["message"].startswith(whole)

    async def _ask(self, client: Client, message: str, message_id: str) -> Frame | None:
        """The answer; None where there was none. Now and then it is cut short, perhaps too late for its commit."""
        await client.say(message=message, client_msg_id=message_id)
        heard = self._random.randrange(1, 30) if self._random.random() < CUT_SHORT else 0
        ours_now, cancelled = "", ""
        while True:
            frame = await client.hear()
            ours = frame.get("client_msg_id") == message_id
            if frame["type"] == "response.created" and ours:
                ours_now = frame["response_id"]
            if frame["type"] == "response.output_text.delta" and frame["response_id"] == ours_now and heard:
                cancelled = ours_now
                await client.cancel(cancelled, heard)
                heard = 0
            if frame["type"] == "response.done" and ours and frame["status"] != "failed":
                if cancelled and frame["status"] == "completed":
                    await self._amended(client, cancelled)
                self.cut += frame["status"] == "cancelled"
                return frame
            if frame["type"] == "error" and frame["response_id"]:
                continue  # what became of the response is told by its own events
            if frame["type"] == "error" or (frame["type"] == "response.done" and ours):
                self.refused[frame["error"]["code"]] += 1
                assert frame["error"]["retryable"], frame
                return None

    @staticmethod
    async def _amended(client: Client, response_id: str) -> None:
        """The cancel came after the commit: until it is in the log too, or has failed."""
        while True:
            frame = await client.hear()
            if frame.get("response_id") == response_id and frame["type"] in ("response.amended", "error"):
                return


class Listener:
    """Says nothing and hears one talker's newest session, through all that dies."""

    def __init__(self, port: int, talker: Talker) -> None:
        self._port, self._talker = port, talker
        self.heard = 0

    async def listen(self, over: asyncio.Event) -> None:
        while not over.is_set():
            theirs = self._talker.ledgers[-1]
            client = Client(self._port, Ledger(theirs.session_id))
            while not over.is_set() and theirs is self._talker.ledgers[-1]:
                try:
                    frame = await asyncio.wait_for(client.hear(), 0.5)
                    if frame["type"] == "error":  # what was missed could not be read: told live only, there is a gap
                        assert frame["error"]["retryable"], frame
                        await client.close()
                        await asyncio.sleep(0.1)
                except TimeoutError:
                    continue
                except (OSError, WebSocketException):
                    await asyncio.sleep(0.05)
            self.heard += client.ledger.head
            await client.close()
            common = min(client.ledger.head, theirs.head)
            assert list(map(gist, client.ledger.events[:common])) == list(map(gist, theirs.events[:common]))


async def kill_at_random(on: Platform, random: Random, talkers: list[Talker]) -> None:
    """NUMBERS.kills of them. Now and then it waits until every talker was answered, so that all of them get on."""
    done = 0
    while done < NUMBERS.kills:
        if done % 10 == 0:
            before = [talker.answered for talker in talkers]
            async with asyncio.timeout(ANSWER_SECONDS):
                while any(talker.answered <= was for talker, was in zip(talkers, before, strict=True)):
                    await asyncio.sleep(0.05)
        (what,) = random.choices(list(LIKELY), list(LIKELY.values()))
        done += await on.kill(what, random)
        await asyncio.sleep(random.choice(PAUSES))


async def audit(store: RedisSessionStore, port: int, talker: Talker) -> int:
    """Every session's log against what its talker said and heard; how many of its turns are degraded."""
    degraded = 0
    for ledger in talker.ledgers:
        said = talker.said[ledger.session_id]
        key = identity.session_key(ACME.uid, "cat", identity.service_principal(ACME.uid), ledger.session_id)
        log = await store.read(key)
        records = [record for record in log if isinstance(record, TurnRecord)]
        assert [record.input for record in records] == said
        assert [record.client_msg_id for record in records] == [f"{ledger.session_id}-{n}" for n in range(len(said))]
        assert [record.reply for record in records] == [done["message"] for done in ledger.answers()]
        whole = [record for record in records if not record.degraded]
        degraded += len(records) - len(whole)
        fold = SessionFold.of(records[0].log_id, records[-1].epoch, log)
        assert fold.state.get("turns", 0) == len(whole)
        for number, record in enumerate(whole, 1):
            assert record.status == "cancelled" or record.reply.rpartition("#")[2] == str(number)
        assert [event["seq"] for event in ledger.events] == list(range(1, fold.seq + 1))
        url = f"http://127.0.0.1:{port}/v1/roles/cat/sessions/{ledger.session_id}/events"
        headers = {"Authorization": f"Bearer {CLIENT_KEY}"}
        events: list[Any] = []
        async with aiohttp.ClientSession(headers=headers) as http:
            page: dict[str, Any] = {"more": True, "last_seq": 0}
            while page["more"]:
                async with http.get(url, params={"after_seq": page["last_seq"]}) as answer:
                    page = await answer.json()
                events += page["events"]
        assert list(map(gist, events)) == list(map(gist, ledger.events))
        head, tail = await store.open(key)
        assert head.kept is not None or len(records) <= EVERY_TURNS
        opened = await folded(head, tail)
        assert (opened.turn, opened.seq, opened.state) == (fold.turn, fold.seq, fold.state)
        assert [opened.turn_of(record.client_msg_id) for record in records] == [record.turn for record in records]
    return degraded


@pytest.mark.timeout(60 + SECONDS_A_KILL * NUMBERS.kills)
async def test_no_acknowledged_turn_is_lost_and_none_is_applied_twice_whatever_is_killed(tmp_path: Path) -> None:
    print(f"ROLEHOST_SEED={SEED}")  # shown where the test fails
    random, over, began = Random(SEED), asyncio.Event(), time.monotonic()
    with running() as redis:
        async with platform(redis, tmp_path) as on:
            talkers = [Talker(on.port, f"t{number}", Random(random.random())) for number in range(TALKERS)]
            async with asyncio.TaskGroup() as together:
                for talker in talkers:
                    together.create_task(talker.talk(over))
                await asyncio.sleep(0)
                listener = Listener(on.port, talkers[0])
                together.create_task(listener.listen(over))
                await kill_at_random(on, random, talkers)
                over.set()
            lasted = time.monotonic() - began
            store = RedisSessionStore.connect(redis.url)
            degraded = sum([await audit(store, on.port, talker) for talker in talkers])
            await store.close()
    refused = sum((talker.refused for talker in talkers), Counter[str]())
    keep(
        "kills",
        {
            "seed": SEED,
            "killed": dict(on.killed),
            "turns": sum(talker.answered for talker in talkers),
            "degraded": degraded,
            "cancelled": sum(talker.cut for talker in talkers),
            "reconnects": sum(talker.reconnects for talker in talkers),
            "refused": dict(refused),
            "heard_by_a_listener": listener.heard,
            "seconds": round(lasted),
        },
    )
    assert set(on.killed) == set(LIKELY)
    assert on.killed.total() == NUMBERS.kills
    assert sum(talker.cut for talker in talkers)
    assert listener.heard

"""The client library before a real server that is killed, and behind a network that is cut."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.support.crowd import COUNTING
from tests.support.cutting import Relay
from tests.support.dev import STORYTELLER, Dev, dev

from rolehost.client import Delta, Event, Pending, Refused, Unreachable, connect

pytestmark = pytest.mark.timeout(300)
KILLS = 10
PEOPLE = 8
CROWD = """
apiVersion: rolehost.io/v1alpha1
kind: Role
metadata: {name: crowd}
spec: {template: {persona: {system: You count.}, logic: {entrypoint: "crowd:crowd"}}}
"""


@contextmanager
def serving(folder: Path, *roles: str) -> Iterator[tuple[Dev, Relay]]:
    """A dev server, and a network to it."""
    with dev(*roles, "--port", "0", "--model", "scripted", folder=folder) as running, Relay(running.port) as network:
        yield running, network


async def streamed(answer: Pending) -> tuple[str, int]:
    """The text as it was shown, and how often it was begun anew. Asserts that offsets never leave a hole."""
    shown, anew = "", 0
    async for piece in answer:
        assert isinstance(piece, Delta)
        if piece.reset:
            shown, anew = "", anew + 1
        assert piece.offset == len(shown), "a hole or a double"
        shown += piece
    return shown, anew


@pytest.mark.parametrize("packed", [False, True], ids=["json", "msgpack"])
async def test_an_answer_goes_on_where_it_was_when_the_network_is_cut(tmp_path: Path, packed: bool) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(120))
    with serving(tmp_path, str(STORYTELLER)) as (_, network):
        session = connect(f"http://127.0.0.1:{network.port}", "storyteller", after_seq=0, packed=packed)
        events = session.events()
        async with session:
            answer = session.say(words)
            answering = asyncio.create_task(streamed(answer))
            for length in (40, 200, 400):
                while len(answer.text) < length:
                    await asyncio.sleep(0.01)
                assert network.cut() > 0
            shown, anew = await answering
            assert words.strip() in shown
            assert anew == 0
            assert session.state.values == {"stories": 1}
            again = await session.say("x", client_msg_id="mine")
            assert (await session.say("x", client_msg_id="mine")).response_id == again.response_id
        told = [event async for event in events]
    first = next(event["response_id"] for event in told if event.type == "response.created")
    deltas = [event for event in told if event.type == "response.output_text.delta" and event["response_id"] == first]
    text = "".join(event["delta"] for event in deltas)
    assert len(text) >= 400
    assert shown.startswith(text), "the rest is in its end, where that was before the client was back"
    assert [event["seq"] for event in told if event.get("seq")][:4] == [1, 2, 3, 4]
    assert [event.type for event in told].count("client.lost") >= 3


async def test_who_reads_events_is_told_of_the_end_though_nothing_happens_any_more(tmp_path: Path) -> None:
    with serving(tmp_path, str(STORYTELLER)) as (_, network):
        session = connect(f"http://127.0.0.1:{network.port}", "storyteller")
        told: list[str] = []

        async def read(events: AsyncIterator[Event]) -> None:
            async for event in events:
                told.append(event.type)

        reading = asyncio.create_task(read(session.events()))
        async with session:
            while "session.created" not in told:
                await asyncio.sleep(0.01)
        await reading


async def test_a_session_that_cannot_be_had_raises_why(tmp_path: Path) -> None:
    with serving(tmp_path, str(STORYTELLER)) as (_, network):
        url = f"http://127.0.0.1:{network.port}"
        with pytest.raises(Refused) as refused:
            async with connect(url, "nobody"):
                pass
        assert refused.value.code == "role_not_found"
        assert refused.value.hint
        with pytest.raises(Refused, match="no sockets at this path"):
            async with connect(f"{url}/v1", "storyteller", patience=5):
                pass
    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, daemon=True).start()
        with pytest.raises(Unreachable, match="404"):
            async with connect(f"http://127.0.0.1:{elsewhere.server_port}", "storyteller", patience=20):
                pass
        await asyncio.to_thread(elsewhere.shutdown)
    with pytest.raises(Unreachable, match="does not answer"):
        async with connect(url, "storyteller", patience=0.5):
            pass


class Elsewhere(SimpleHTTPRequestHandler):
    """Not a gateway."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""


def words(number: int) -> str:
    return f"m{number}, " + "said at some length " * 3


class Person:
    """Says numbered words, one after the other, and keeps what was told of each."""

    def __init__(self, url: str, name: str) -> None:
        self.session = connect(url, "crowd", session_id=name, patience=120, after_seq=0)
        self.events: list[Event] = []
        self.answers: list[str] = []
        self.begun_anew = 0
        self.hears = False
        """An answer is being told."""

    async def talk(self, stop: asyncio.Event) -> None:
        reading = self.session.events()
        listening = asyncio.create_task(self._listen(reading))
        async with self.session as session:
            while not stop.is_set():
                shown, anew = await streamed(session.say(words(len(self.answers) + 1)))
                self.answers.append(shown)
                self.begun_anew += anew
        await listening

    async def _listen(self, reading: object) -> None:
        async for event in reading:  # type: ignore[attr-defined]
            self.events.append(event)
            self.hears = event.type == "response.output_text.delta"

    def check(self) -> None:
        done = [event for event in self.events if event.type == "response.done" and event["status"] != "failed"]
        assert [event["message"] for event in done] == self.answers, "an answer was lost, doubled or out of order"
        numbers = [int(answer.partition("|")[0]) for answer in self.answers]
        assert numbers == list(range(1, len(numbers) + 1)), "a turn was run twice, or not at all"
        for number, answer in enumerate(self.answers, 1):
            assert answer.splitlines()[0] == f'{number}| You said: "{words(number)}"'
        seqs = [event["seq"] for event in self.events if event.get("seq")]
        assert seqs == list(range(1, len(seqs) + 1)), "the log has a gap or a double"


async def test_every_word_is_answered_once_while_the_server_is_killed(tmp_path: Path) -> None:
    role = tmp_path / "crowd"
    role.mkdir()
    (role / "crowd.py").write_text(COUNTING)
    (role / "role.yaml").write_text(CROWD)
    running = Dev(str(role), "--port", "0", "--model", "scripted", folder=tmp_path)
    stop = asyncio.Event()
    with Relay(running.port) as network:
        people = [Person(f"http://127.0.0.1:{network.port}", f"person-{number}") for number in range(PEOPLE)]
        try:
            async with asyncio.TaskGroup() as group:
                for person in people:
                    group.create_task(person.talk(stop))
                for _ in range(KILLS):
                    await until_all_said(people, 1)
                    async with asyncio.timeout(30):
                        while not any(person.hears for person in people):
                            await asyncio.sleep(0.005)
                    running.process.send_signal(signal.SIGKILL)
                    await asyncio.to_thread(running.process.wait, 20)
                    assert running.process.stdout is not None
                    running.process.stdout.close()
                    running = await asyncio.to_thread(
                        lambda: Dev(str(role), "--port", "0", "--model", "scripted", folder=tmp_path)
                    )
                    network.to = running.port
                await until_all_said(people, 2)
                stop.set()
        finally:
            running.stop()
            assert running.process.stdout is not None
            running.process.stdout.close()
    for person in people:
        person.check()
    assert sum(person.begun_anew for person in people) >= KILLS, "the kills came between the answers"


async def until_all_said(people: list[Person], more: int) -> None:
    before = [len(person.answers) for person in people]
    async with asyncio.timeout(90):
        while any(len(person.answers) < was + more for person, was in zip(people, before, strict=True)):
            await asyncio.sleep(0.05)


def test_a_chat_prints_its_answer_once_through_a_network_that_is_cut(tmp_path: Path) -> None:
    words = "".join(f"{number} 猫🐱 " for number in range(120))
    with serving(tmp_path, str(STORYTELLER)) as (_, network):
        chat = subprocess.Popen(
            [sys.executable, "-u", "-m", "rolehost.cli", "chat", "storyteller", "-m", words],
            env={**os.environ, "ROLEHOST_URL": f"http://127.0.0.1:{network.port}", "PYTHONIOENCODING": "utf-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert chat.stdout is not None
        assert chat.stderr is not None
        told = chat.stdout.read(40)
        assert network.cut() > 0
        told += chat.stdout.read(200)
        assert network.cut() > 0
        told += chat.stdout.read()
        said = chat.stderr.read().decode()
        chat.stdout.close()
        chat.stderr.close()
        assert chat.wait(20) == 0, said
    assert told.decode() == f'You said: "{words}"\nYou said before: ""\n'

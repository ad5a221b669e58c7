"""A gateway dies at any one of its calls of the stores, while turns remember, confirm, recall and forget, memory is tidied,
and a user forgets. Another one goes on: what is remembered is what a model of it says. Redis is real, and so is the store
where memories are at home, where they are.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration.state.helpers import persistently
from tests.support.house import playing
from tests.support.proof import SOAK
from tests.support.redis_fleet import DURABLE, Server
from tests.support.rooms import (
    ACME,
    Clock,
    Ear,
    PodDialer,
    Shelves,
    pod_entry,
    principal,
    put,
    revision_entry,
    serve,
    world,
)
from tests.unit.sessions.test_sessions_memory import ALL, diary, template

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import NotFound, RolehostError, Unavailable
from rolehost_api.wire import ResponseDone, Said
from rolehost_runtime.core.memory.atoms import MAX_ATOMS, Atom, Changes, Stored, atoms_of, marked
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.sessions.homed import Homed
from rolehost_runtime.gateway.sessions.memories import Memories
from rolehost_runtime.gateway.sessions.service import SessionService

pytestmark = pytest.mark.timeout(3600 if SOAK else 240)
ANN = Whose(ACME.uid, "cat", "u-17")
POINTS = None if SOAK else 4
"""Places of death in the slice, drawn by a seed; None: all of them."""

SCRIPT: tuple[tuple[str, str, str], ...] = (
    ("say", "a", "+a dragon lives here"),
    ("say", "a", "+tea is hot"),
    ("say", "b", "!I am the admin"),
    ("say", "b", "?dragon"),
    ("say", "b", "=admin"),
    ("say", "b", "+a spider in the bath"),
    ("say", "a", "-tea"),
    ("forget", "a", "dragon"),
    ("say", "a", "+snow fell"),
    ("forget session", "b", ""),
    ("say", "a", "?snow"),
)
"""Who does what, in which session: what a diary takes, and what its user does beside it."""


class Law:
    """What is remembered: text → the session it is of."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def done(self, what: str, session: str, said: str) -> None:
        gone = {
            "forget": lambda text, of: said in text,
            "forget session": lambda text, of: of == session,
        }
        if what == "say" and said[0] in "+!":
            self.texts[said[1:]] = session
        elif what == "say" and said[0] == "-":
            self._take(lambda text, of: said[1:] in text)
        elif what in gone:
            self._take(gone[what])

    def _take(self, is_gone: Callable[[str, str], bool]) -> None:
        self.texts = {text: of for text, of in self.texts.items() if not is_gone(text, of)}


class Line:
    """Calls of the stores, counted; at `point` the gateway dies, before the call or right after it."""

    def __init__(self, point: int = 0, harm: str = "before") -> None:
        self.count, self.point, self.harm, self.dead = 0, point, harm, False


class Cut:
    """A store, as a gateway reaches it that will die."""

    def __init__(self, store: Any, line: Line) -> None:
        self._store, self._line = store, line

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not asyncio.iscoroutinefunction(found) or name == "close":
            return found

        async def called(*given: Any, **named: Any) -> Any:
            line = self._line
            line.count += 1
            if not line.dead and line.count == line.point:
                line.dead = True
                if line.harm == "after":
                    await found(*given, **named)
            if line.dead:
                raise Unavailable("this gateway is dead", code="state_unavailable", retryable=False)
            return await found(*given, **named)

        return called


class Gateway:
    def __init__(self, url: str, home: str, line: Line) -> None:
        self.tables, self.clock, dialer = world(ACME), Clock(), PodDialer()
        serve(self.tables, revision_entry(template=template(*ALL)))
        self.stores = [RedisSessionStore.connect(url)]
        self.store: Any = Cut(self.stores[0], line)
        self.home: Any = None
        if home:
            self.stores.append(RedisSessionStore.connect(home))
            self.home = _Home(Cut(self.stores[1], line))
        self.pool = LinkPool(self.tables, dialer, Shelves(), dialer.key, self.clock, "gw", backoff_seconds=(0,))
        models = Models({BackendType.SCRIPTED: ScriptedProvider()})
        self.service = SessionService(
            self.tables, self.pool, self.store, models, self.clock, commit_pauses=(0.01,), home=self.home
        )
        dialer.add("p1").turn = playing(diary)
        role = self.tables.roles.get("acme", "cat")
        assert role is not None
        put(self.tables, pod_entry("p1", revision=role.stable))
        self._handles: dict[str, tuple[Any, Ear]] = {}

    async def do(self, number: int, what: str, session: str, said: str) -> None:
        """Raises where it was not acknowledged."""
        if what == "forget":
            kept = self.service.kept
            for one in (await kept.memories(ANN, "", said, "", 9))[0]:
                if said in one.text:
                    with suppress(NotFound):
                        await kept.forget_memory(ANN, "", one.id)
            return
        if what == "forget session":
            with suppress(NotFound):
                await self.service.kept.forget(ANN, session)
            return
        if session not in self._handles:
            role = self.tables.roles.get("acme", "cat")
            assert role is not None
            ear = Ear()
            self._handles[session] = (
                await self.service.attach(principal(ACME, user="u-17"), role, session, ear),
                ear,
            )
        handle, ear = self._handles[session]
        before = len(ear.of(ResponseDone))
        await handle.say(Said(message=said, client_msg_id=f"m{number}"))
        done = ear.of(ResponseDone)[before:]
        if not done or done[-1].status != "completed":
            raise Unavailable("not answered")

    async def idle(self) -> None:
        await self.service._world.memories.idle()


class _Home:
    """Only what a MemoryStore has."""

    def __init__(self, store: Any) -> None:
        self.memories, self.change_memories, self.drop_memories = (
            store.memories,
            store.change_memories,
            store.drop_memories,
        )


@asynccontextmanager
async def living(url: str, home: str, line: Line) -> AsyncIterator[Gateway]:
    gateway = Gateway(url, home, line)
    await gateway.pool.start()
    try:
        yield gateway
    finally:
        line.dead = True  # killed: nothing that it would still say reaches a store
        await gateway.service.stop(0)
        await gateway.pool.stop()
        for store in gateway.stores:
            await store.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "redis", *DURABLE)
    made.start()
    yield made
    made.stop()


async def seen(url: str, home: str) -> Stored:
    """By a gateway that has just come."""
    stores = [RedisSessionStore.connect(one) for one in filter(None, (url, home))]
    try:
        reader = Homed(stores[0], stores[1], lambda: 1) if home else stores[0]
        return await reader.memories(ANN.key("any"), {})
    finally:
        for store in stores:
            await store.close()


def texts(stored: Stored) -> list[str]:
    return sorted(atom.text for atom in atoms_of(stored) if not atom.text.startswith("filler"))


async def play(url: str, home: str, line: Line) -> int:
    """The script, from one gateway that may die to another one that does not. Where it was cut, or the script's length."""
    law, place = Law(), 0
    async with living(url, home, line) as first:
        with suppress(RolehostError):
            while place < len(SCRIPT):
                await first.do(place, *SCRIPT[place])
                if line.dead:
                    break
                law.done(*SCRIPT[place])
                assert texts(await seen(url, home)) == sorted(law.texts), f"at once, after {SCRIPT[place]}"
                place += 1
        if not line.dead:
            await first.idle()
        cut = place
        line.dead = True
        if place < len(SCRIPT):  # the one that was not acknowledged is there, or it is not
            before, after = sorted(law.texts), Law()
            after.texts = dict(law.texts)
            after.done(*SCRIPT[place])
            if SCRIPT[place][0] == "say":
                assert texts(await seen(url, home)) in (before, sorted(after.texts))
        async with living(url, home, Line()) as second:
            while place < len(SCRIPT):
                await persistently(partial(second.do, place, *SCRIPT[place]))
                law.done(*SCRIPT[place])
                assert texts(await seen(url, home)) == sorted(law.texts), f"at once, after {SCRIPT[place]}"
                place += 1
            await second.idle()
    stored = await seen(url, home)
    assert texts(stored) == sorted(law.texts), "nothing doubled, nothing lost"
    names = {atom.id for atom in atoms_of(stored)}
    assert not names & set(marked(stored, b"x")), "what is forgotten is not there"
    return cut


@pytest.mark.parametrize("harm", ["before", "after"])
@pytest.mark.parametrize("at_home", [False, True], ids=["beside-the-log", "at-home-elsewhere"])
async def test_a_gateway_dies_at_any_call_of_the_stores(server: Server, harm: str, at_home: bool) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    home = f"redis://127.0.0.1:{server.port}/1" if at_home else ""
    whole = Line()
    assert await play(url, home, whole) == len(SCRIPT)
    assert whole.count > 30
    places = range(1, whole.count + 1)
    cuts = set()
    for point in places if POINTS is None else sorted(random.Random(f"{harm}{at_home}").sample(places, POINTS)):
        server.ask("flushall")
        cuts.add(await play(url, home, Line(point, harm)))
    assert len(cuts) > 1, "it died in several steps of the script"


@pytest.mark.parametrize("harm", ["before", "after"])
@pytest.mark.parametrize("at_home", [False, True], ids=["beside-the-log", "at-home-elsewhere"])
async def test_a_gateway_dies_while_it_tidies(server: Server, harm: str, at_home: bool) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    home = f"redis://127.0.0.1:{server.port}/1" if at_home else ""
    fillers = [
        Atom(id=f"f{number:05}", text=f"filler {number}", salience=0, at_ms=1) for number in range(MAX_ATOMS + 40)
    ]
    point = 1
    while True:
        server.ask("flushall")
        line = Line()
        async with living(url, home, line) as first:
            await first.do(0, "say", "a", "+a dragon lives here")
            await first.idle()
            for start in range(0, len(fillers), 520):
                await (first.home or first.store).change_memories(
                    ANN.key("a"), Changes(added=tuple(fillers[start : start + 520]))
                )
            memories: Memories = first.service._world.memories
            line.count, line.point, line.harm = 0, point, harm
            with suppress(RolehostError):
                await memories.tidy(ANN.key("a"))
            died = line.dead
        async with living(url, home, Line()) as second:
            await persistently(partial(second.do, 1, "say", "b", "+snow fell"))
            await second.service._world.memories.tidy(ANN.key("a"))
            await second.idle()
        stored = await seen(url, home)
        assert texts(stored) == ["a dragon lives here", "snow fell"]
        assert len(atoms_of(stored)) <= MAX_ATOMS
        if not died:
            break
        point += 1
    assert point > 2

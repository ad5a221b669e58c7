"""One person, two gateways, and no packet between one of them and Redis: what their sessions share converges, what lost
stands as a compensation, and nothing that was acknowledged is lost or counted twice.

Where network namespaces can be made the packets really vanish (tests/net): no RST and no FIN, and what was given up in
the hole may still arrive after it. Elsewhere a wire keeps every byte until it is mended.
"""

import asyncio
import json
import secrets
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import pytest
from tests.net.impair import FAR, Impaired, available
from tests.support.bonds import LONG, TAG, Two, two_gateways
from tests.support.redis import RedisServer
from tests.support.redis_fleet import DURABLE, Server, until
from tests.support.rooms import ACME
from tests.support.surviving import hear, heard_until
from tests.support.wire import Wire

from rolehost_api import identity
from rolehost_runtime.core.merge import view_of
from rolehost_runtime.core.record import TurnRecord

pytestmark = pytest.mark.timeout(180)

REDIS_PORT = 6379
ROUNDS = 3
"""A commit is tried for two seconds; a machine that is slower than that is met by the next round."""
HOLE_SECONDS = 5.0
"""Longer than a lease, and than any commit is tried."""


@dataclass
class Cut:
    """Two gateways, and what is between `a` and Redis."""

    two: Two
    hole: Callable[[], None]
    flow: Callable[[], None]


@asynccontextmanager
async def vanishing(folder: Path) -> AsyncIterator[Cut]:
    """Redis is at the far end of a link, where `b` meets it by a socket in a folder; all else is at the near end."""
    with Impaired(seed=29) as link:
        server = RedisServer(folder)
        binary = shutil.which("redis-server") or "redis-server"
        link.far(
            [
                *(binary, "--port", str(REDIS_PORT), "--bind", FAR, "--protected-mode", "no"),
                *("--unixsocket", str(server.socket), "--dir", str(folder), *DURABLE),
            ],
            stdout=subprocess.DEVNULL,
        )
        until(server._answers, "redis-server did not start")
        with link.at_near():
            async with two_gateways(server, folder, {"a": f"redis://{FAR}:{REDIS_PORT}"}) as two:
                yield Cut(two, lambda: link.hole(True), lambda: link.hole(False))


@asynccontextmanager
async def kept_back(folder: Path) -> AsyncIterator[Cut]:
    server = Server(folder / "redis", *DURABLE, "--unixsocket", str(folder / "redis.sock"))
    server.start()
    try:
        async with (
            Wire(server.port) as wire,
            two_gateways(RedisServer(folder), folder, {"a": f"redis://127.0.0.1:{wire.port}"}) as two,
        ):
            yield Cut(two, wire.hole, wire.flow)
    finally:
        server.stop()


@pytest.fixture
async def cut(tmp_path: Path) -> AsyncIterator[Cut]:
    async with kept_back(tmp_path) if available() else vanishing(tmp_path) as made:
        yield made


async def log_of(two: Two, session: str) -> list[TurnRecord]:
    key = identity.session_key(ACME.uid, "cat", identity.user_principal(ACME.uid, "u-17"), session)
    return [record for record in await two.store.read(key) if isinstance(record, TurnRecord)]


async def converged(two: Two, said: dict[str, list[str]]) -> None:
    """`said`: by session, what was acknowledged, in order. Each is in its log once, and what they share is what the
    logs say: every turn counted, everybody met, and the mood of the last one. Whatever a turn overrode that it had not
    seen stands as a compensation, once, and nothing else does."""
    logs = {session: await log_of(two, session) for session in said}
    assert {session: [record.input for record in log] for session, log in logs.items()} == said
    turns = sorted((one for log in logs.values() for one in log), key=lambda one: one.user_version)
    assert [one.user_version for one in turns] == list(range(1, len(turns) + 1)), "each made one version of its own"
    unseen = [
        (later.user_version, "mood", earlier.user_version, mood(earlier))
        for earlier, later in pairwise(turns)
        if earlier.user_version > later.user_base
    ]
    kept = [(one.version, one.field, one.written, one.value) for one in await two.store.compensations(TAG, 1024)]
    assert sorted(kept) == unseen
    state = view_of(await two.store.user(TAG, {}))
    assert state == {
        "turns": len(turns),
        "met": dict.fromkeys((one.input.partition(" ")[0] for one in turns), True),
        "mood": mood(turns[-1]),
    }
    for gateway in ("a", "b"):
        for session in said:
            assert (await two.state(gateway, session))["user_state"] == state


def mood(record: TurnRecord) -> str:
    """Every turn's is another one, so every turn writes the field."""
    return record.input.partition(" ")[2][:20]


async def test_a_turn_that_ends_in_a_partition_overrides_what_it_could_not_see_and_that_stands(cut: Cut) -> None:
    """It had read what they share; then no packet came through any more, and the other gateway went on."""
    two = cut.two
    said: dict[str, list[str]] = {"s1": ["Ann calm"], "s2": ["Bob glad"]}
    await two.say("a", "s1", "Ann calm")
    await two.say("b", "s2", "Bob glad")
    for number in range(ROUNDS):
        mine, theirs, message_id = f"Cid{number} {number} {LONG}", f"Dan{number} wild{number}", secrets.token_hex(8)
        async with two.socket("a") as socket:
            frame = {"message": mine, "session_id": "s1", "user": "u-17", "client_msg_id": message_id}
            await socket.send(json.dumps(frame))
            await hear(socket, "response.output_text.delta")
            cut.hole()
            await two.say("b", "s2", theirs)
            await heard_until(socket, lambda frame: " #" in frame.get("delta", ""))
            await asyncio.sleep(0.2)  # its commit is on its way into the hole
            cut.flow()
            ended = (await heard_until(socket, lambda frame: frame["type"] in ("response.done", "error")))[-1]
        if ended["type"] == "error":
            assert (ended["error"]["code"], ended["error"]["retryable"]) == ("state_unavailable", True)
            await two.say("a", "s1", mine, message_id=message_id)
        said["s1"].append(mine)
        said["s2"].append(theirs)
        if await two.kept():
            break
    await converged(two, said)
    assert ("mood", theirs.partition(" ")[2]) in await two.kept(), "what was written meanwhile is not lost"


async def test_a_partition_longer_than_any_patience_stops_one_gateway_and_no_turn_is_lost_or_doubled(cut: Cut) -> None:
    """Clients of the one are told `state_unavailable` and say the same again; those of the other notice nothing; and
    one person's clients come now to this gateway and now to that one, with the same session."""
    two, over, names = cut.two, asyncio.Event(), count()
    said: dict[str, list[str]] = {}
    acknowledged: Counter[str] = Counter()
    """In the hole, by gateway."""
    holed = False

    async def talk(session: str, turn: Callable[[int], str], pause: float = 0.0) -> None:
        said[session] = []
        for number in count():
            if over.is_set() and number >= 3:
                return
            message, began = f"n{next(names)} m{next(names)}", holed
            await two.say(turn(number), session, message)
            said[session].append(message)
            acknowledged[turn(number)] += began and holed
            await asyncio.sleep(pause)

    async def partition() -> None:
        nonlocal holed
        await asyncio.sleep(0.5)
        cut.hole()
        await asyncio.sleep(0.3)  # what was carried out, and not told yet
        holed = True
        until_seconds = time.monotonic() + HOLE_SECONDS
        while time.monotonic() < until_seconds or not acknowledged["b"]:
            await asyncio.sleep(0.1)
        holed = False
        cut.flow()
        await asyncio.sleep(0.5)
        over.set()

    talks: list[Awaitable[None]] = [talk(f"a{n}", lambda _: "a") for n in range(2)]
    talks += [talk(f"b{n}", lambda _: "b", 0.3) for n in range(2)]
    talks.append(talk("roaming", lambda number: "ab"[number % 2]))
    await asyncio.gather(partition(), *talks)
    assert acknowledged["a"] == 0
    assert acknowledged["b"] > 0
    assert two.refused["a", "state_unavailable"] > 0
    assert {code for gateway, code in two.refused} <= {"state_unavailable", "busy", "superseded"}
    await converged(two, said)

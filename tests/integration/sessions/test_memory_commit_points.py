"""The way to Redis breaks at every single piece of a turn that recalls and remembers, or its gateway dies there.

Whatever breaks where: what was acknowledged is remembered once, nothing else is, and the next turn recalls it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.integration.state.helpers import persistently
from tests.integration.state.test_state_rewind import House, say
from tests.support.redis_fleet import DURABLE, FOLLOWED, Server
from tests.support.rooms import ACME, Ear, FakePod, principal
from tests.support.wire import Wire

from rolehost_api.identity import session_key
from rolehost_api.link.messages import Commit, PatchOp, Recall, Recalled, Remember, Say, StartTurn
from rolehost_api.wire import MemoryCommitted, ResponseDone, Said
from rolehost_runtime.core.memory.atoms import atoms_of, version_of
from rolehost_runtime.core.record import TurnRecord

pytestmark = pytest.mark.timeout(120)
MOST = 30
"""Pieces that two turns may take, with all that is asked again."""


async def remembering(pod: FakePod, channel: int, start: StartTurn) -> None:
    """Says what it recalls, and remembers its message."""
    pod.send(channel, Recall(index=0, query="", k=32))
    found = await pod.answer(channel)
    assert isinstance(found, Recalled)
    if found.error:  # as a hook that fails: the turn goes on without
        pod.send(channel, Say(index=1, text=f"({found.error})"))
    else:
        pod.send(channel, Say(index=1, text=",".join(sorted(one.text for one in found.atoms))))
    pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),), atoms=(Remember(text=start.message),)))


class Remembering(House):
    """One gateway, whose sessions are those of u-17."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        for pod in self.pool._dialer.pods.values():  # type: ignore[attr-defined]
            pod.turn = remembering

    async def attach(self) -> tuple[Any, Ear]:
        role = self.tables.roles.get("acme", "cat")
        assert role is not None
        return await self.service.attach(principal(ACME, user="u-17"), role, "abc", ear := Ear()), ear

    @property
    def key(self) -> str:
        return session_key(ACME.uid, "cat", principal(ACME, user="u-17").id, "abc")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "redis", *DURABLE, *FOLLOWED)
    made.start()
    yield made
    made.stop()


@asynccontextmanager
async def living(wire: Wire) -> AsyncIterator[Remembering]:
    house = Remembering(f"redis://127.0.0.1:{wire.port}")
    await house.pool.start()
    try:
        yield house
    finally:
        await house.service.stop(0)
        await house.pool.stop()
        await house.store.close()


async def right(house: Remembering, ear: Ear) -> None:
    """Log and memory say the same, and each turn that could recall saw all before it."""
    records = [one for one in await persistently(lambda: house.store.read(house.key)) if isinstance(one, TurnRecord)]
    assert [record.input for record in records] == ["zero", "one", "two"]
    stored = await persistently(lambda: house.store.memories(house.key, {}))
    assert sorted(atom.text for atom in atoms_of(stored)) == ["one", "two", "zero"], "nothing doubled, nothing lost"
    assert sorted(atom.id for atom in atoms_of(stored)) == sorted(atom.id for one in records for atom in one.atoms)
    assert version_of(stored) == 3
    for place, record in enumerate(records):
        before = sorted(one.input for one in records[:place])
        assert record.reply in (",".join(before), "(state_unavailable)")
    for event in ear.of(MemoryCommitted):
        assert event.seq in [done.seq - 1 for done in ear.of(ResponseDone) if done.seq is not None], (
            "told with its turn"
        )


@pytest.mark.parametrize("harm", ["before", "after"])
async def test_the_connection_breaks_at_every_piece_of_a_turn(server: Server, harm: str) -> None:
    broken = 0
    async with Wire(server.port) as wire:
        for point in range(1, MOST):
            server.ask("flushall")
            async with living(wire) as house:
                handle, ear = await house.attach()
                await say(handle, "zero")
                wire.arm(lambda number, point=point: harm if number == point else "")  # type: ignore[misc]
                await say(handle, "one", "two")
                reached = wire.asked >= point
                wire.arm(lambda number: "")
                await say(handle, "one")
                await right(house, ear)
            broken += reached
            if not reached:
                break
    assert 4 <= broken < MOST - 1, "every piece was met, and there was an end of them"


@pytest.mark.parametrize("harm", ["before", "after"])
async def test_the_gateway_dies_at_every_piece_of_a_turn(server: Server, harm: str) -> None:
    """Nothing that it would still say reaches Redis; another one takes the session over, and the client says it again."""
    died = 0
    async with Wire(server.port) as first, Wire(server.port) as second:
        for point in range(1, MOST):
            server.ask("flushall")
            async with living(first) as house:
                handle, _ = await house.attach()
                await say(handle, "zero")
                first.arm(lambda number, point=point: "" if number < point else harm if number == point else "before")  # type: ignore[misc]
                saying = asyncio.create_task(handle.say(Said(message="one", client_msg_id="one")))
                while not saying.done() and first.asked < point:
                    await asyncio.sleep(0.001)
                reached = first.asked >= point
                async with living(second) as other:
                    again, ear = await other.attach()
                    await again.resume(0)
                    await say(again, "one", "two", "one")
                    await right(other, ear)
                await asyncio.gather(saying, return_exceptions=True)
                first.arm(lambda number: "")
            died += reached
            if not reached:
                break
    assert 2 <= died < MOST - 1

"""ports.ShortenedLog: one suite for Redis as it may stand, and for the fake."""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
from tests.contract.broker.test_contract_store import after

from rolehost_api.errors import Conflict
from rolehost_api.wire import HeardPart
from rolehost_runtime.core.record import Amend, Record, size_of
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import Head, SessionStore, ShortenedLog


@dataclass
class Gateway:
    """One process's store, and its way to take records away."""

    store: SessionStore
    log: ShortenedLog


@pytest.fixture(params=["server", "cluster", "memory"])
async def gateway(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[], Gateway]]:
    if request.param == "memory":
        shelf = Shelf()
        owners = iter("abc")

        def remembered() -> Gateway:
            owner = next(owners)
            return Gateway(MemorySessionStore(shelf, owner), MemoryShortenedLog(shelf, owner))

        yield remembered
        return
    url: str = request.getfixturevalue(request.param).url
    made: list[RedisSessionStore] = []

    def make() -> Gateway:
        made.append(RedisSessionStore.connect(url + ("?replicas=1" if request.param == "cluster" else "")))
        return Gateway(made[-1], made[-1].shortened)

    yield make
    await made[0]._redis.everywhere("FLUSHALL")
    for store in made:
        await store.close()


def name(first: str, last: str, digest: str = "a") -> str:
    return f"u-1/k/k/l1/1-{first}-{last}-{32 * digest}"


async def written(store: SessionStore, turns: int = 5) -> tuple[Head, list[Record]]:
    """A session with an amend of its second turn."""
    head, _ = await store.open("k")
    records: list[Record] = []
    seq = 1
    for turn in range(1, turns + 1):
        records.append(after(head, turn, seq_first=seq))
        seq += 2
        if turn == 2:
            records.append(
                Amend(
                    log_id=head.log_id, epoch=head.epoch, turn=2, number=1, seq_first=seq, at_ms=3, response_id="r2",
                    reply="从", heard=HeardPart(chars=1),
                )
            )  # fmt: skip
            seq += 1
    for record in records:
        await store.commit("k", record)
    return head, records


async def test_entries_are_the_records_as_they_are(gateway: Callable[[], Gateway]) -> None:
    it = gateway()
    assert list(await it.log.entries("k", (1, 0), 9)) == []
    _, records = await written(it.store)
    entries = await it.log.entries("k", (1, 0), 9)
    assert [one.record() for one in entries] == records
    assert [one.position for one in await it.log.entries("k", (2, 1), 2)] == [(2, 1), (3, 0)]


async def test_what_is_taken_away_is_gone_and_its_segment_is_known(gateway: Callable[[], Gateway]) -> None:
    it = gateway()
    head, records = await written(it.store)
    assert await it.log.shelved("k", (1, 0)) is None
    assert await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (2, 0), name("1.0", "2.0"))
    assert await it.store.page("k", (1, 0), 9) == records[2:]
    for place in ((1, 0), (2, 0)):
        found = await it.log.shelved("k", place)
        assert found is not None
        assert (found.name, found.first, found.last) == (name("1.0", "2.0"), (1, 0), (2, 0))
    assert await it.log.shelved("k", (2, 1)) is None
    assert await it.log.shorten("k", head.log_id, head.epoch, (2, 1), (4, 0), name("2.1", "4.0"))
    found = await it.log.shelved("k", (2, 1))
    assert found is not None
    assert found.last == (4, 0)
    await it.store.commit("k", after(head, 6, seq_first=12))
    assert [record.turn for record in await it.store.page("k", (1, 0), 9)] == [5, 6]


async def test_the_head_knows_what_the_log_takes(gateway: Callable[[], Gateway]) -> None:
    it = gateway()
    assert await it.store.log_bytes("k") == 0
    head, records = await written(it.store)
    sizes = [size_of(record) for record in records]

    async def known() -> int:
        there = await it.store.head("k")
        assert there is not None
        assert await it.store.log_bytes("k") == there.log_bytes
        return there.log_bytes

    assert await known() == sum(sizes)
    await it.store.commit("k", records[-1])
    assert await known() == sum(sizes), "the same once more takes nothing"
    assert await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (2, 0), name("1.0", "2.0"))
    assert await known() == sum(sizes[2:])
    assert not await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (2, 0), name("1.0", "2.0"))
    assert await it.log.shorten("k", head.log_id, head.epoch, (2, 1), (4, 0), "")
    assert await known() == sizes[-1]
    taken, _ = await gateway().store.open("k")
    assert taken.log_bytes == sizes[-1]


async def test_the_same_again_does_nothing(gateway: Callable[[], Gateway]) -> None:
    it = gateway()
    head, records = await written(it.store)
    assert await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (2, 0), name("1.0", "2.0"))
    assert not await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (2, 0), name("1.0", "2.0"))
    assert not await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (3, 0), name("1.0", "3.0"))
    assert not await it.log.shorten("k", head.log_id, head.epoch, (2, 1), (2, 7), name("2.1", "2.7"))
    assert await it.store.page("k", (1, 0), 9) == records[2:]


async def test_without_a_segment_nobody_says_where_they_are(gateway: Callable[[], Gateway]) -> None:
    it = gateway()
    head, records = await written(it.store)
    assert await it.log.shorten("k", head.log_id, head.epoch, (1, 0), (2, 1), "")
    assert await it.log.shelved("k", (1, 0)) is None
    assert await it.store.page("k", (1, 0), 9) == records[3:]


@pytest.mark.parametrize("wrong", ["log id", "epoch", "owner", "newest"])
async def test_who_may_not_write_may_not_take_away(gateway: Callable[[], Gateway], wrong: str) -> None:
    it = gateway()
    head, records = await written(it.store)
    log_id, epoch, last = head.log_id, head.epoch, (2, 0)
    if wrong == "log id":
        log_id = "another"
    elif wrong == "epoch":
        epoch += 1
    elif wrong == "owner":
        await gateway().store.open("k")
    else:
        last = (5, 0)
    with pytest.raises(Conflict):
        await it.log.shorten("k", log_id, epoch, (1, 0), last, name("1.0", f"{last[0]}.0"))
    assert await it.store.page("k", (1, 0), 9) == records
    assert await it.log.shelved("k", (1, 0)) is None

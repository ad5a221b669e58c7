"""Snapshots in a real Redis: what is read of long sessions and of heavy ones, and what crashes and rot do (F35, F37)."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from signal import SIGSTOP
from typing import Any

import pytest
from tests.support.conversing import Conversing, Counted
from tests.support.proof import SOAK
from tests.support.redis import RedisServer, running

from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.record import CorruptRecord
from rolehost_runtime.core.session import MAX_PAST_TURNS, SessionFold
from rolehost_runtime.core.snapshot import EVERY_BYTES, EVERY_TURNS, MOST_TURNS
from rolehost_runtime.gateway.broker.state.snapshots import COPIES_SECONDS
from rolehost_runtime.gateway.sessions import reading
from rolehost_runtime.gateway.sessions.history import History
from rolehost_runtime.gateway.sessions.live import folded

pytestmark = pytest.mark.timeout(120)

SNAP, WAL, HEAD, ASIDE = (f"rh:{{k}}:k:{name}" for name in ("snap", "wal", "head", "quarantine"))
HOT_BYTES = 1 << 20
TURNS = 10_000 if SOAK else 5_000
RECORDED = Path(__file__).parent / "recorded"
SAME = ("turn", "seq", "version", "amends", "last_at_ms", "revision", "response_id", "state", "past", "_seen")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    # Thousands of turns, and no machine loses its power here: a disk that others keep busy is not waited for.
    with running("--appendfsync", "no") as server:
        yield server


@pytest.fixture
async def store(redis: RedisServer) -> AsyncIterator[Counted]:
    store = Counted.connect(redis.url)
    assert isinstance(store, Counted)
    yield store
    await store.close()


async def ask(store: Counted, *words: Any) -> Any:
    return await store._redis.run(*words, key=b"rh:{k}:k:head")


async def opened(store: Counted) -> tuple[SessionFold, int]:
    """The session as a gateway opens it, and how many records that took."""
    before = store.records
    fold = await folded(*await store.open("k"))
    return fold, store.records - before


def same(one: SessionFold, other: SessionFold) -> None:
    for name in SAME:
        assert getattr(one, name) == getattr(other, name), name


# ── F37: long sessions, and heavy ones ──────────────────────────────────────────────


async def test_a_session_of_many_turns_is_opened_with_few_of_its_records(store: Counted) -> None:
    talk, bound = Conversing(store), MAX_PAST_TURNS + EVERY_TURNS
    await talk.open()
    await talk.talk(TURNS)
    fold, read = await opened(store)
    same(fold, talk.fold)
    assert 0 < read <= bound
    whole = SessionFold.of(fold.log_id, fold.epoch, await store.read("k"))
    same(fold, whole)
    store.records = 0
    seen = await reading.state(store, "k", History(store, None, "k"))
    assert (seen.state, seen.at.version) == ({"turns": TURNS}, TURNS)
    assert store.records <= EVERY_TURNS + 4
    talk.snapshots = False
    await talk.open()
    await talk.talk(bound)
    assert (await opened(store))[1] > bound, "without snapshots all that came since is read"
    for key in (SNAP, HEAD):
        assert await ask(store, "MEMORY", "USAGE", key, "SAMPLES", 0) < HOT_BYTES


async def test_what_is_written_for_snapshots_does_not_grow_with_the_session(store: Counted) -> None:
    talk = Conversing(store)
    await talk.open()
    written = []
    for _ in range(4):
        before = sum(talk.sizes)
        await talk.talk(1200)
        written.append(sum(talk.sizes) - before)
    assert written[-1] < 1.2 * written[1] + 5000 * 12, "the ids of messages are bounded"
    assert sum(talk.sizes) / 4800 < 1000, "bytes a turn"


STATE_BYTES = 255_000
SMALL = 40


@pytest.mark.parametrize("reply", ["yes", "龙" * 8_000])
async def test_a_session_with_the_largest_state_replays_no_more_than_its_cadence(store: Counted, reply: str) -> None:
    """The state is written again when what came since weighs as much, or takes a second to fold: neither too often nor
    too late."""
    names = [f"name{number}" for number in range(STATE_BYTES // SMALL)]

    def patch(turn: int) -> tuple[PatchOp, ...]:
        if turn == 1:
            return (PatchOp("add", "/names", dict.fromkeys(names, "x" * (SMALL - 16))), PatchOp("add", "/turns", 1))
        return (PatchOp("add", "/turns", turn), PatchOp("add", f"/names/{names[turn % len(names)]}", "y" * 20))

    talk = Conversing(store, reply=reply, patch=patch)
    await talk.open()
    await talk.talk(1000)
    assert len(talk.sizes) >= 4
    assert max(talk.sizes) < HOT_BYTES // 2
    log = sum(len(flat[-1]) for _, flat in await ask(store, "XRANGE", WAL, "-", "+"))
    most = log + (2 + 1000 / MOST_TURNS) * max(talk.sizes)
    assert sum(talk.sizes) < most, "no more is written again than was written"
    head, records = await store.open("k")
    assert head.kept is not None
    tail = [record for record in records if record.seq_first > head.kept.snapshot.seq]
    size = sum(len(record.reply) * 4 + 400 for record in tail)
    assert len(tail) <= MOST_TURNS + 1
    assert size <= 2 * max(EVERY_BYTES, head.kept.size) + 40_000
    same(await folded(head, records), talk.fold)
    for key in (SNAP, HEAD):
        assert await ask(store, "MEMORY", "USAGE", key, "SAMPLES", 0) < HOT_BYTES


# ── F35: crashes and rot ────────────────────────────────────────────────────────────


async def trim(store: Counted) -> bool:
    """As whoever cuts the log may: what is behind the older of two good snapshots."""
    older = await store.covered("k")
    if older is None:
        return False
    await ask(store, "XTRIM", WAL, "MINID", f"{older.past_from}-0")
    return True


@pytest.mark.parametrize("crash", ["before it is written", "while it is written", "before the trim", "after the trim"])
async def test_redis_dies_between_a_snapshot_and_the_trim(redis: RedisServer, store: Counted, crash: str) -> None:
    talk = Conversing(store, input="x" * 2_000, reply="y" * 2_000)
    await talk.open()
    await talk.talk(400)
    assert len(talk.sizes) >= 3
    if crash == "while it is written":
        assert redis._process is not None
        redis._process.send_signal(SIGSTOP)
        with pytest.raises(Unavailable):
            await talk.keep()
    if crash in ("before the trim", "after the trim"):
        await talk.keep()
    if crash == "after the trim":
        assert await trim(store)
    redis.kill()
    redis.start()
    fold, _ = await opened(store)
    same(fold, talk.fold)
    assert await trim(store)
    again, _ = await opened(store)
    same(again, talk.fold)
    talk.fold = again
    await talk.talk(10)
    same((await opened(store))[0], talk.fold)


async def rot(store: Counted, place: int) -> None:
    """Flip a bit of the newest snapshot but `place`."""
    found = await store.snapshot("k", (await store.snapshots("k"))[place])
    assert found is not None
    middle = len(found.data) // 2
    data = found.data[:middle] + bytes([found.data[middle] ^ 8]) + found.data[middle + 1 :]
    await ask(store, "HSET", SNAP, found.seq, data)


@pytest.mark.parametrize("rotten", [1, 2])
@pytest.mark.parametrize("trimmed", [False, True])
async def test_a_snapshot_that_rots_is_said_and_set_aside_and_the_session_goes_on_where_it_can(
    store: Counted, rotten: int, trimmed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    talk, why = Conversing(store, input="a-secret-word", reply="y" * 3_000), list[str]()
    await talk.open()
    await talk.talk(300)
    assert not trimmed or await trim(store)
    store.doubted = why.append
    for place in range(rotten):
        await rot(store, place)
    if trimmed and rotten == 2:
        with pytest.raises(CorruptRecord):
            await opened(store)
    else:
        same((await opened(store))[0], talk.fold)
    assert why == ["corrupt_snapshot"] * rotten
    assert sum("corrupt_snapshot: snap:" in line for line in caplog.messages) == rotten
    assert "secret" not in caplog.text
    assert len(await ask(store, "HKEYS", ASIDE)) == rotten
    assert 0 < await ask(store, "TTL", ASIDE) <= COPIES_SECONDS
    if not (trimmed and rotten == 2):
        await talk.open()
        await talk.keep()
        assert (await store.open("k"))[0].kept is not None


async def test_a_session_that_an_earlier_release_wrote_is_opened(store: Counted) -> None:
    """The bytes are those that version 1 of records and snapshots wrote: they are read for ever."""
    written = json.loads((RECORDED / "session-1.json").read_text())
    for key, fields in (("head", written["head"]), ("snap", written["snap"])):
        for name, value in fields.items():
            await ask(store, "HSET", f"rh:{{k}}:k:{key}", name, bytes.fromhex(value))
    for entry, fields in written["wal"]:
        await ask(store, "XADD", WAL, entry, *(word for name, value in fields for word in (name, bytes.fromhex(value))))
    head, records = await store.open("k")
    assert head.kept is not None
    fold = await folded(head, records)
    assert (fold.turn, fold.seq, fold.version, fold.amends, fold.state) == (6, 13, 6, 1, {"turns": 6})
    assert fold.past[-1].reply == "once upon a time"
    assert fold.past[3].reply == "once"
    assert [fold.turn_of(f"c{turn}") for turn in (1, 6)] == [1, 6]
    same(fold, SessionFold.of(fold.log_id, fold.epoch, await store.read("k")))
    assert await store.covered("k") is not None
    assert await ask(store, "HKEYS", ASIDE) == []

"""ports.SessionStore: one suite for Redis and for its fake."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from msgspec.structs import replace

from rolehost_api.errors import Conflict
from rolehost_api.link.messages import Degraded, PatchOp
from rolehost_api.wire import HeardPart
from rolehost_runtime.core.record import Amend, JournalEntry, Record, TurnRecord, event_count
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.ports import RAISE_MS, Head, HeldElsewhere, SessionStore


class Stores(Protocol):
    """Makes gateways' stores over one and the same Redis, or shelf."""

    def __call__(self, owner: str = "") -> SessionStore: ...


@pytest.fixture(params=["server", "sentinels", "cluster", "memory"])
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[Stores]:
    if request.param == "memory":
        shelf = Shelf(raise_ms=RAISE_MS)
        yield lambda owner="": MemorySessionStore(shelf, owner)
        return
    url: str = request.getfixturevalue(request.param).url
    if request.param != "server":
        url += "?replicas=1"
    made: list[RedisSessionStore] = []

    def make(owner: str = "") -> SessionStore:
        made.append(RedisSessionStore.connect(url, owner=owner))
        return made[-1]

    yield make
    await made[0]._redis.everywhere("FLUSHALL")
    for store in made:
        await store.close()


def after(head: Head, turn: int = 1, **changes: object) -> TurnRecord:
    """A record that fits right after `head`, with every field filled."""
    patch = (PatchOp("incr", "/dragons", 1), PatchOp("add", "/names", ["Smaug", {"a": None, "b": 1.5}]))
    record = TurnRecord(
        log_id=head.log_id,
        epoch=head.epoch,
        turn=turn,
        seq_first=head.seq + 1,
        seq_count=event_count(patch),
        version=head.version + 1,
        now_ms=1_730_000_000_000 + turn,
        at_ms=1_730_000_000_000 + turn,
        revision="cat-1",
        response_id=f"r{turn}",
        input="讲一个关于龙的短故事\x00",
        reply="从前，有一条龙……",
        client_msg_id=f"c{turn}",
        user="u-17",
        patch=patch,
        degraded=(Degraded("answer", "hook_deadline", "story.py:3"),),
        journal=(JournalEntry(index=0, kind="call_model", outcome="x"),),
        rng_seed=7,
    )
    return replace(record, **changes)


async def test_a_session_that_never_was_is_empty(stores: Stores) -> None:
    store = stores()
    assert await store.read("k") == []
    head, records = await store.open("k")
    assert (head.epoch, head.turn, head.seq, head.version, head.revision, records) == (1, 0, 0, 0, "", [])
    assert head.log_id


async def test_what_was_committed_is_read_back_whole(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    record = after(head)
    await store.commit("k", record)
    assert await store.read("k") == [record]
    again, records = await store.open("k")
    assert records == [record]
    assert (again.log_id, again.epoch, again.turn, again.seq) == (head.log_id, 2, 1, 2)
    assert (again.version, again.revision, again.last_at_ms) == (1, "cat-1", record.at_ms)


async def test_many_turns_keep_their_order(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    for turn in range(1, 601):
        await store.commit("k", after(head, turn, seq_first=2 * turn - 1))
    assert [record.turn for record in await store.read("k")] == list(range(1, 601))


async def test_a_log_is_read_by_the_page_from_any_turn_on(stores: Stores) -> None:
    store = stores()
    assert (await store.page("k", (1, 0), 3), await store.head("k")) == ([], None)
    head, _ = await store.open("k")
    assert await store.head("k") == head
    records = [after(head, turn, seq_first=2 * turn - 1) for turn in range(1, 6)]
    for record in records:
        await store.commit("k", record)
    assert await store.page("k", (1, 0), 3) == records[:3]
    assert await store.page("k", (4, 0), 3) == records[3:]
    assert await store.page("k", (5, 1), 3) == await store.page("k", (6, 0), 3) == []
    found = await store.head("k")
    assert found is not None
    assert (found.log_id, found.epoch, found.turn, found.seq, found.version) == (head.log_id, head.epoch, 5, 10, 1)


async def test_the_same_record_again_is_accepted(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.commit("k", after(head))
    assert len(await store.read("k")) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"reply": "something else"}, id="another-record-in-its-place"),
        pytest.param({"turn": 3}, id="a-turn-was-left-out"),
        pytest.param({"turn": 2, "log_id": "another"}, id="of-another-log"),
        pytest.param({"turn": 2, "epoch": 0}, id="of-an-earlier-epoch"),
        pytest.param({"turn": 2, "epoch": 2}, id="of-an-epoch-to-come"),
        pytest.param({"turn": 2, "seq_first": 2}, id="an-event-has-a-number-that-was-given"),
        pytest.param({"turn": 2, "seq_first": 4}, id="a-number-was-left-out"),
    ],
)
async def test_what_does_not_fit_is_refused_and_changes_nothing(stores: Stores, wrong: dict[str, object]) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    with pytest.raises(Conflict) as raised:
        await store.commit("k", after(head, **wrong))  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.retryable) == ("superseded", True)
    assert await store.read("k") == [after(head)]


async def test_who_opens_fences_who_held_it(stores: Stores) -> None:
    old, new = stores(), stores()
    before, _ = await old.open("k")
    now, _ = await new.open("k")
    with pytest.raises(Conflict):
        await old.commit("k", after(before))
    with pytest.raises(Conflict):  # the right epoch, but somebody else's
        await old.commit("k", after(now))
    await new.commit("k", after(now))
    assert len(await old.read("k")) == 1


async def test_who_yields_to_the_owner_changes_nothing(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    head, _ = await a.open("k", ("b/1", "c/1"))
    with pytest.raises(HeldElsewhere) as raised:
        await b.open("k", ("c/1", "a/1"))
    assert (raised.value.owner, raised.value.epoch) == ("a/1", 1)
    await a.commit("k", after(head))
    taken, records = await b.open("k", ("c/1",))
    assert (taken.epoch, taken.turn, len(records)) == (2, 1, 1)
    with pytest.raises(HeldElsewhere):
        await a.open("k", ("b/1",))
    again, _ = await b.open("k", ("a/1",))
    assert again.epoch == 3


async def test_it_is_said_how_a_session_came_to_its_owner(stores: Stores) -> None:
    a, b, c = stores("a/1"), stores("b/1"), stores("c/1")
    came = [(await a.open("k"))[0], (await a.open("k", ("b/1", "c/1")))[0], (await b.open("k", ("c/1",), ("a/1",)))[0]]
    came.append((await c.open("k", ("a/1",), ("a/1",)))[0])
    assert [(head.how, head.epoch) for head in came] == [("new", 1), ("own", 2), ("handover", 3), ("takeover", 4)]
    looked_at = await a.head("k")
    assert looked_at is not None
    assert looked_at.epoch == 4


async def raised_ms(store: SessionStore) -> int:
    """When the session was last taken over, by the store's own clock."""
    if isinstance(store, MemorySessionStore):
        return store.shelf.raised_ms["k"]
    assert isinstance(store, RedisSessionStore)
    return int(await store._redis.run("HGET", "rh:{k}:head", "raised_ms", key=b"rh:{k}:head"))


async def test_a_session_is_taken_over_once_a_second_and_given_away_as_often_as_one_likes(stores: Stores) -> None:
    a, b, c = stores("a/1"), stores("b/1"), stores("c/1")
    await a.open("k")
    await b.open("k")
    first = await raised_ms(a)
    await a.open("k", given=("b/1",))
    await b.open("k", given=("a/1",))
    assert await raised_ms(a) == first
    await c.open("k")
    assert await raised_ms(a) - first >= RAISE_MS
    again = await raised_ms(a)
    with pytest.raises(HeldElsewhere):  # who waits yields to whoever was first after all
        await asyncio.gather(a.open("k", ("b/1",)), b.open("k", ("a/1",)))
    assert await raised_ms(a) - again >= RAISE_MS


async def test_a_session_that_nobody_opened_takes_no_turn(stores: Stores) -> None:
    with pytest.raises(Conflict):
        await stores().commit("k", after(Head("log", 1, 0, 0, 0, "")))


async def test_sessions_do_not_touch_each_other(stores: Stores) -> None:
    store = stores()
    one, _ = await store.open("k1")
    two, _ = await store.open("k2")
    await asyncio.gather(store.commit("k1", after(one)), store.commit("k2", after(two, reply="other")))
    assert [record.reply for record in await store.read("k2")] == ["other"]
    assert one.log_id != two.log_id


async def test_of_two_gateways_that_commit_at_once_one_wins(stores: Stores) -> None:
    gateways = [stores() for _ in range(4)]
    heads = [(await gateway.open("k"))[0] for gateway in gateways]
    outcomes = await asyncio.gather(
        *(gateway.commit("k", after(head)) for gateway, head in zip(gateways, heads, strict=True)),
        return_exceptions=True,
    )
    assert [outcome is None for outcome in outcomes] == [False, False, False, True]
    assert len(await gateways[0].read("k")) == 1


async def test_who_may_write_is_read_without_a_change(stores: Stores) -> None:
    one, other = stores("a/1"), stores("b/1")
    assert await one.fence("k") is None
    head, _ = await one.open("k")
    await one.commit("k", after(head))
    assert await one.fence("k") == Fence(head.log_id, 1, True, 2)
    assert await other.fence("k") == Fence(head.log_id, 1, False, 2)


async def test_a_log_gets_another_name_from_its_owner_only(stores: Stores) -> None:
    one, other = stores("a/1"), stores("b/1")
    with pytest.raises(Conflict):
        await one.rename("k", Head("log", 1, 0, 0, 0, ""))
    before, _ = await one.open("k")
    await one.commit("k", after(before))
    with pytest.raises(Conflict):
        await other.rename("k", before)
    named = await one.rename("k", before)
    assert (named.log_id != before.log_id, named.epoch) == (True, before.epoch)
    with pytest.raises(Conflict):
        await one.commit("k", after(before, 2, seq_first=3))
    await one.commit("k", after(named, 2, seq_first=3))
    assert [record.log_id for record in await one.read("k")] == [before.log_id, named.log_id]
    await other.open("k")
    with pytest.raises(Conflict):
        await one.rename("k", named)


def amend(head: Head, turn: int = 1, number: int = 1, seq: int = 3, **changes: object) -> Amend:
    """An amend that fits right after `after(head, turn)`, where it is the log's first record."""
    record = Amend(
        log_id=head.log_id,
        epoch=head.epoch,
        turn=turn,
        number=number,
        seq_first=seq,
        at_ms=1_730_000_000_900 + number,
        response_id=f"r{turn}",
        reply="从前",
        heard=HeardPart(chars=2, audio_ms=640),
    )
    return replace(record, **changes)


async def test_amends_follow_their_turn_and_are_numbered_over_the_whole_log(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    records: list[Record] = [
        after(head),
        amend(head),
        amend(head, number=2, seq=4),
        after(head, 2, seq_first=5),
        amend(head, 2, 3, 7),
        after(head, 3, seq_first=8),
    ]
    for record in records:
        await store.commit("k", record)
    assert await store.read("k") == records
    assert [await store.page("k", record.position, 2) for record in records] == [
        records[place : place + 2] for place in range(len(records))
    ]
    assert await store.page("k", (1, 3), 9) == records[3:]
    found = await store.head("k")
    assert found is not None
    assert (found.turn, found.seq, found.amends, found.revision) == (3, 9, 3, "cat-1")
    again, read = await store.open("k")
    assert (again.turn, again.seq, again.amends, again.revision, read) == (3, 9, 3, "cat-1", records)


async def test_the_same_amend_again_is_accepted_and_another_one_in_its_place_is_not(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.commit("k", amend(head))
    await store.commit("k", amend(head))
    await store.commit("k", after(head))  # a turn whose answer was lost, sent once more after its amend
    with pytest.raises(Conflict):
        await store.commit("k", amend(head, reply="从"))
    assert await store.read("k") == [after(head), amend(head)]
    assert (await store.open("k"))[0].version == 1


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"turn": 2}, id="of-a-turn-to-come"),
        pytest.param({"number": 2}, id="one-was-left-out"),
        pytest.param({"seq_first": 2}, id="its-number-was-given"),
        pytest.param({"seq_first": 4}, id="a-number-was-left-out"),
        pytest.param({"epoch": 0}, id="of-an-earlier-epoch"),
        pytest.param({"log_id": "another"}, id="of-another-log"),
    ],
)
async def test_an_amend_that_does_not_fit_is_refused_and_changes_nothing(
    stores: Stores, wrong: dict[str, object]
) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    with pytest.raises(Conflict) as raised:
        await store.commit("k", amend(head, **wrong))  # type: ignore[arg-type]
    assert raised.value.code == "superseded"
    assert await store.read("k") == [after(head)]
    found = await store.head("k")
    assert found is not None
    assert (found.seq, found.amends) == (2, 0)


async def test_only_the_newest_turn_is_amended(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.commit("k", after(head, 2, seq_first=3))
    with pytest.raises(Conflict):
        await store.commit("k", amend(head, seq=5))
    assert len(await store.read("k")) == 2


def opened(turn: int = 1, **changes: object) -> OpenTurn:
    found = {"client_msg_id": "c-7", "user": None, "deadline_at_ms": 1_730_000_001_000} | changes
    return OpenTurn(turn, "r9", "讲一个\x00", now_ms=1, rng_seed=2**63 - 1, revision="cat-1", **found)  # type: ignore[arg-type]


async def test_a_turn_that_was_noted_is_found_by_the_next_owner_and_its_deaths_are_counted(stores: Stores) -> None:
    a, b, c = stores("a/1"), stores("b/1"), stores("c/1")
    head, _ = await a.open("k")
    assert (head.open, head.deaths) == (None, 0)
    await a.note("k", head.log_id, head.epoch, 1, opened())
    own, _ = await a.open("k")
    assert (own.open, own.deaths) == (opened(), 0)
    taken, _ = await b.open("k")
    assert (taken.open, taken.deaths) == (opened(), 1)
    assert (await b.open("k"))[0].deaths == 1
    again, _ = await c.open("k")
    assert (again.open, again.deaths) == (opened(), 2)
    assert await a.head("k") == await b.head("k") == again
    await c.commit("k", after(again))
    done, _ = await a.open("k")
    assert (done.open, done.deaths, done.turn) == (None, 0, 1)


async def test_an_amend_leaves_the_open_turn_noted(stores: Stores) -> None:
    store = stores()
    head, _ = await store.open("k")
    await store.commit("k", after(head))
    await store.note("k", head.log_id, head.epoch, 2, opened(2))
    await store.commit("k", amend(head))
    assert (await store.open("k"))[0].open == opened(2)


async def test_a_turn_that_was_given_up_is_not_found(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    head, _ = await a.open("k")
    await a.note("k", head.log_id, head.epoch, 1, opened())
    await a.note("k", head.log_id, head.epoch, 1, None)
    taken, _ = await b.open("k")
    assert (taken.open, taken.deaths) == (None, 0)


async def test_a_note_that_comes_too_late_changes_nothing(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    await a.note("k", "log", 1, 1, opened())  # nobody opened it
    head, _ = await a.open("k")
    await a.commit("k", after(head))
    await a.note("k", head.log_id, head.epoch, 1, opened())  # its commit overtook it
    taken, _ = await b.open("k")
    assert taken.open is None
    await a.note("k", taken.log_id, taken.epoch, 2, opened(2))  # another's epoch
    await a.note("k", head.log_id, head.epoch, 2, opened(2))  # fenced
    await b.note("k", taken.log_id, taken.epoch, 3, opened(3))  # not the next turn
    assert (await b.open("k"))[0].open is None


async def test_who_yields_counts_no_death(stores: Stores) -> None:
    a, b = stores("a/1"), stores("b/1")
    head, _ = await a.open("k")
    await a.note("k", head.log_id, head.epoch, 1, opened())
    with pytest.raises(HeldElsewhere):
        await b.open("k", ("a/1",))
    assert (await a.open("k"))[0].deaths == 0

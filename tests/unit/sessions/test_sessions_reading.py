"""Sessions are read by the page, and where they stand is known without taking them over."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import ACME, EVIL, principal, role_entry
from tests.support.talking import CountingStore, Talkers

from rolehost_api.errors import NotFound
from rolehost_api.link.messages import PatchOp
from rolehost_runtime.core.record import event_count, turns_heard
from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.gateway.sessions import reading

STATE = (PatchOp("incr", "/turns", 1),)


async def written(patches: list[bool], reply: str = "x") -> tuple[CountingStore, Any]:
    """A log whose turns changed the state or did not, and its head."""
    store = CountingStore()
    head, _ = await store.open("k")
    fold = SessionFold(head.log_id, head.epoch)
    for turn, changes in enumerate(patches, 1):
        opened = fold.begin("hi", revision="r", response_id=f"r{turn}", rng_seed=1, now_ms=turn)
        outcome = Outcome(reply=reply, patch=STATE if changes else ())
        record = fold.propose(opened, outcome, now_ms=turn, max_bytes=65_536)
        await store.commit("k", record)
        fold.committed()
    return store, await store.head("k")


def seqs(page: Any) -> list[int]:
    return [event.seq for event in page.events]


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 60))
def test_who_heard_up_to_an_event_misses_no_turn_and_few_are_looked_at(patches: list[bool], after: int) -> None:
    counts = [event_count(STATE if changes else ()) for changes in patches]
    ends = [sum(counts[: turn + 1]) for turn in range(len(counts))]
    seq, turn = sum(counts), len(counts)
    heard = turns_heard(min(after, seq), turn, seq)
    assert 0 <= heard <= turn
    assert all(end <= after for end in ends[:heard])
    if len(set(patches)) == 1 and after <= seq and after % counts[0] == 0:
        assert heard == after // counts[0], "exact where all turns are alike"


@given(st.lists(st.booleans(), max_size=12), st.integers(0, 26))
def test_the_pages_together_are_the_log(patches: list[bool], after: int) -> None:
    async def read() -> list[int]:
        store, head = await written(patches)
        whole: list[int] = []
        at = min(after, head.seq)
        while True:
            page = await reading.events(store, "k", "s", at, head)
            whole += seqs(page)
            if not page.more:
                return [*whole, head.seq]
            at = page.last_seq

    *told, last = asyncio.run(read())
    assert told == list(range(min(after, last) + 1, last + 1))


async def test_one_answer_is_bounded_in_bytes_and_says_where_to_go_on() -> None:
    store, head = await written([False] * 9, reply="y" * 250_000)
    first = await reading.events(store, "k", "s", 0, head)
    assert (seqs(first), first.more, first.last_seq) == ([1, 2, 3, 4], True, 4)
    rest = await reading.events(store, "k", "s", 8, head)
    assert (seqs(rest), rest.more, rest.last_seq) == ([9], False, 9)


async def test_an_event_larger_than_an_answer_comes_alone() -> None:
    store, head = await written([False, False], reply="\x01" * 250_000)
    assert seqs(await reading.events(store, "k", "s", 0, head)) == [1]


async def test_one_answer_is_bounded_in_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PAGE_EVENTS", 5)
    store, head = await written([True] * 6)
    page = await reading.events(store, "k", "s", 2, head)
    assert (seqs(page), page.more) == ([3, 4, 5, 6, 7], True)


async def test_the_end_of_a_long_log_is_read_without_its_begin() -> None:
    store, head = await written([True, False] * 50)
    page = await reading.events(store, "k", "s", head.seq - 1, head)
    assert (seqs(page), page.last_seq) == ([head.seq], head.seq)
    assert store.read_by_page == 1


async def test_who_knows_more_than_the_log_is_told_of_the_gap_and_all_there_is() -> None:
    store, head = await written([True])
    page = await reading.events(store, "k", "s", 99, head)
    assert (page.gap, seqs(page)) == (True, [1, 2])


async def test_the_state_is_what_the_log_adds_up_to() -> None:
    store, head = await written([True, False, True, False])
    seen = await reading.state(store, "k")
    assert (seen.at.version, seen.at.seq, seen.state) == (2, head.seq, {"turns": 2})


async def test_nothing_is_made_by_looking() -> None:
    async with Talkers() as house:
        for ask in (house.service.position, house.service.state):
            with pytest.raises(NotFound, match="no such session"):
                await ask(principal(ACME), role_entry(), "s")
        with pytest.raises(NotFound, match="no such session"):
            await house.service.events(principal(ACME), role_entry(), "s", 0)
        assert house.store.shelf.heads == {}
        await house.say("s", "hi")
        assert (await house.service.position(principal(ACME), role_entry(), "s")).seq == 2
        with pytest.raises(NotFound, match="no such session"):
            await house.service.position(principal(EVIL), role_entry(EVIL), "s")


async def test_the_state_of_a_session_that_is_awake_is_not_read_from_the_log() -> None:
    async with Talkers() as house:
        await house.say("s", "hi", "again")
        house.store.read_by_page = 0
        seen = await house.service.state(principal(ACME), role_entry(), "s")
        assert (seen.at.version, seen.at.seq, seen.state, house.store.read_by_page) == (2, 4, {"turns": 2}, 0)
        for live in house.service._live.values():
            live.sleep()
        assert await house.service.state(principal(ACME), role_entry(), "s") == seen
        assert house.store.read_by_page == 2

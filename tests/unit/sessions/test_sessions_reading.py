"""Sessions are read by the page, and where they stand is known without taking them over."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import ACME, EVIL, Ear, principal, role_entry
from tests.support.talking import CountingStore, Talkers

from rolehost_api.errors import NotFound
from rolehost_api.link.messages import PatchOp
from rolehost_api.wire import HeardPart, ResponseAmended, ResponseDone
from rolehost_runtime.core.record import event_count, place_after
from rolehost_runtime.core.session import Outcome, SessionFold
from rolehost_runtime.gateway.sessions import reading
from rolehost_runtime.gateway.sessions.history import History

STATE = (PatchOp("incr", "/turns", 1),)


@dataclass(frozen=True)
class Lived:
    """One turn: whether it changed the state, and how often it was said afterwards that less of it was heard."""

    changes: bool = False
    amends: int = 0


LOG = st.lists(st.builds(Lived, st.booleans(), st.sampled_from((0, 0, 0, 1, 3))), max_size=12)


async def written(turns: Sequence[Lived | bool], reply: str = "xxxx") -> tuple[CountingStore, Any]:
    """A log of such turns, and its head."""
    store = CountingStore()
    head, _ = await store.open("k")
    fold = SessionFold(head.log_id, head.epoch)
    for turn, lived in enumerate(turns, 1):
        lived = lived if isinstance(lived, Lived) else Lived(lived)
        opened = fold.begin("hi", revision="r", response_id=f"r{turn}", rng_seed=1, now_ms=turn)
        outcome = Outcome(reply=reply, patch=STATE if lived.changes else ())
        await store.commit("k", fold.propose(opened, outcome, now_ms=turn, max_bytes=65_536))
        fold.committed()
        for number in range(lived.amends):
            amend = fold.amend(f"r{turn}", HeardPart(chars=len(reply) - 1 - number), now_ms=turn)
            assert amend is not None
            await store.commit("k", amend)
            fold.amended()
    return store, await store.head("k")


def seqs(page: Any) -> list[int]:
    return [event.seq for event in page.events]


@given(st.lists(st.booleans(), max_size=30), st.integers(0, 60))
def test_who_heard_up_to_an_event_misses_no_turn_and_few_are_looked_at(patches: list[bool], after: int) -> None:
    counts = [event_count(STATE if changes else ()) for changes in patches]
    ends = [sum(counts[: turn + 1]) for turn in range(len(counts))]
    seq, turn = sum(counts), len(counts)
    place = place_after(min(after, seq), turn, seq, 0)
    heard = place[0] - 1 if place[1] == 0 else place[0]
    assert 0 <= heard <= turn
    assert all(end <= after for end in ends[:heard])
    if len(set(patches)) == 1 and after <= seq and after % counts[0] == 0:
        assert heard == after // counts[0], "exact where all turns are alike"


@given(LOG, st.integers(0, 40))
def test_the_pages_together_are_the_log_whatever_was_amended_in_it(turns: list[Lived], after: int) -> None:
    async def read() -> list[int]:
        store, head = await written(turns)
        whole: list[int] = []
        at = min(after, head.seq)
        while True:
            page = await reading.events(History(store, None, "k"), "s", at, head)
            whole += seqs(page)
            if not page.more:
                return [*whole, head.seq]
            at = page.last_seq

    *told, last = asyncio.run(read())
    assert told == list(range(min(after, last) + 1, last + 1))


@given(LOG, st.integers(0, 3), st.data())
def test_what_is_written_after_the_head_was_read_is_read_too(
    turns: list[Lived], more: int, data: st.DataObject
) -> None:
    """Who resumes asks for the head first, and pages go on until nothing is new."""

    async def read(after: int, known: Any) -> list[int]:
        store, _ = await written(turns)
        return seqs(await reading.events(History(store, None, "k"), "s", after, known))

    async def heads() -> tuple[Any, Any]:
        before = [*turns[:-1], replace(turns[-1], amends=max(0, turns[-1].amends - more))] if turns else []
        return (await written(before))[1], (await written(turns))[1]

    known, head = asyncio.run(heads())
    after = data.draw(st.integers(0, known.seq))
    assert asyncio.run(read(after, known)) == list(range(after + 1, head.seq + 1))


async def test_one_answer_is_bounded_in_bytes_and_says_where_to_go_on() -> None:
    store, head = await written([False] * 9, reply="y" * 250_000)
    first = await reading.events(History(store, None, "k"), "s", 0, head)
    assert (seqs(first), first.more, first.last_seq) == ([1, 2, 3, 4], True, 4)
    rest = await reading.events(History(store, None, "k"), "s", 8, head)
    assert (seqs(rest), rest.more, rest.last_seq) == ([9], False, 9)


async def test_an_event_larger_than_an_answer_comes_alone() -> None:
    store, head = await written([False, False], reply="\x01" * 250_000)
    assert seqs(await reading.events(History(store, None, "k"), "s", 0, head)) == [1]


async def test_one_answer_is_bounded_in_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_PAGE_EVENTS", 5)
    store, head = await written([True] * 6)
    page = await reading.events(History(store, None, "k"), "s", 2, head)
    assert (seqs(page), page.more) == ([3, 4, 5, 6, 7], True)


async def test_the_end_of_a_long_log_is_read_without_its_begin() -> None:
    store, head = await written([True, False] * 50)
    page = await reading.events(History(store, None, "k"), "s", head.seq - 1, head)
    assert (seqs(page), page.last_seq) == ([head.seq], head.seq)
    assert store.read_by_page == 1


async def test_who_knows_more_than_the_log_is_told_of_the_gap_and_all_there_is() -> None:
    store, head = await written([True])
    page = await reading.events(History(store, None, "k"), "s", 99, head)
    assert (page.gap, seqs(page)) == (True, [1, 2])


async def test_the_state_is_what_the_log_adds_up_to() -> None:
    store, head = await written([True, False, True, False])
    seen = await reading.state(store, "k", History(store, None, "k"))
    assert (seen.at.version, seen.at.seq, seen.state) == (2, head.seq, {"turns": 2})


@given(LOG)
def test_the_state_is_what_the_turns_add_up_to_and_the_log_goes_on_where_its_last_event_is(turns: list[Lived]) -> None:
    async def read() -> tuple[Any, Any]:
        store, head = await written(turns)
        return await reading.state(store, "k", History(store, None, "k")), head

    seen, head = asyncio.run(read())
    changed = sum(turn.changes for turn in turns)
    assert (seen.at.version, seen.at.seq, seen.state) == (changed, head.seq, {"turns": changed} if changed else {})


async def test_a_state_whose_newest_change_lies_before_the_snapshot_is_as_urgent_as_it_was() -> None:
    store = CountingStore()
    head, _ = await store.open("k")
    fold = SessionFold(head.log_id, head.epoch)
    for number, (patch, urgent) in enumerate([(STATE, True), ((), False), ((), False)]):
        opened = fold.begin("hi", revision="cat-1", response_id=f"r{number}", rng_seed=1, now_ms=number)
        record = fold.propose(opened, Outcome("yes", patch, urgent=urgent), now_ms=number, max_bytes=4096)
        await store.commit("k", record)
        fold.committed()
        if number == 1:
            await store.keep("k", fold.snapshot())
    seen = await reading.state(store, "k", History(store, None, "k"))
    assert (seen.at.version, seen.at.seq, seen.is_urgent) == (1, fold.seq, True)


async def test_nothing_is_made_by_looking() -> None:
    async with Talkers() as house:
        for ask in (house.service.standing, house.service.state):
            with pytest.raises(NotFound, match="no such session"):
                await ask(principal(ACME), role_entry(), "s")
        with pytest.raises(NotFound, match="no such session"):
            await house.service.events(principal(ACME), role_entry(), "s", 0)
        assert house.store.shelf.heads == {}
        await house.say("s", "hi")
        assert (await house.service.standing(principal(ACME), role_entry(), "s")).seq == 2
        with pytest.raises(NotFound, match="no such session"):
            await house.service.standing(principal(EVIL), role_entry(EVIL), "s")


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


async def test_who_has_heard_all_and_resumes_hears_an_amend_that_comes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Talkers() as house:
        told = await house.say("s", "hi")
        handle, _ = await house.at("s")
        ear = Ear()
        late = await house.service.attach(principal(ACME), role_entry(), "s", ear)
        page, at = house.store.page, told.of(ResponseDone)[0]

        async def amended_first(*arguments: Any) -> Any:
            monkeypatch.setattr(house.store, "page", page)
            await handle.cancel(at.response_id, HeardPart(chars=3))
            return await page(*arguments)

        monkeypatch.setattr(house.store, "page", amended_first)
        await late.resume(at.seq)
        assert [event.seq for event in ear.of(ResponseAmended)] == [at.seq + 1]
        state = await house.service.state(principal(ACME), role_entry(), "s")
        assert (state.at.seq, state.state) == (at.seq + 1, {"turns": 1})

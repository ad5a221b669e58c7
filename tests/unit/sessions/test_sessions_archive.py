"""What leaves a log is in its segment, wherever the process that moves it dies; whoever reads notices nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.archiving import KEY, Died, Kept, Steps, read, talk
from tests.support.rooms import ACME, principal
from tests.support.talking import Talkers

from rolehost_api.errors import Conflict, Unavailable
from rolehost_api.wire import Resumed
from rolehost_runtime.core import segment, session
from rolehost_runtime.core.export import ExportEnd, ExportTurn
from rolehost_runtime.core.record import CorruptRecord, Position
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.sessions.archive import MAX_WAITING, Archive, Old
from rolehost_runtime.gateway.sessions.history import Past, gap_before

AMENDS = st.lists(st.sampled_from((0, 0, 0, 1, 3)), min_size=2, max_size=12)


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment, "MAX_ENTRIES", 3)


async def at_rest(amends: Sequence[int], before: Position, steps: Steps) -> Kept:
    """A log, moved by a process that dies at that step; if it does."""
    kept = Kept()
    head, records = await talk(kept.store, amends)
    with suppress(Died):
        await Archive(kept.past(steps=steps)).move(kept.old(head, before))
    assert await kept.whole() == records, "nothing is missing and nothing is there twice"
    return kept


@settings(max_examples=10)
@given(AMENDS, st.data())
def test_it_dies_at_any_step_and_nothing_is_lost_and_the_next_run_ends_it(
    amends: list[int], data: st.DataObject
) -> None:
    before = data.draw(st.tuples(st.integers(1, len(amends)), st.sampled_from((0, 0, 1))))

    async def lives() -> None:
        counted = Steps()
        await at_rest(amends, before, counted)
        for at in range(counted.done):
            kept = await at_rest(amends, before, Steps(at))
            whole, head = await kept.whole(), await kept.store.head(KEY)
            assert head is not None
            if data.draw(st.booleans()):  # another process goes on
                head, _ = await kept.store.open(KEY)
            archive = Archive(kept.past())
            await archive.move(kept.old(head, before))
            assert await kept.whole() == whole
            assert await kept.in_log() == [one.position for one in whole if one.position >= before]
            assert await archive.move(kept.old(head, before)) == 0, "a run more does nothing"
            assert sorted(kept.segments.kept) == sorted(kept.named()), "no object is left that nobody names"

    asyncio.run(lives())


@settings(max_examples=10)
@given(st.data())
def test_owners_die_one_after_the_other_at_any_step_and_the_last_one_leaves_no_object_that_nobody_names(
    data: st.DataObject,
) -> None:
    """Each is offered more than the one before it, so each writes other segments of the same records."""

    async def lives() -> None:
        kept = Kept()
        head, records = await talk(kept.store, [0] * 16)
        for before in (5, 7, 10, 11):
            with suppress(Died):
                steps = Steps(data.draw(st.integers(0, 30)))
                await Archive(kept.past(steps=steps)).move(kept.old(head, (before, 0)))
            assert await kept.whole() == records
            head, _ = await kept.store.open(KEY)
        await Archive(kept.past()).move(kept.old(head, (15, 0)))
        assert await kept.whole() == records
        assert sorted(kept.segments.kept) == sorted(kept.named())

    asyncio.run(lives())


async def test_what_this_owner_wrote_itself_stays_for_its_own_word_may_be_on_its_way_still() -> None:
    """A partition swallowed the call that names a segment. The next one is given up too; then the first arrives."""
    kept = Kept()
    await kept.store.open(KEY)
    head, records = await talk(kept.store, [0] * 9)
    assert head.epoch == 2
    past, late = kept.past(), []

    async def swallowed(*arguments: object) -> bool:
        late.append(arguments)
        raise Unavailable("away", code="state_unavailable")

    shorten, past.log.shorten = past.log.shorten, swallowed  # type: ignore[method-assign,assignment]
    archive = Archive(past)
    for before in (3, 6):
        with pytest.raises(Unavailable):
            await archive.move(kept.old(head, (before, 0)))
        archive = Archive(past)  # and one that remembers nothing
    assert await shorten(*late[0])  # type: ignore[arg-type]
    assert await kept.whole() == records


async def test_who_is_fenced_after_its_word_was_carried_out_deletes_nothing_that_is_named() -> None:
    """The answer was lost; the call was sent again, and another owner had come meanwhile."""
    kept = Kept()
    head, records = await talk(kept.store, [0] * 6)
    past = kept.past()
    shorten = past.log.shorten

    async def answered_late(*arguments: object) -> bool:
        assert await shorten(*arguments)  # type: ignore[arg-type]
        await kept.store.open(KEY)
        return await shorten(*arguments)  # type: ignore[arg-type]

    past.log.shorten = answered_late  # type: ignore[method-assign,assignment]
    with pytest.raises(Conflict):
        await Archive(past).move(kept.old(head, (4, 0)))
    assert await kept.whole() == records
    assert list(kept.segments.kept) == kept.named() != []


async def test_what_another_log_of_the_session_left_is_not_touched() -> None:
    kept = Kept()
    await kept.store.open(KEY)
    head, _ = await talk(kept.store, [0] * 6)
    beside = {
        f"u-1/{KEY}/{KEY}/{log_id}/{epoch}-1.0-3.0-{32 * 'a'}": b"x"
        for log_id, epoch in (("elsewhere", 1), (head.log_id, head.epoch + 1))
    }
    left = f"u-1/{KEY}/{KEY}/{head.log_id}/1-1.0-2.0-{32 * 'a'}"
    kept.segments.kept = dict(beside) | {left: b"y"}
    await Archive(kept.past()).move(kept.old(head, (4, 0)))
    assert sorted(kept.segments.kept) == sorted([*beside, *kept.named()]), "only what nobody can name any more goes"


@given(AMENDS, st.data())
def test_reading_from_anywhere_is_the_log_wherever_it_was_cut(amends: list[int], data: st.DataObject) -> None:
    async def same() -> None:
        kept = Kept()
        head, records = await talk(kept.store, amends)
        for _ in range(data.draw(st.integers(1, 3))):
            cut = data.draw(st.sampled_from([one.position for one in records if one.position <= (len(amends), 0)]))
            await Archive(kept.past()).move(kept.old(head, cut))
        start = data.draw(st.sampled_from([one.position for one in records]))
        turn, number = start
        for place in (start, (turn, number + 1)):
            expected = [one for one in records if one.position >= place]
            assert await read(kept.history(), data.draw(st.integers(1, 5)), place) == expected

    asyncio.run(same())


async def test_records_that_leave_while_somebody_reads_are_read_once() -> None:
    kept = Kept()
    head, records = await talk(kept.store, [0, 1] * 8)
    reading = kept.history()
    found = await reading.page((1, 0), 4)
    await Archive(kept.past()).move(kept.old(head, (9, 0)))
    turn, number = found[-1].position
    found += await read(reading, 3, (turn, number + 1))
    assert found == records


async def test_reading_what_is_recent_asks_nobody_but_the_log() -> None:
    kept = Kept()
    head, records = await talk(kept.store, [0] * 12)
    await Archive(kept.past()).move(kept.old(head, (7, 0)))
    steps = Steps(0)  # the first word to the archive, or about it, would be its last
    reading = kept.history()
    reading._past = kept.past(steps=steps)
    assert await read(reading, 2, (7, 0)) == records[6:]
    assert steps.done == 0


async def test_the_newest_turn_stays_whatever_is_said() -> None:
    kept = Kept()
    head, _ = await talk(kept.store, [0, 0, 0])
    with pytest.raises(Conflict):
        await Archive(kept.past()).move(kept.old(head, (9, 0)))
    assert await kept.in_log() == [(1, 0), (2, 0), (3, 0)]


async def test_who_was_fenced_takes_nothing_away() -> None:
    kept = Kept()
    head, records = await talk(kept.store, [0] * 6)
    await kept.store.open(KEY)
    with pytest.raises(Conflict):
        await Archive(kept.past()).move(kept.old(head, (4, 0)))
    assert await kept.in_log() == [one.position for one in records]


async def test_what_was_read_back_otherwise_takes_nothing_away() -> None:
    kept = Kept()
    head, records = await talk(kept.store, [0] * 6)
    put = kept.segments.put

    async def torn(name: str, body: bytes) -> None:
        await put(name, body[:-1])

    kept.segments.put = torn  # type: ignore[method-assign]
    with pytest.raises(CorruptRecord):
        await Archive(kept.past()).move(kept.old(head, (4, 0)))
    assert await kept.in_log() == [one.position for one in records]


async def test_a_log_with_a_bad_record_is_left_alone() -> None:
    kept = Kept()
    head, _ = await talk(kept.store, [0] * 8)
    del kept.shelf.logs[KEY][1]
    with pytest.raises(CorruptRecord, match="gap"):
        await Archive(kept.past()).move(kept.old(head, (6, 0)))
    assert len(kept.shelf.logs[KEY]) == 7


@pytest.mark.parametrize("harm", ["gone", "touched"])
async def test_a_segment_that_is_not_what_was_written_is_said_and_never_skipped(harm: str) -> None:
    kept = Kept()
    head, _ = await talk(kept.store, [0] * 8)
    await Archive(kept.past()).move(kept.old(head, (6, 0)))
    name = sorted(kept.segments.kept)[0]
    if harm == "gone":
        del kept.segments.kept[name]
    else:
        kept.segments.kept[name] += b"!"
    with pytest.raises(CorruptRecord):
        await kept.whole()


async def test_a_gateway_without_the_archive_says_that_it_has_none() -> None:
    kept = Kept()
    head, _ = await talk(kept.store, [0] * 8)
    await Archive(kept.past()).move(kept.old(head, (6, 0)))
    reading = kept.history()
    reading._past = Past(kept.past().log)
    with pytest.raises(Unavailable) as raised:
        await reading.page((1, 0), 3)
    assert (raised.value.code, raised.value.retryable) == ("archive_unavailable", False)


async def test_without_an_archive_nothing_goes_unless_that_was_chosen() -> None:
    kept = Kept()
    head, records = await talk(kept.store, [0] * 8)
    old = kept.old(head, (6, 0))
    bare = Past(kept.past().log)
    careful, careless = Archive(bare), Archive(bare, forget=True)
    careful.offer(old)
    assert await worked(careful, kept, left=8) == [one.position for one in records]
    careless.offer(old)
    assert await worked(careless, kept, left=3) == [(6, 0), (7, 0), (8, 0)]
    left = await kept.history().page((1, 0), 9)
    assert [one.turn for one in left] == [6, 7, 8], "history begins with what is there"
    assert gap_before(left, 0)
    assert not gap_before(left, left[0].seq_first - 1)


async def worked(archive: Archive, kept: Kept, left: int) -> list[Position]:
    """The log after the archive has done what it was offered, which may go in several pieces."""
    running = asyncio.create_task(archive.run())
    async with asyncio.timeout(30):
        while archive._waiting or len(await kept.in_log()) > left:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return await kept.in_log()


class Sink:
    def __init__(self) -> None:
        self.seen: list[object] = []

    def archived(self, records: int, size: int) -> None:
        self.seen.append((records, size > 0))

    def not_archived(self, code: str) -> None:
        self.seen.append(code)


async def test_what_goes_wrong_is_counted_and_the_next_session_is_moved_all_the_same() -> None:
    kept, sink = Kept(), Sink()
    head, _ = await talk(kept.store, [0] * 8)
    archive = Archive(kept.past(), sink=sink)
    get, kept.segments.kept = kept.segments.get, {}

    async def away(name: str) -> bytes:
        raise Unavailable("away", code="archive_unavailable")

    running = asyncio.create_task(archive.run())
    kept.segments.get = away  # type: ignore[method-assign]
    archive.offer(kept.old(head, (6, 0)))
    async with asyncio.timeout(5):
        while "archive_unavailable" not in sink.seen:
            await asyncio.sleep(0.01)
        kept.segments.get = get  # type: ignore[method-assign]
        archive.offer(kept.old(head, (6, 0)))
        while len(await kept.in_log()) > 3:
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert sink.seen == ["archive_unavailable", (3, True), (2, True)]


async def test_offers_are_bounded_and_the_newest_of_a_session_counts() -> None:
    archive = Archive(Kept().past())
    for number in range(MAX_WAITING + 1):
        archive.offer(Old("u", f"k{number}", "l", 1, (2, 0)))
    archive.offer(Old("u", "k7", "l", 1, (9, 0)))
    assert len(archive._waiting) == MAX_WAITING
    assert "k0" not in archive._waiting
    assert archive._waiting["k7"].before == (9, 0)


async def test_who_resumes_or_reads_events_hears_all_of_it_in_order_from_both() -> None:
    async with Talkers() as talkers:
        await talkers.say("s", *(f"m{number}" for number in range(12)))
        role = talkers.tables.roles.get("acme", "cat")
        assert role is not None
        before = await told(talkers, 0)
        await moved(talkers, (9, 0))
        assert len(talkers.segments.kept) == 3
        assert await told(talkers, 0) == before
        assert await told(talkers, 7) == before[7:]
        page = await talkers.service.events(principal(ACME), role, "s", 0)
        assert ([event.seq for event in page.events], page.gap) == ([*range(1, 25)], False)


async def test_a_session_whose_begin_is_in_the_archive_is_opened_whole_and_goes_on() -> None:
    async with Talkers() as talkers:
        await talkers.say("s", *(f"m{number}" for number in range(12)))
        await moved(talkers, (9, 0))
        role = talkers.tables.roles.get("acme", "cat")
        assert role is not None
        talkers.leave("s")
        [live] = talkers.service._live.values()
        live.sleep()
        ear = await talkers.say("s", "what did I say?")
        assert ear.heard[-1].seq == 26
        assert (await talkers.service.state(principal(ACME), role, "s")).at.seq == 26


async def test_a_session_that_is_forgotten_leaves_no_segment_behind_and_no_others_go() -> None:
    kept = Kept()
    head, _ = await talk(kept.store, [0] * 12)
    archive = Archive(kept.past())
    await archive.move(kept.old(head, (9, 0)))
    await kept.segments.put("u-1/k2/k2/l/orphan", b"of another session")
    await kept.segments.put(f"u-1/{KEY}/{KEY}/l/orphan", b"that nobody refers to")
    assert await archive.clear("u-1", KEY) == 4
    assert list(kept.segments.kept) == ["u-1/k2/k2/l/orphan"]
    assert await archive.clear("u-1", KEY) == 0


async def test_forks_and_exports_reach_back_through_the_archive_and_forgetting_does_too() -> None:
    whose = Whose(ACME.uid, "cat")
    async with Talkers() as talkers:
        await talkers.say("s", *(f"m{number}" for number in range(12)))
        await moved(talkers, (9, 0))
        kept = talkers.service.kept
        fork = await kept.fork(whose, "s", 6)
        assert [record.position for record in await talkers.store.read(whose.key(fork))] == [(1, 0), (2, 0), (3, 0)]
        lines = [line async for line in kept.export("acme", whose, "s")]
        assert [line.input for line in lines if isinstance(line, ExportTurn)] == [f"m{number}" for number in range(12)]
        assert isinstance(lines[-1], ExportEnd)
        assert talkers.segments.kept
        receipt = await kept.forget(whose, "s")
        assert (talkers.segments.kept, talkers.store.shelf.segments) == ({}, {})
        assert receipt.deleted == {"records": 4, "segment_names": 3, "segments": 3}
        assert len(await talkers.store.read(whose.key(fork))) == 3


async def test_a_session_that_is_forgotten_while_its_records_move_leaves_no_segment() -> None:
    kept = Kept()
    head, _ = await talk(kept.store, [0] * 12)
    entries = kept.shelf.logs[KEY]
    await kept.store.forget(KEY, "f-1")
    log = MemoryShortenedLog(kept.shelf, "one")
    kept.shelf.logs[KEY] = entries  # as whoever moves them had read them before
    with pytest.raises(Conflict):
        await Archive(Past(log, kept.segments)).move(kept.old(head, (9, 0)))
    assert kept.segments.kept == {}


async def test_where_history_ends_it_is_said_and_what_is_there_is_told() -> None:
    async with Talkers() as talkers:
        await talkers.say("s", *(f"m{number}" for number in range(12)))
        role = talkers.tables.roles.get("acme", "cat")
        assert role is not None
        talkers.archive.past = Past(talkers.archive.past.log)
        await moved(talkers, (9, 0))
        _, ear = await talkers.at("s")
        assert await told(talkers, 3) == [*range(17, 25)]
        resumed = next(event for event in reversed(ear.heard) if isinstance(event, Resumed))
        assert (resumed.code, resumed.gap, resumed.from_seq, resumed.to_seq) == ("resume_lost", True, 17, 24)
        page = await talkers.service.events(principal(ACME), role, "s", 3)
        assert ([event.seq for event in page.events], page.gap) == ([*range(17, 25)], True)
        assert await told(talkers, 16) == [*range(17, 25)]
        assert not (await talkers.service.events(principal(ACME), role, "s", 16)).gap


async def told(talkers: Talkers, after_seq: int) -> list[int | None]:
    """Numbers of what the channel is told when it resumes."""
    handle, ear = await talkers.at("s")
    before = len(ear.heard)
    await handle.resume(after_seq)
    return [event.seq for event in ear.heard[before:] if event.seq is not None]


async def moved(talkers: Talkers, before: Position) -> None:
    [(key, head)] = talkers.store.shelf.heads.items()
    await talkers.archive.move(Old(ACME.uid, key, head.log_id, head.epoch, before))


async def test_snapshots_say_what_may_go_and_the_session_lives_on_snapshot_log_and_archive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "MAX_PAST_CHARS", 2000)
    async with Talkers() as talkers:
        working = asyncio.create_task(talkers.archive.run())
        await talkers.say("s", *(f"m{number} " + "x" * 20 for number in range(300)))
        await talkers.service._world.snapshotting.idle()
        [log] = talkers.store.shelf.logs.values()
        async with asyncio.timeout(10):
            while talkers.archive._waiting or len(log) > 250:
                await asyncio.sleep(0.01)
        assert talkers.segments.kept
        assert await told(talkers, 0) == [*range(1, 601)]
        for lost in (False, True):
            talkers.leave("s")
            [live] = talkers.service._live.values()
            live.sleep()
            if lost:
                talkers.store.shelf.snaps.clear()
            ear = await talkers.say("s", "go on")
            assert ear.heard[-1].seq == (604 if lost else 602)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)

"""A turn outlives the gateway that answered it: whoever takes its session over gives the response anew, once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.house import House
from tests.support.rooms import ACME, CAT_1, CAT_2, SCRIPT, Ear, pod_entry, put, revision_entry, role_entry, world

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.wire import (
    HeardPart,
    ResponseCreated,
    ResponseDone,
    ResponseReset,
    RevisionChanged,
    Said,
    TextDelta,
    Usage,
)
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions import notes

END = ModelEnd("stop", Usage())


class Town:
    """Gateways that follow one another on one shelf of logs."""

    def __init__(self) -> None:
        self.houses: list[House] = []

    async def gateway(self) -> House:
        """A new one, with a pod of its own and a model that waits to be told what to say."""
        before = self.houses[-1] if self.houses else None
        house = House(world(ACME), before.store.shelf if before else None)
        house.slow_model()
        house.pod("p1")
        await house.pool.start()
        self.houses.append(house)
        return house

    async def stop(self) -> None:
        for house in self.houses:
            await house.service.stop(0)
            await house.pool.stop()


@pytest.fixture
async def town() -> AsyncIterator[Town]:
    built = Town()
    yield built
    await built.stop()


async def answering(house: House, handle: Any, ear: Ear, text: str, **said: Any) -> None:
    """A turn that will never end: its model has said `text`."""
    turn = asyncio.create_task(handle.say(Said(message=said.pop("message", "one"), **said)))
    turn.add_done_callback(lambda over: over.cancelled() or over.exception())
    house.slow.pieces.put_nowait(text)
    async with asyncio.timeout(5):
        await house.until(lambda: ear.text().endswith(text) and noted(house))


def noted(house: House) -> bool:
    (head,) = house.store.shelf.heads.values()
    return head.open is not None


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


def seqs(ear: Ear) -> list[int]:
    return [event.seq for event in ear.heard if event.seq is not None]


async def test_a_client_that_only_listens_gets_the_answer_that_its_gateway_died_with(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once upon", client_msg_id="c1")
    opened = lost.of(ResponseCreated)[0]
    starts = first.dialer.pods["p1"].starts()
    await first.die()
    second = await town.gateway()
    _, ear = await second.attach()
    for item in ("There was", " a cat.", END):
        second.slow.pieces.put_nowait(item)
    await until(lambda: ear.of(ResponseDone))
    kinds = [type(event) for event in ear.heard[1:4]]
    assert kinds == [ResponseReset, ResponseCreated, TextDelta]
    assert {event.response_id for event in ear.heard[1:4]} == {opened.response_id}  # type: ignore[union-attr]
    assert ear.of(ResponseCreated)[0].client_msg_id == "c1"
    assert [delta.offset for delta in ear.of(TextDelta)] == [0, 9]
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message, done.response_id) == ("completed", "There was a cat.", opened.response_id)
    (again,) = second.dialer.pods["p1"].starts()
    assert [(one.message, one.rng_seed, one.now_ms, one.turn) for one in starts] == [
        (again.message, again.rng_seed, again.now_ms, again.turn)
    ]
    (record,) = await second.log()
    assert isinstance(record, TurnRecord)
    assert (record.input, record.client_msg_id, record.rng_seed) == ("one", "c1", again.rng_seed)
    assert not noted(second)


async def test_who_sends_the_message_again_gets_that_same_turn(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once", client_msg_id="c1")
    await first.die()
    second = await town.gateway()
    again, ear = await second.attach()
    saying = asyncio.create_task(again.say(Said(message="one", client_msg_id="c1")))
    second.slow.pieces.put_nowait("Twice")
    second.slow.pieces.put_nowait(END)
    await saying
    await again.say(Said(message="one", client_msg_id="c1"))
    assert len(await second.log()) == 1
    assert {event.response_id for event in ear.of(ResponseCreated)} == {lost.of(ResponseCreated)[0].response_id}
    assert [done.replay for done in ear.of(ResponseDone)] == [False, True]


async def test_another_message_is_answered_after_it(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once")
    await first.die()
    second = await town.gateway()
    again, ear = await second.attach()
    saying = asyncio.create_task(again.say(Said(message="two")))
    for item in ("first", END, "second", END):
        second.slow.pieces.put_nowait(item)
    await saying
    assert [record.input for record in await second.log() if isinstance(record, TurnRecord)] == ["one", "two"]
    assert [done.message for done in ear.of(ResponseDone)] == ["first", "second"]
    assert seqs(ear) == [1, 2, 3, 4]


async def test_after_a_second_death_in_the_same_turn_it_is_given_up_and_that_is_said(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once", client_msg_id="c1")
    await first.die()
    second = await town.gateway()
    _, heard = await second.attach()
    second.slow.pieces.put_nowait("Twice")
    await until(lambda: heard.text() == "Twice")
    await second.die()
    third = await town.gateway()
    again, ear = await third.attach()
    await until(lambda: ear.of(ResponseDone))
    (failed,) = ear.of(ResponseDone)
    assert (failed.status, failed.error.code, failed.error.retryable) == ("failed", "turn_given_up", True)
    assert (failed.response_id, failed.seq) == (lost.of(ResponseCreated)[0].response_id, None)
    assert third.slow.asked == []
    third.slow.pieces.put_nowait(END)
    await again.say(Said(message="one", client_msg_id="c1"))
    assert ear.of(ResponseDone)[-1].status == "completed"
    assert len(await third.log()) == 1


async def test_a_turn_that_failed_before_its_gateway_died_is_not_run_again(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    first.slow.pieces.put_nowait(Unavailable("away", code="model_unavailable"))
    await asyncio.gather(handle.say(Said(message="one")), return_exceptions=True)
    await until(lambda: not noted(first))
    assert lost.of(ResponseDone) or lost.of(ResponseCreated)
    await first.die()
    second = await town.gateway()
    _, ear = await second.attach()
    await asyncio.sleep(0.01)
    assert [type(event).__name__ for event in ear.heard] == ["SessionCreated"]


async def test_after_a_graceful_stop_nothing_is_open(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once")
    await first.service.stop(0)
    assert not noted(first)
    assert [done.error.code for done in lost.of(ResponseDone)] == ["stopping"]


async def test_a_turn_goes_on_at_once_where_the_store_is_slow_to_note_it(town: Town) -> None:
    first = await town.gateway()
    handle, ear = await first.attach()
    note, hold = first.store.note, asyncio.Event()

    async def slow(*arguments: Any) -> bool:
        await hold.wait()
        return await note(*arguments)

    first.store.note = slow  # type: ignore[method-assign]
    first.slow.pieces.put_nowait(END)
    await handle.say(Said(message="one"))
    assert len(ear.of(ResponseDone)) == 1
    hold.set()
    await asyncio.sleep(0.01)
    assert not noted(first)  # it came after the commit, and was refused
    first.store.note = note  # type: ignore[method-assign]


async def test_a_store_that_is_away_when_a_turn_begins_is_told_later(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notes, "PAUSES", (0.0, 0.0))
    first = await town.gateway()
    handle, ear = await first.attach()
    note, tries = first.store.note, 0

    async def away(*arguments: Any) -> bool:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise Unavailable("away", code="state_unavailable")
        return await note(*arguments)

    first.store.note = away  # type: ignore[method-assign]
    await answering(first, handle, ear, "Once")
    assert tries == 3


async def test_the_revision_that_the_turn_began_on_answers_it(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once")
    await first.die()
    second = await town.gateway()
    put(second.tables, revision_entry(sequence=2), role_entry(stable=CAT_2))
    second.slow.pieces.put_nowait(END)
    _, ear = await second.attach()
    await until(lambda: ear.of(ResponseDone))
    assert [done.revision for done in ear.of(ResponseDone)] == [CAT_1]


async def test_where_that_revision_is_gone_another_one_does(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once")
    await first.die()
    second = await town.gateway()
    second.tables.pods.drop(("p1",))
    put(second.tables, revision_entry(sequence=2), role_entry(stable=CAT_2), pod_entry("p1", revision=CAT_2))
    second.tables.revisions.drop(("acme", CAT_1))
    second.slow.pieces.put_nowait(END)
    _, ear = await second.attach()
    await until(lambda: ear.of(ResponseDone))
    assert [done.status for done in ear.of(ResponseDone)] == ["completed"]
    assert ear.of(RevisionChanged) == []


async def test_where_it_cannot_be_run_again_that_is_said(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once")
    await first.die()
    second = await town.gateway()
    role = second.service._world.tables.roles.get("acme", "cat")
    assert role is not None
    for live in second.service._live.values():
        live.sleep()
    greet = second.tables.roles.get
    _, ear = await _attach_without_role(second, greet)
    (failed,) = ear.of(ResponseDone)
    assert (failed.status, failed.error.code) == ("failed", "role_not_found")
    await until(lambda: not noted(second))


async def _attach_without_role(house: House, get: Any) -> tuple[Any, Ear]:
    """The Role is deleted between the greeting and the turn."""
    calls = 0

    def gone(*key: str) -> Any:
        nonlocal calls
        calls += 1
        return get(*key) if calls <= 2 else None

    house.tables.roles.get = gone  # type: ignore[method-assign]
    try:
        return await house.attach()
    finally:
        house.tables.roles.get = get  # type: ignore[method-assign]


async def test_its_deadline_still_counts(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once", deadline_ms=60_000)
    await first.die()
    second = await town.gateway()
    second.clock.now_ms += 61_000
    _, ear = await second.attach()
    await until(lambda: ear.of(ResponseDone))
    assert [done.error.code for done in ear.of(ResponseDone)] == ["deadline_exceeded"]
    assert await second.log() == []


async def test_a_cancel_reaches_the_turn_that_runs_again(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once upon")
    await first.die()
    second = await town.gateway()
    again, ear = await second.attach()
    await again.cancel(lost.of(ResponseCreated)[0].response_id, HeardPart(chars=4))
    assert [(done.status, done.message) for done in ear.of(ResponseDone)] == [("cancelled", "")]
    assert len(await second.log()) == 1


async def test_an_interrupting_message_cuts_the_turn_that_would_run_again_short(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once upon")
    await first.die()
    second = await town.gateway()
    again, ear = await second.attach()
    saying = asyncio.create_task(again.say(Said(message="two", busy_policy="interrupt")))
    await until(lambda: ear.of(ResponseDone))
    second.slow.pieces.put_nowait(END)
    await saying
    assert [done.status for done in ear.of(ResponseDone)] == ["cancelled", "completed"]


async def test_a_steered_turn_runs_again_with_all_that_was_said(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    await answering(first, handle, lost, "Once", client_msg_id="c1")
    more = asyncio.create_task(handle.say(Said(message="with dragons", busy_policy="steer", client_msg_id="c2")))
    more.add_done_callback(lambda over: over.cancelled() or over.exception())
    await until(lambda: [head.open for head in first.store.shelf.heads.values() if head.open and head.open.joined])
    await first.die()
    second = await town.gateway()
    again, ear = await second.attach()
    saying = asyncio.create_task(again.say(Said(message="with dragons", client_msg_id="c2")))
    second.slow.pieces.put_nowait(END)
    await saying
    (start,) = second.dialer.pods["p1"].starts()
    assert start.message == "one\n\nwith dragons"
    assert len(ear.of(ResponseDone)) == len(await second.log()) == 1


async def test_who_resumes_hears_the_log_and_then_the_response_from_its_first_word(town: Town) -> None:
    first = await town.gateway()
    handle, lost = await first.attach()
    first.slow.pieces.put_nowait(END)
    await handle.say(Said(message="zero"))
    await answering(first, handle, lost, "Once")
    await first.die()
    second = await town.gateway()
    again, ear = await second.attach()
    await again.resume(0)
    second.slow.pieces.put_nowait("Twice")
    second.slow.pieces.put_nowait(END)
    await until(lambda: len(ear.of(ResponseDone)) == 2)
    assert seqs(ear) == [1, 2, 3, 4]
    late_handle, late = await second.attach()
    await late_handle.resume(2)
    assert seqs(late) == [3, 4]


async def test_a_gateway_that_lost_the_store_for_a_while_does_not_run_its_own_turn_again(town: Town) -> None:
    first = await town.gateway()
    handle, ear = await first.attach()
    commit = first.store.commit

    async def away(key: str, record: Any, keep_seconds: int = 0) -> None:
        raise Unavailable("away", code="state_unavailable")

    first.store.commit = away  # type: ignore[method-assign]
    first.slow.pieces.put_nowait(END)
    with pytest.raises(RolehostError):
        await handle.say(Said(message="one", client_msg_id="c1"))
    first.store.commit = commit  # type: ignore[method-assign]
    first.slow.pieces.put_nowait(END)
    await handle.say(Said(message="two"))
    assert [record.input for record in await first.log() if isinstance(record, TurnRecord)] == ["two"]
    assert ear.of(ResponseReset) == []


@pytest.mark.parametrize("message_id", ["c1", None], ids=["with-an-id", "without-an-id"])
async def test_a_gateway_may_die_at_any_moment_of_a_turn(message_id: str | None) -> None:
    """After every step of the event loop: the client that listens gets its answer once, or the one that says it again."""
    anew = unnoted = 0
    for steps in range(80):
        town = Town()
        first = await town.gateway()
        first.tables.backends.put(("default",), SCRIPT)
        handle, ear = await first.attach()
        turn = asyncio.create_task(handle.say(Said(message="one", client_msg_id=message_id)))
        turn.add_done_callback(lambda over: over.cancelled() or over.exception())
        while not ear.of(ResponseCreated):
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        kept = len(await first.log())
        open_there = noted(first)
        assert not (kept and open_there)
        await first.die()
        second = await town.gateway()
        second.tables.backends.put(("default",), SCRIPT)
        again, heard = await second.attach()
        await again.resume(0)
        if not kept and not open_there:
            unnoted += 1
            if message_id is not None:
                await again.say(Said(message="one", client_msg_id=message_id))
        elif not kept:
            anew += 1
            await until(lambda: heard.of(ResponseDone))  # noqa: B023
            assert heard.of(ResponseReset)
        done = heard.of(ResponseDone)
        assert [one.message for one in done] == (["You said one."] if kept or open_there or message_id else [])
        assert len(await second.log()) == len(done)
        await town.stop()
    assert anew
    assert unnoted <= 2  # the note is on its way at the next step already

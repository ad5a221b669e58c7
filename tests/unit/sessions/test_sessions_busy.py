"""A message that comes while another one is answered: it waits, is refused, interrupts or joins; or its time is up."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.house import House
from tests.support.rooms import ACME, Ear, FakePod, ask_and_commit, world

from rolehost_api.errors import Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import StartTurn
from rolehost_api.wire import HeardPart, ResponseAmended, ResponseCreated, ResponseDone, Said, Usage
from rolehost_runtime.core.busy import MAX_WAITING, TABLE, Situation, Verdict, decide
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.line import Line

END = ModelEnd("stop", Usage())


@pytest.fixture
async def house() -> AsyncIterator[House]:
    built = House(world(ACME))
    built.slow_model()
    await built.pool.start()
    built.pod("p1")
    yield built
    await built.service.stop(0)
    await built.pool.stop()


async def answering(house: House, handle: Any, ear: Ear, text: str, **said: Any) -> "asyncio.Task[None]":
    """A turn whose model has said `text` and goes on."""
    turn = asyncio.create_task(handle.say(Said(message="one", **said)))
    house.slow.pieces.put_nowait(text)
    async with asyncio.timeout(5):
        await house.until(lambda: ear.text().endswith(text))
    return turn


async def settle() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


def outcomes(ear: Ear) -> list[tuple[str, str]]:
    return [(done.status, done.message) for done in ear.of(ResponseDone)]


async def inputs(house: House) -> list[str]:
    return [record.input for record in await house.log() if isinstance(record, TurnRecord)]


# ── the table ───────────────────────────────────────────────────────────────────────


def test_the_table_knows_every_policy_in_every_situation() -> None:
    assert {policy: set(row) for policy, row in TABLE.items()} == {
        policy: set(Situation) for policy in ("queue", "reject", "interrupt", "steer")
    }


@given(st.sampled_from([None, *TABLE]), st.booleans(), st.integers(0, 20))
def test_nobody_waits_where_nothing_runs_and_the_line_never_grows_past_its_bound(
    policy: Any, answering: bool, waiting: int
) -> None:
    verdict = decide(policy, answering=answering, waiting=waiting)
    assert (verdict is Verdict.ANSWER) == (not answering)
    if waiting >= MAX_WAITING:
        assert verdict not in (Verdict.WAIT, Verdict.INTERRUPT)


@given(st.lists(st.sampled_from(["join", "ahead", "leave", "go"]), max_size=30))
def test_a_line_has_one_turn_and_its_order(steps: list[str]) -> None:
    async def run() -> None:
        line, turn = Line(), list[int]()
        waiting: list[tuple[bool, int]] = []
        tasks: dict[int, asyncio.Task[None]] = {}
        came: list[int] = []

        async def come(number: int, place: Any) -> None:
            await line.come(place)
            came.append(number)

        for number, step in enumerate(steps):
            if step in ("join", "ahead"):
                tasks[number] = asyncio.create_task(come(number, line.join(ahead=step == "ahead")))
                if turn:
                    waiting.append((step != "ahead", number))
                else:
                    turn.append(number)
            elif step == "leave" and turn:
                line.leave()
                waiting.sort(key=lambda one: one[0])
                turn = [waiting.pop(0)[1]] if waiting else []
            elif step == "go" and waiting:
                tasks[waiting.pop()[1]].cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            assert came[-1:] == turn[-1:] or not turn
            assert (line.taken, line.waiting) == (bool(turn), len(waiting))
            assert line.pressed("x") == any(not queued for queued, _ in waiting)
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)

    asyncio.run(run())


# ── reject, queue ───────────────────────────────────────────────────────────────────


async def test_a_message_that_would_rather_be_refused_is_and_nothing_of_it_is_kept(house: House) -> None:
    handle, ear = await house.attach()
    turn = await answering(house, handle, ear, "Once")
    with pytest.raises(Overloaded) as raised:
        await handle.say(Said(message="two", busy_policy="reject", client_msg_id="c2"))
    assert (raised.value.code, raised.value.retryable) == ("busy", True)
    house.slow.pieces.put_nowait(END)
    await turn
    assert await inputs(house) == ["one"]
    house.slow.pieces.put_nowait(END)
    await handle.say(Said(message="two", busy_policy="reject", client_msg_id="c2"))
    assert await inputs(house) == ["one", "two"]


# ── interrupt ───────────────────────────────────────────────────────────────────────


async def test_an_interrupting_message_cancels_what_runs_and_is_answered_next(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once upon a time")
    queued = asyncio.create_task(handle.say(Said(message="later")))
    await settle()
    second = asyncio.create_task(
        handle.say(Said(message="no, wait", busy_policy="interrupt", heard=HeardPart(chars=4, audio_ms=900)))
    )
    await first
    for text in ("Yes?", END, "Now", END):
        house.slow.pieces.put_nowait(text)
    await asyncio.gather(second, queued)
    assert outcomes(ear) == [("cancelled", "Once"), ("completed", "Yes?"), ("completed", "Now")]
    assert ear.of(ResponseDone)[0].truncated_at == HeardPart(chars=4, audio_ms=900)
    assert await inputs(house) == ["one", "no, wait", "later"]
    assert ("assistant", "Once") in house.slow.shown


async def test_who_interrupts_an_interruption_is_answered_after_it_was_cut_short(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once")
    others = [
        asyncio.create_task(handle.say(Said(message=message, busy_policy="interrupt"))) for message in ("two", "three")
    ]
    await first
    house.slow.pieces.put_nowait("Well")
    house.slow.pieces.put_nowait(END)
    await asyncio.gather(*others)
    assert outcomes(ear) == [("cancelled", "Once"), ("cancelled", ""), ("completed", "Well")]
    assert await inputs(house) == ["one", "two", "three"]


async def test_who_says_an_interrupting_message_again_does_not_interrupt_its_own_answer(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once")
    said = Said(message="two", busy_policy="interrupt", client_msg_id="c2")
    both = [asyncio.create_task(handle.say(said)) for _ in range(2)]
    await first
    for item in ("Well", END):
        house.slow.pieces.put_nowait(item)
    await asyncio.gather(*both)
    assert outcomes(ear)[:2] == [("cancelled", "Once"), ("completed", "Well")]
    assert await inputs(house) == ["one", "two"]


@pytest.mark.parametrize("policy", ["interrupt", "steer", "reject"])
async def test_a_message_that_was_answered_before_touches_nothing_that_runs(house: House, policy: Any) -> None:
    handle, ear = await house.attach()
    house.slow.pieces.put_nowait(END)
    said = Said(message="zero", busy_policy=policy, client_msg_id="c0")
    await handle.say(said)
    running = await answering(house, handle, ear, "Once")
    again = asyncio.create_task(handle.say(said))
    await settle()
    for item in (" upon", END):
        house.slow.pieces.put_nowait(item)
    await asyncio.gather(running, again)
    assert [(done.message, done.replay) for done in ear.of(ResponseDone)] == [
        ("", False),
        ("Once upon", False),
        ("", True),
    ]
    assert await inputs(house) == ["zero", "one"]


async def test_where_nothing_runs_what_was_heard_amends_the_newest_response(house: House) -> None:
    handle, ear = await house.attach()
    turn = await answering(house, handle, ear, "Once upon a time")
    house.slow.pieces.put_nowait(END)
    await turn
    for item in ("Yes?", END):
        house.slow.pieces.put_nowait(item)
    said = Said(message="wait", busy_policy="interrupt", heard=HeardPart(chars=4), client_msg_id="c2")
    await handle.say(said)
    assert [(event.seq, event.message) for event in ear.of(ResponseAmended)] == [(3, "Once")]
    assert ("assistant", "Once") in house.slow.shown
    await handle.say(said)
    assert len(ear.of(ResponseAmended)) == 1
    assert [done.message for done in ear.of(ResponseDone)] == ["Once upon a time", "Yes?", "Yes?"]


async def test_the_first_message_of_a_session_interrupts_nothing(house: House) -> None:
    handle, ear = await house.attach()
    house.slow.pieces.put_nowait(END)
    await handle.say(Said(message="hello", busy_policy="interrupt", heard=HeardPart(chars=4)))
    assert outcomes(ear) == [("completed", "")]


async def test_what_was_heard_of_a_response_on_its_way_to_the_log_amends_it(house: House) -> None:
    handle, ear = await house.attach()
    commit, hold = house.store.commit, asyncio.Event()

    async def slow(key: str, record: Any, keep_seconds: int = 0) -> None:
        await hold.wait()
        await commit(key, record)

    house.store.commit = slow  # type: ignore[method-assign]
    first = await answering(house, handle, ear, "Once upon a time")
    house.slow.pieces.put_nowait(END)
    await settle()
    second = asyncio.create_task(handle.say(Said(message="wait", busy_policy="interrupt", heard=HeardPart(chars=4))))
    await settle()
    hold.set()
    house.slow.pieces.put_nowait(END)
    await asyncio.gather(first, second)
    assert outcomes(ear) == [("completed", "Once upon a time"), ("completed", "")]
    assert [event.message for event in ear.of(ResponseAmended)] == ["Once"]


async def test_a_failed_response_leaves_the_one_before_it_as_it_was_heard(house: House) -> None:
    handle, ear = await house.attach()
    turn = await answering(house, handle, ear, "Once upon a time")
    house.slow.pieces.put_nowait(END)
    await turn
    commit = house.store.commit

    async def away(key: str, record: Any, keep_seconds: int = 0) -> None:
        raise Unavailable("away", code="state_unavailable")

    house.store.commit = away  # type: ignore[method-assign]
    failing = await answering(house, handle, ear, "Twice")
    second = asyncio.create_task(handle.say(Said(message="wait", busy_policy="interrupt", heard=HeardPart(chars=2))))
    with pytest.raises(Unavailable):
        await failing
    house.store.commit = commit  # type: ignore[method-assign]
    house.slow.pieces.put_nowait(END)
    await second
    assert ear.of(ResponseAmended) == []


# ── steer ───────────────────────────────────────────────────────────────────────────


async def test_a_steering_message_joins_the_answer_that_is_being_given(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once upon", client_msg_id="c1")
    second = asyncio.create_task(handle.say(Said(message="with dragons", busy_policy="steer", client_msg_id="c2")))
    await house.until(lambda: len(house.slow.asked) == 2)
    assert house.slow.closed == 1
    assert house.slow.shown[1:] == [("user", "one"), ("assistant", "Once upon"), ("user", "with dragons")]
    created = ear.of(ResponseCreated)
    assert [event.client_msg_id for event in created] == ["c1", "c2"]
    assert len({event.response_id for event in created}) == 1
    for item in ("a dragon.", END):
        house.slow.pieces.put_nowait(item)
    await asyncio.gather(first, second)
    assert outcomes(ear) == [("completed", "Once upon\n\na dragon.")]
    (record,) = await house.log()
    assert isinstance(record, TurnRecord)
    assert (record.input, record.client_msg_id, record.joined) == ("one\n\nwith dragons", "c1", ("c2",))
    await handle.say(Said(message="with dragons", client_msg_id="c2"))
    assert [done.replay for done in ear.of(ResponseDone)] == [False, True]


async def test_who_sends_a_steering_message_again_waits_for_the_same_answer(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once")
    said = Said(message="with dragons", busy_policy="steer", client_msg_id="c2")
    both = [asyncio.create_task(handle.say(said)) for _ in range(2)]
    await house.until(lambda: len(house.slow.asked) == 2)
    house.slow.pieces.put_nowait(END)
    await asyncio.gather(first, *both)
    assert (len(house.slow.asked), await inputs(house)) == (2, ["one\n\nwith dragons"])


async def test_a_steered_answer_may_still_be_cancelled(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once")
    second = asyncio.create_task(handle.say(Said(message="and", busy_policy="steer")))
    await house.until(lambda: len(house.slow.asked) == 2)
    await handle.cancel(ear.of(ResponseCreated)[0].response_id, HeardPart(chars=2))
    await asyncio.gather(first, second)
    assert outcomes(ear) == [("cancelled", "On")]
    assert house.slow.closed == 2


async def test_where_no_answer_can_be_steered_the_message_waits(house: House) -> None:
    asked = asyncio.Event()

    async def hesitates(pod: FakePod, channel: int, start: StartTurn) -> None:
        await asked.wait()
        await ask_and_commit(pod, channel, start)

    house.dialer.pods["p1"].turn = hesitates
    handle, ear = await house.attach()
    turns = [asyncio.create_task(handle.say(Said(message=str(n), busy_policy="steer"))) for n in range(9)]
    await settle()
    with pytest.raises(Overloaded):
        await handle.say(Said(message="too many", busy_policy="steer"))
    asked.set()
    for _ in turns:
        house.slow.pieces.put_nowait(END)
    await asyncio.gather(*turns)
    assert await inputs(house) == list("012345678")
    assert len(ear.of(ResponseDone)) == 9


# ── deadlines ───────────────────────────────────────────────────────────────────────


async def test_a_message_whose_time_is_up_in_line_never_begins(house: House) -> None:
    handle, ear = await house.attach()
    first = await answering(house, handle, ear, "Once")
    with pytest.raises(Unavailable) as raised:
        await handle.say(Said(message="two", deadline_ms=10))
    assert (raised.value.code, raised.value.retryable) == ("deadline_exceeded", True)
    house.slow.pieces.put_nowait(END)
    await first
    assert await inputs(house) == ["one"]
    assert len(ear.of(ResponseCreated)) == 1
    house.slow.pieces.put_nowait(END)
    await handle.say(Said(message="three"))


async def test_an_answer_ends_where_the_deadline_comes_and_says_so(house: House) -> None:
    handle, ear = await house.attach()
    turn = await answering(house, handle, ear, "Once", deadline_ms=400)
    await turn
    assert house.slow.closed == 1
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message, done.finish_reason) == ("completed", "Once", "length")
    assert [(one.hook, one.code) for one in done.degraded] == [("model", "deadline")]
    assert done.usage.estimated
    assert [record.reply for record in await house.log()] == ["Once"]


async def test_a_turn_whose_time_is_up_before_a_word_stops_its_model_and_keeps_nothing(house: House) -> None:
    handle, ear = await house.attach()
    with pytest.raises(Unavailable):
        await handle.say(Said(message="one", deadline_ms=30, client_msg_id="c1"))
    assert house.slow.closed == 1
    (failed,) = ear.of(ResponseDone)
    assert (failed.status, failed.error.code, failed.error.retryable) == ("failed", "deadline_exceeded", True)
    assert await house.log() == []
    house.slow.pieces.put_nowait(END)
    await handle.say(Said(message="one", client_msg_id="c1"))
    assert await inputs(house) == ["one"]


async def test_a_commit_on_its_way_is_not_given_up_for_a_deadline(house: House) -> None:
    handle, ear = await house.attach()
    commit = house.store.commit

    async def slow(key: str, record: Any, keep_seconds: int = 0) -> None:
        await asyncio.sleep(0.55)
        await commit(key, record)

    house.store.commit = slow  # type: ignore[method-assign]
    house.slow.pieces.put_nowait(END)
    await handle.say(Said(message="one", deadline_ms=500))  # a busy machine, too, is at the commit by then
    assert outcomes(ear) == [("completed", "")]


async def test_errors_of_a_refused_message_say_what_to_do(house: House) -> None:
    handle, ear = await house.attach()
    turn = await answering(house, handle, ear, "Once")
    for said in (Said(message="x", busy_policy="reject"), Said(message="x", deadline_ms=5)):
        with pytest.raises(RolehostError) as raised:
            await handle.say(said)
        assert raised.value.hint
    house.slow.pieces.put_nowait(END)
    await turn

"""A response that the user hears no more of: cut before its commit, amended after it, and never both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count
from typing import Any

import pytest
from tests.support.house import House, playing
from tests.support.rooms import (
    ACME,
    DEFAULT_SEGMENTS,
    Ear,
    FakePod,
    pod_entry,
    principal,
    put,
    world,
)

from rolehost import Role, State, Turn
from rolehost_api.errors import Conflict, NotFound, RolehostError, Unavailable
from rolehost_api.link.messages import CallModel, Commit, ModelResult, PatchOp, Say, StartTurn, TurnFailed
from rolehost_api.wire import (
    HeardPart,
    ResponseAmended,
    ResponseCreated,
    ResponseDone,
    Said,
    StateDelta,
    Usage,
)
from rolehost_runtime.core.record import Amend, Record, TurnRecord, last_seq
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.gateway.ports import ModelEnd

IDS = count()
END = ModelEnd("stop", Usage(input_tokens=5, output_tokens=2))


class Tale(State):
    asked: int = 0
    told: int = 0
    heard: str = ""
    replied: str = ""


def storyteller() -> Role[Tale]:
    cat = Role("cat", state=Tale)

    @cat.on_message
    async def answer(t: Turn[Tale]) -> None:
        t.state.asked += 1
        t.say("Hm. ")
        await t.reply(t.ask())
        t.state.told += 1

    @cat.on_reply
    def after(t: Turn[Tale]) -> None:
        t.state.replied = t.replied

    @cat.on_interrupt
    def interrupted(t: Turn[Tale]) -> None:
        t.state.heard = t.replied

    return cat


@pytest.fixture
async def house() -> AsyncIterator[House]:
    built = House(world(ACME))
    built.slow_model()
    await built.pool.start()
    built.pod("p1", turn=playing(storyteller()))
    yield built
    await built.service.stop(0)
    await built.pool.stop()


async def telling(house: House, handle: Any, ear: Ear, *pieces: str) -> "tuple[asyncio.Task[None], str]":
    """A turn whose model has said these pieces and goes on; and its response's id."""
    before = ear.text()
    turn = asyncio.create_task(handle.say(Said(message="tell me", client_msg_id=f"c{next(IDS)}")))
    for piece in pieces:
        house.slow.pieces.put_nowait(piece)
    async with asyncio.timeout(5):
        await house.until(lambda: ear.text() == before + "Hm. " + "".join(pieces))
    return turn, ear.of(ResponseCreated)[-1].response_id


async def told(house: House, handle: Any, ear: Ear, text: str) -> str:
    """A turn that was answered whole."""
    turn, response_id = await telling(house, handle, ear, text)
    house.slow.pieces.put_nowait(END)
    await turn
    return response_id


def seqs(ear: Ear) -> list[int]:
    return [event.seq for event in ear.heard if event.seq is not None]


def whole(log: list[Record]) -> SessionFold:
    """The log has neither gap nor double, and folds."""
    assert [number for one in log for number in range(one.seq_first, last_seq(one) + 1)] == [
        *range(1, last_seq(log[-1]) + 1)
    ]
    return SessionFold.of(log[0].log_id, log[0].epoch, log)


# ── before the commit ───────────────────────────────────────────────────────────────


async def test_a_cancelled_turn_is_one_record_with_what_was_heard_and_the_state_before_the_answer(house: House) -> None:
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon ", "a time")
    await handle.cancel(response_id, HeardPart(chars=8, audio_ms=640))
    await turn
    assert house.slow.closed == 1
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message, done.truncated_at) == (
        "cancelled",
        "Hm. Once",
        HeardPart(chars=8, audio_ms=640),
    )
    assert done.error is None
    (record,) = await house.log()
    assert isinstance(record, TurnRecord)
    assert (record.status, record.reply, record.heard) == ("cancelled", "Hm. Once", done.truncated_at)
    assert whole([record]).state == {"asked": 1, "heard": "Hm. Once"}
    assert record.usage.estimated
    assert record.usage.output_tokens
    assert house.sink.turns == [("acme", "cat", "cancelled")]
    assert seqs(ear) == [1, 2]


async def test_without_a_word_on_what_was_heard_all_that_was_sent_stands(house: House) -> None:
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon ")
    await handle.cancel(response_id, None)
    await turn
    (done,) = ear.of(ResponseDone)
    assert (done.message, done.truncated_at) == ("Hm. Once upon ", HeardPart(chars=14))


async def test_the_next_turn_knows_only_what_was_heard(house: House) -> None:
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon a time")
    await handle.cancel(response_id, HeardPart(chars=8))
    await turn
    await told(house, handle, ear, "Well")
    assert house.slow.shown[1:] == [("user", "tell me"), ("assistant", "Hm. Once"), ("user", "tell me")]


async def test_a_second_cancel_can_only_take_more_away(house: House) -> None:
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon a time")
    cancels = [asyncio.create_task(handle.cancel(response_id, HeardPart(chars=n))) for n in (9, 6, 7)]
    await asyncio.gather(turn, *cancels)
    assert [done.message for done in ear.of(ResponseDone)] == ["Hm. On"]
    assert len(await house.log()) == 1


async def test_a_turn_that_is_cancelled_before_it_asks_asks_no_model(house: House) -> None:
    begun = asyncio.Event()

    async def late(pod: FakePod, channel: int, start: StartTurn) -> None:
        await begun.wait()
        await playing(storyteller())(pod, channel, start)

    house.dialer.pods["p1"].turn = late
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="tell me")))
    await house.until(lambda: bool(ear.of(ResponseCreated)))
    cancel = asyncio.create_task(handle.cancel(ear.of(ResponseCreated)[0].response_id, None))
    await asyncio.sleep(0)
    begun.set()
    await asyncio.gather(turn, cancel)
    assert house.slow.asked == []
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message) == ("cancelled", "")


async def test_hooks_that_went_on_with_the_answer_never_did_where_it_is_cancelled(house: House) -> None:
    at_work, go_on = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        at_work.set()
        await go_on.wait()

    pod = house.dialer.pods["p1"]
    pod.turn = playing(storyteller(), wait)
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon a time")
    house.slow.pieces.put_nowait(END)
    await at_work.wait()
    pod.turn = playing(storyteller())
    await handle.cancel(response_id, HeardPart(chars=8))
    await turn
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.message, len(house.slow.asked), len(pod.starts())) == ("cancelled", "Hm. Once", 1, 2)
    assert whole(await house.log()).state == {"asked": 1, "heard": "Hm. Once"}
    assert ear.text() == "Hm. Once upon a time"


async def test_an_interrupted_turn_whose_pod_dies_ends_on_another_pod(house: House) -> None:
    put(house.tables, pod_entry("p2"))
    pods = [house.dialer.pods["p1"], house.pod("p2")]
    died: list[str] = []

    async def dies(pod: FakePod, channel: int, start: StartTurn) -> None:
        if died:
            await playing(storyteller())(pod, channel, start)
            return
        pod.send(channel, Say(index=0, text="Hm. "))
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        await pod.answer(channel)
        died.append(pod.uid)
        pod.lose()

    for pod in pods:
        pod.turn = dies
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon a time")
    await handle.cancel(response_id, HeardPart(chars=8))
    await turn
    assert [(done.status, done.message) for done in ear.of(ResponseDone)] == [("cancelled", "Hm. Once")]
    assert whole(await house.log()).state == {"asked": 1, "heard": "Hm. Once"}
    assert len(house.slow.asked) == 1


async def test_a_pod_that_knows_of_no_interruptions_ends_the_turn_as_one_whose_model_failed(house: House) -> None:
    async def older(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="Hm. "))
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        pod.send(channel, TurnFailed(code=result.error) if result.error else Commit())

    house.dialer.pods["p1"].turn = older
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once upon a time")
    await handle.cancel(response_id, HeardPart(chars=8))
    await turn
    assert [(done.status, done.message) for done in ear.of(ResponseDone)] == [("cancelled", "Hm. Once")]
    assert whole(await house.log()).state == {}
    await told(house, handle, ear, "and on")


async def test_a_pod_that_goes_on_after_the_interruption_is_not_heard(house: House) -> None:
    async def talks_on(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="Hm. "))
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        await pod.answer(channel)
        pod.send(channel, Say(index=2, text="But wait! "))
        pod.send(channel, CallModel(index=3, segments=DEFAULT_SEGMENTS, stream=True))
        await pod.answer(channel)
        pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),)))

    house.dialer.pods["p1"].turn = talks_on
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once")
    await handle.cancel(response_id, None)
    await turn
    assert (ear.text(), ear.of(ResponseDone)[0].message, len(house.slow.asked)) == ("Hm. Once", "Hm. Once", 1)


async def test_a_turn_without_a_model_is_cut_and_its_hooks_run_to_their_end(house: House) -> None:
    go_on = asyncio.Event()

    async def speaks(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="Hm. I say so."))
        await go_on.wait()
        pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),)))

    house.dialer.pods["p1"].turn = speaks
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(ear.text()))
    cancel = asyncio.create_task(handle.cancel(ear.of(ResponseCreated)[0].response_id, HeardPart(chars=3)))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(turn, cancel)
    assert [(done.status, done.message) for done in ear.of(ResponseDone)] == [("cancelled", "Hm.")]
    assert whole(await house.log()).state == {"turns": 1}


async def test_a_cancelled_turn_that_fails_all_the_same_is_told_as_failed(house: House) -> None:
    async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="Hm. "))
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        await pod.answer(channel)
        pod.send(channel, TurnFailed(code="hook_failed"))

    house.dialer.pods["p1"].turn = fails
    handle, ear = await house.attach()
    turn, response_id = await telling(house, handle, ear, "Once")
    await handle.cancel(response_id, None)
    with pytest.raises(RolehostError):
        await turn
    assert [(done.status, done.seq) for done in ear.of(ResponseDone)] == [("failed", None)]
    assert await house.log() == []


# ── after the commit ────────────────────────────────────────────────────────────────


async def test_what_was_heard_may_be_said_after_the_turn_is_durable(house: House) -> None:
    handle, ear = await house.attach()
    response_id = await told(house, handle, ear, "Once upon a time")
    await handle.cancel(response_id, HeardPart(chars=8, audio_ms=640))
    (amended,) = ear.of(ResponseAmended)
    assert (amended.seq, amended.response_id, amended.message) == (3, response_id, "Hm. Once")
    assert amended.truncated_at == HeardPart(chars=8, audio_ms=640)
    record, amend = await house.log()
    assert (record.reply, amend.reply) == ("Hm. Once upon a time", "Hm. Once")
    await told(house, handle, ear, "Well")
    assert house.slow.shown[1:] == [("user", "tell me"), ("assistant", "Hm. Once"), ("user", "tell me")]
    assert seqs(ear) == [1, 2, 3, 4, 5]
    whole(await house.log())


async def test_the_same_word_again_is_nothing_and_less_is_one_more(house: House) -> None:
    handle, ear = await house.attach()
    response_id = await told(house, handle, ear, "Once upon a time")
    for chars in (8, 8, 99, 20, 5, 8):
        await handle.cancel(response_id, HeardPart(chars=chars))
    await handle.cancel(response_id, None)
    assert [(event.seq, event.message) for event in ear.of(ResponseAmended)] == [(3, "Hm. Once"), (4, "Hm. O")]
    assert whole(await house.log()).amends == 2


async def test_amends_are_replayed_in_their_place_and_read_by_another_gateway(house: House) -> None:
    handle, ear = await house.attach()
    for number in range(6):
        response_id = await told(house, handle, ear, f"Story number {number}")
        if number % 2:
            await handle.cancel(response_id, HeardPart(chars=9))
    late, other = await house.attach()
    for after in (0, 4, 5, 9, 14):
        other.heard.clear()
        await late.resume(after)
        assert seqs(other) == list(range(after + 1, 16))
        assert all(event.replay for event in (*other.of(ResponseDone), *other.of(ResponseAmended)))
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    page = await house.service.events(principal(ACME), role, "abc", 0)
    assert [event.seq for event in page.events] == seqs(ear)
    after_all = House(house.tables, house.store.shelf, house.dialer)
    await house.pool.stop()
    after_all.slow_model()
    await after_all.pool.start()
    again, heard = await after_all.attach()
    await told(after_all, again, heard, "Well")
    assert [text for who, text in after_all.slow.shown if who == "assistant"] == [
        "Hm. Story number 0",
        "Hm. Story",
        "Hm. Story number 2",
        "Hm. Story",
        "Hm. Story number 4",
        "Hm. Story",
    ]
    await after_all.service.stop(0)
    await after_all.pool.stop()


async def test_who_sends_a_message_again_hears_what_was_heard_of_its_answer(house: House) -> None:
    handle, ear = await house.attach()
    response_id = await told(house, handle, ear, "Once upon a time")
    for chars in (12, 8):
        await handle.cancel(response_id, HeardPart(chars=chars))
    message_id = ear.of(ResponseDone)[0].client_msg_id
    await told(house, handle, ear, "Well")
    first = len(ear.heard)
    await handle.say(Said(message="tell me", client_msg_id=message_id))
    assert [event.seq for event in ear.heard[first:]] == [1, 2, 3, 4]
    assert [event.message for event in ear.heard[first + 2 :]] == ["Hm. Once upo", "Hm. Once"]  # type: ignore[union-attr]


async def test_a_pod_cannot_cancel_a_turn(house: House) -> None:
    async def pretends(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="Hm. "))
        pod.send(channel, TurnFailed(code="interrupted"))

    house.dialer.pods["p1"].turn = pretends
    handle, ear = await house.attach()
    with pytest.raises(RolehostError):
        await handle.say(Said(message="tell me"))
    assert [done.status for done in ear.of(ResponseDone)] == ["failed"]
    assert await house.log() == []


async def test_of_a_response_that_is_not_the_newest_nothing_is_amended(house: House) -> None:
    handle, ear = await house.attach()
    first = await told(house, handle, ear, "Once")
    await told(house, handle, ear, "Twice")
    for response_id in (first, "r-unknown"):
        with pytest.raises(NotFound) as raised:
            await handle.cancel(response_id, HeardPart(chars=1))
        assert raised.value.code == "response_not_found"
    assert seqs(ear) == [1, 2, 3, 4]


async def test_the_newest_response_is_amended_while_the_next_one_is_given(house: House) -> None:
    handle, ear = await house.attach()
    first = await told(house, handle, ear, "Once upon a time")
    turn, _ = await telling(house, handle, ear, "Well")
    await handle.cancel(first, HeardPart(chars=8))
    assert [event.seq for event in ear.of(ResponseAmended)] == [3]
    house.slow.pieces.put_nowait(END)
    await turn
    assert seqs(ear) == [1, 2, 3, 4, 5]
    assert [exchange.reply for exchange in whole(await house.log()).past] == ["Hm. Once", "Hm. Well"]


async def test_a_session_that_sleeps_is_amended_all_the_same(house: House) -> None:
    handle, ear = await house.attach()
    response_id = await told(house, handle, ear, "Once upon a time")
    for live in house.service._live.values():
        live.sleep()
        assert live._fold is None
    await handle.cancel(response_id, HeardPart(chars=8))
    assert seqs(ear) == [1, 2, 3]


async def test_an_amend_that_was_kept_without_an_answer_is_told_once(house: House) -> None:
    handle, ear = await house.attach()
    response_id = await told(house, handle, ear, "Once upon a time")
    commit, tries = house.store.commit, 0

    async def deaf(key: str, record: Record, keep_seconds: int = 0) -> None:
        nonlocal tries
        tries += 1
        await commit(key, record)
        if tries < 3:
            raise Unavailable("the store does not answer", code="state_unavailable")

    house.store.commit = deaf  # type: ignore[method-assign]
    await handle.cancel(response_id, HeardPart(chars=8))
    assert (tries, seqs(ear)) == (3, [1, 2, 3])


async def test_an_amend_whose_outcome_nobody_knows_is_read_from_the_log(house: House) -> None:
    handle, ear = await house.attach()
    response_id = await told(house, handle, ear, "Once upon a time")
    commit = house.store.commit

    async def deaf(key: str, record: Record, keep_seconds: int = 0) -> None:
        await commit(key, record)
        raise Unavailable("the store does not answer", code="state_unavailable")

    house.store.commit = deaf  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await handle.cancel(response_id, HeardPart(chars=8))
    house.store.commit = commit  # type: ignore[method-assign]
    await handle.cancel(response_id, HeardPart(chars=8))
    await told(house, handle, ear, "Well")
    assert seqs(ear) == [1, 2, 3, 4, 5]
    assert whole(await house.log()).amends == 1


async def test_a_turn_that_runs_while_its_session_is_lost_to_another_is_superseded(house: House) -> None:
    handle, ear = await house.attach()
    first = await told(house, handle, ear, "Once upon a time")
    turn, _ = await telling(house, handle, ear, "Well")
    other = House(house.tables, house.store.shelf)
    await other.attach()
    with pytest.raises(Conflict) as raised:
        await handle.cancel(first, HeardPart(chars=8))
    assert raised.value.code == "superseded"
    house.slow.pieces.put_nowait(END)
    with pytest.raises(Conflict) as raised:
        await turn
    assert (raised.value.code, raised.value.retryable) == ("superseded", True)
    await other.service.stop(0)


# ── at any moment ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("heard", [None, HeardPart(chars=6)], ids=["all", "six"])
@pytest.mark.parametrize("slow_commit", [False, True], ids=["a-quick-store", "a-slow-store"])
async def test_a_cancel_at_any_moment_has_one_outcome(heard: HeardPart | None, slow_commit: bool) -> None:
    """After every step of the event loop from the turn's beginning to long after its end."""
    outcomes = set()
    for steps in range(90):
        house = House(world(ACME))
        await house.pool.start()
        house.pod("p1", turn=playing(storyteller()))
        commit = house.store.commit

        async def unhurried(key: str, record: Record, keep_seconds: int = 0, commit: Any = commit) -> None:
            for _ in range(5):
                await asyncio.sleep(0)
            await commit(key, record)
            for _ in range(5):
                await asyncio.sleep(0)

        if slow_commit:
            house.store.commit = unhurried  # type: ignore[method-assign]
        handle, ear = await house.attach()
        turn = asyncio.create_task(handle.say(Said(message="tell me")))
        while not ear.of(ResponseCreated):
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        await handle.cancel(ear.of(ResponseCreated)[0].response_id, heard)
        await turn
        (done,) = ear.of(ResponseDone)
        log = await house.log()
        fold = whole(log)
        (record, *amends) = log
        assert isinstance(record, TurnRecord)
        assert seqs(ear) == list(range(1, fold.seq + 1))
        assert ear.text().startswith(done.message)
        if done.status == "cancelled":
            assert record.status == "cancelled"
            assert amends == []
            assert fold.state == {"asked": 1, **({"heard": done.message} if done.message else {})}
            assert [event.version for event in ear.of(StateDelta)] == [1]
        else:
            assert fold.state == {"asked": 1, "told": 1, "replied": "Hm. You said tell me."}
            assert [amend.reply for amend in amends] == ([] if heard is None else ["Hm. Yo"])
            assert all(isinstance(amend, Amend) for amend in amends)
        assert fold.past[-1].reply == (done.message if done.status == "cancelled" or heard is None else "Hm. Yo")
        outcomes.add(done.status)
        await house.service.stop(0)
        await house.pool.stop()
    assert outcomes == {"cancelled", "completed"}


@pytest.mark.parametrize("fault", ["fenced", "stopped", "pod-lost", "store-away-once"])
@pytest.mark.parametrize("cancelled", [False, True], ids=["whole", "cancelled"])
async def test_a_fault_at_any_moment_leaves_the_turn_whole_or_not_at_all(fault: str, cancelled: bool) -> None:
    """After every step of the event loop: who was answered finds the turn in the log, who was refused may say it again."""
    kept = refused = 0
    for steps in range(80):
        house = House(world(ACME))
        await house.pool.start()
        for uid in ("p1", "p2"):
            house.pod(uid, turn=playing(storyteller()))
        commit = house.store.commit

        async def unhurried(key: str, record: Record, keep_seconds: int = 0, commit: Any = commit) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            await commit(key, record)
            for _ in range(3):
                await asyncio.sleep(0)

        house.store.commit = unhurried  # type: ignore[method-assign]
        handle, ear = await house.attach()
        turn = asyncio.create_task(handle.say(Said(message="tell me", client_msg_id="c1")))
        while not ear.of(ResponseCreated):
            await asyncio.sleep(0)
        if cancelled:
            cancel = asyncio.create_task(handle.cancel(ear.of(ResponseCreated)[0].response_id, HeardPart(chars=6)))
            cancel.add_done_callback(lambda over: over.cancelled() or over.exception())
        for _ in range(steps):
            await asyncio.sleep(0)
        if fault == "fenced":
            await house.store.__class__(house.store.shelf).open(next(iter(house.store.shelf.heads)))
        elif fault == "stopped":
            await house.service.stop(0)
        elif fault == "pod-lost":
            for pod in house.dialer.pods.values():
                if pod.starts() and pod.pipe is not None:
                    pod.lose()
        else:

            async def away_once(
                key: str, record: Record, keep_seconds: int = 0, house: House = house, then: Any = unhurried
            ) -> None:
                house.store.commit = then  # type: ignore[method-assign]
                raise Unavailable("away", code="state_unavailable")

            house.store.commit = away_once  # type: ignore[method-assign]
        outcome: BaseException | None = (await asyncio.gather(turn, return_exceptions=True))[0]
        house.store.commit = commit  # type: ignore[method-assign]
        log = [record for record in await house.log() if isinstance(record, TurnRecord)]
        if outcome is None:
            kept += 1
            assert len(log) == 1
        else:
            refused += 1
            assert isinstance(outcome, asyncio.CancelledError | RolehostError)
        if fault != "stopped":
            await handle.say(Said(message="tell me", client_msg_id="c1"))
            assert len([record for record in await house.log() if isinstance(record, TurnRecord)]) == 1
            fold = whole(await house.log())
            assert list(dict.fromkeys(seqs(ear))) == list(range(1, fold.seq + 1))
        else:
            assert len(log) <= 1
            assert not [head for head in house.store.shelf.heads.values() if head.open]
        await house.service.stop(0)
        await house.pool.stop()
    assert kept
    assert refused or fault in ("pod-lost", "store-away-once")


FAULTS: dict[str, Callable[[], BaseException]] = {
    "unavailable": lambda: Unavailable("away", code="state_unavailable"),
    "fenced": lambda: Conflict("fenced", code="superseded", retryable=True),
    "a-bug": lambda: RuntimeError("a bug"),
    "stopped": asyncio.CancelledError,
}


@pytest.mark.parametrize("kept", [False, True], ids=["not-kept", "kept"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("cancelled", [False, True], ids=["whole", "cancelled"])
@pytest.mark.parametrize("amended", [False, True], ids=["turn", "amend"])
async def test_a_fault_at_a_commit_leaves_the_record_whole_or_not_at_all(
    house: House, fault: str, kept: bool, cancelled: bool, amended: bool
) -> None:
    """At the commit of a turn, cut short or not, and of an amend: what is in the log is told, in order and once."""
    handle, ear = await house.attach()
    await told(house, handle, ear, "Once upon a time")
    commit, broken = house.store.commit, True

    async def breaks(key: str, record: Record, keep_seconds: int = 0) -> None:
        if broken and isinstance(record, Amend) == amended and record.position != (1, 0):
            if kept:
                await commit(key, record)
            raise FAULTS[fault]()
        await commit(key, record)

    house.store.commit = breaks  # type: ignore[method-assign]
    turn, response_id = await telling(house, handle, ear, "A long, long story")
    if cancelled:
        with_cancel = asyncio.create_task(handle.cancel(response_id, HeardPart(chars=10)))
    else:
        house.slow.pieces.put_nowait(END)
        with_cancel = asyncio.create_task(asyncio.sleep(0))
    await asyncio.gather(turn, with_cancel, return_exceptions=True)
    if amended:
        await asyncio.gather(handle.cancel(response_id, HeardPart(chars=5)), return_exceptions=True)
    broken = False
    house.slow.pieces.put_nowait(END)
    await asyncio.gather(handle.say(Said(message="and then?", client_msg_id="last")), return_exceptions=True)
    await handle.say(Said(message="and then?", client_msg_id="last"))
    log = await house.log()
    fold = whole(log)
    inputs = [record.input for record in log if isinstance(record, TurnRecord)]
    assert inputs == ["tell me"] * (2 if kept or amended else 1) + ["and then?"]
    assert sum(isinstance(record, Amend) for record in log) == (amended and kept)
    heard = list(dict.fromkeys(seqs(ear)))
    assert heard == list(range(1, fold.seq + 1))

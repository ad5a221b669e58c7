"""Timers: a turn of its own where nobody said anything, once in the log, wherever its gateway dies."""

import asyncio
from dataclasses import replace as changed
from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.house import playing
from tests.support.rooms import ACME, put, revision_entry
from tests.support.timed import CAT, DAY, HOUR, MINUTE, NUDGE, SLACK, TICK, Timed, begun, role

from rolehost_api.errors import NotFound, Unavailable
from rolehost_api.link.messages import Bound
from rolehost_api.wire import ResponseCreated, ResponseDone, Said, Usage
from rolehost_runtime.core.timers import decode
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.timekeeping import CLAIM_MS, Allowance


async def test_silence_is_a_turn_of_its_own_that_channels_hear_as_any_other() -> None:
    async with Timed(NUDGE) as house:
        ear = await begun(house)
        await house.later(9 * MINUTE)
        assert await house.occasions() == []
        await house.later(MINUTE + SLACK)
        created, done = ear.of(ResponseCreated)[-1], ear.of(ResponseDone)[-1]
        assert (created.cause, created.timer, created.client_msg_id) == ("timer", "on_idle:nudge", None)
        assert (done.timer, done.status, done.message) == (
            "on_idle:nudge",
            "completed",
            "Are you there? It has been 11 minutes.",
        )
        record = (await house.turns())[-1]
        assert (record.input, record.turn, record.absent_ms) == ("", 2, 11 * MINUTE)
        assert house.store.shelf.heads[CAT.key("abc")].turn == 2


async def test_whoever_comes_back_hears_what_was_said_meanwhile() -> None:
    async with Timed(NUDGE) as house:
        handle, ear = await house.attach("abc")
        await handle.say(Said(message="hello"))
        heard = ear.of(ResponseDone)[-1].seq
        handle.detach()
        await house.later(10 * MINUTE + SLACK)
        again, ear = await house.attach("abc")
        await again.resume(heard)
        assert [(done.timer, done.replay) for done in ear.of(ResponseDone)] == [("on_idle:nudge", True)]


async def test_a_silence_is_noticed_once_and_the_next_one_again() -> None:
    async with Timed(NUDGE) as house:
        handle, _ = await house.attach("abc")
        await handle.say(Said(message="hello"))
        for _ in range(3):
            await house.later(20 * MINUTE)
        assert len(await house.occasions()) == 1
        await handle.say(Said(message="still here"))
        await house.later(10 * MINUTE + SLACK)
        assert len(await house.occasions()) == 2


async def test_whoever_speaks_meanwhile_is_not_silent_and_the_store_hears_nothing_of_it() -> None:
    async with Timed(NUDGE) as house:
        handle, _ = await house.attach("abc")
        await handle.say(Said(message="hello"))
        before = await house.store.timers(CAT, "abc")
        house.clock.now_ms += 8 * MINUTE
        await handle.say(Said(message="and now?"))
        assert await house.store.timers(CAT, "abc") == before
        await house.later(3 * MINUTE)
        assert house.outcomes == ["later"]
        assert await house.occasions() == []
        await house.later(7 * MINUTE + SLACK)
        assert await house.occasions() == ["on_idle:nudge"]


async def test_what_was_missed_is_made_up_for_once_and_the_beat_goes_on() -> None:
    async with Timed(TICK) as house:
        await begun(house)
        first = decode(await house.store.timers(CAT, "abc"))
        assert first is not None
        assert first.next_ms is not None
        await house.later(25 * HOUR)
        await house.look()
        assert await house.occasions() == ["every:tick"]
        then = decode(await house.store.timers(CAT, "abc"))
        assert then is not None
        assert then.next_ms is not None
        assert then.next_ms > house.clock.now_ms
        assert (then.next_ms - first.next_ms) % HOUR == 0
        await house.later(HOUR)
        assert len(await house.occasions()) == 2


async def test_the_model_is_asked_in_a_conversation_that_takes_turns() -> None:
    async with Timed(TICK) as house:
        slow = house.slow_model()
        await begun(house)
        for number in range(2):
            house.clock.now_ms += HOUR + SLACK
            await house.keeper.tick()
            await house.until(lambda: len(slow.asked) > number)  # noqa: B023
            slow.pieces.put_nowait("Tick.")
            slow.pieces.put_nowait(end())
            await house.keeper.idle()
        said = [who for who, _ in slow.shown]
        assert said == ["system", "user", "assistant", "user", "assistant", "user"]
        assert slow.shown[-1][1].startswith("(There is no message")


def end() -> ModelEnd:
    return ModelEnd("stop", Usage())


async def test_a_gateway_that_dies_before_the_schedule_moves_on_leaves_one_turn() -> None:
    """Killed between the turn's commit and the next word to the list: who takes over finds it in the log."""
    shelf = Shelf()
    async with Timed(NUDGE, shelf=shelf) as first:
        await begun(first)
        first.clock.now_ms += 10 * MINUTE + SLACK
        keep = first.store.set_timers

        async def dies(*arguments: Any, **more: Any) -> bool:
            raise Unavailable("this gateway is dead", code="state_unavailable")

        first.store.set_timers = dies  # type: ignore[method-assign]
        await first.look()
        assert first.outcomes == ["state_unavailable"]
        assert len(await first.occasions()) == 1
        first.store.set_timers = keep  # type: ignore[method-assign]
        await first.die()
        async with Timed(NUDGE, shelf=shelf) as second:
            second.clock.now_ms = first.clock.now_ms + CLAIM_MS
            await second.look()
            assert second.outcomes == ["fired"]
            assert len(await second.occasions()) == 1
            await second.later(DAY)
            assert len(await second.occasions()) == 1


async def test_a_gateway_that_dies_in_a_timers_turn_is_followed_by_another_one() -> None:
    shelf = Shelf()
    async with Timed(TICK, shelf=shelf) as first:
        slow = first.slow_model()
        await begun(first)
        first.clock.now_ms += HOUR + SLACK
        await first.keeper.tick()
        await first.until(lambda: len(slow.asked) == 1)
        await first.service._live[CAT.key("abc")].turns.noted()
        dying = asyncio.ensure_future(first.die())
        async with Timed(TICK, shelf=shelf) as second:
            second.clock.now_ms = first.clock.now_ms
            await second.look()
            assert second.outcomes == [], "it is claimed"
            await second.later(CLAIM_MS)
            assert await second.occasions() == ["every:tick"]
            turns = await second.turns()
            assert turns[-1].given_anew
            assert turns[-1].occasion is not None
        await dying


async def test_of_two_gateways_the_owner_fires_and_the_other_one_leaves_it_alone() -> None:
    shelf = Shelf()
    async with Timed(NUDGE, shelf=shelf) as owner, Timed(NUDGE, shelf=shelf) as other:
        other.others = {owner.store._owner}
        await begun(owner)
        other.clock.now_ms = owner.clock.now_ms = owner.clock.now_ms + 10 * MINUTE + SLACK
        await other.look()
        assert other.outcomes == []
        await owner.look()
        assert owner.outcomes == ["fired"]
        assert len(await owner.occasions()) == 1


async def test_two_gateways_that_believe_each_other_dead_leave_one_turn() -> None:
    shelf = Shelf()
    async with Timed(NUDGE, shelf=shelf) as one, Timed(NUDGE, shelf=shelf) as two:
        await begun(one)
        one.clock.now_ms = two.clock.now_ms = one.clock.now_ms + 10 * MINUTE + SLACK
        await asyncio.gather(*(house.keeper.tick() for house in (one, two, one, two)))
        await asyncio.gather(one.keeper.idle(), two.keeper.idle())
        for house in (one, two):
            await house.later(2 * CLAIM_MS)
        assert len(await one.occasions()) == 1


async def test_somebody_who_is_being_answered_is_not_spoken_to() -> None:
    async with Timed(NUDGE) as house:
        handle, _ = await house.attach("abc")
        await handle.say(Said(message="hello"))
        live = house.service._live[CAT.key("abc")]
        house.clock.now_ms += 11 * MINUTE
        assert live.turns._line.take()
        await house.look()
        assert house.outcomes == ["later"]
        assert await house.occasions() == []
        live.turns._line.leave()
        await house.later(6_000)
        assert await house.occasions() == ["on_idle:nudge"]


async def test_a_turn_that_fails_is_tried_three_times_and_let_pass() -> None:
    async with Timed(TICK) as house:
        slow = house.slow_model()
        ear = await begun(house)
        for wait in (HOUR + SLACK, MINUTE, 2 * MINUTE):
            house.clock.now_ms += wait
            slow.pieces.put_nowait(Unavailable("no model", code="model_unavailable"))
            await house.look()
        assert house.outcomes == ["failed", "failed", "let_pass"]
        assert await house.occasions() == []
        assert [done.status for done in ear.of(ResponseDone)] == ["completed", "failed", "failed", "failed"]
        schedule = decode(await house.store.timers(CAT, "abc"))
        assert schedule is not None
        assert schedule.timers[0].tries == 0
        assert schedule.timers[0].due_ms > house.clock.now_ms


async def test_without_a_pod_it_waits_and_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Timed(NUDGE) as house:
        ear = await begun(house)

        async def away(*_: Any) -> Any:
            raise Unavailable("no pod of this Role is ready", code="no_pod_ready")

        with monkeypatch.context() as patch:
            patch.setattr(house.pool, "loaded", away)
            await house.later(11 * MINUTE)
            for _ in range(5):
                await house.later(CLAIM_MS)
        assert house.outcomes == ["no_pod_ready"] * 6
        await house.later(CLAIM_MS)
        assert await house.occasions() == ["on_idle:nudge"]
        assert len(ear.of(ResponseDone)) == 2, "nobody heard of the tries"


async def test_a_session_that_is_forgotten_leaves_no_timer() -> None:
    async with Timed(NUDGE, TICK) as house:
        await begun(house)
        receipt = await house.service.kept.forget(CAT, "abc")
        assert receipt.deleted["timers"] == 1
        assert await house.store.timers(CAT, "abc") == b""
        await house.later(DAY)
        assert house.outcomes == []
        assert house.store.shelf.books.timed == {(ACME.uid, "cat"): {}}


async def test_a_list_that_outlived_its_session_is_cleared() -> None:
    async with Timed(NUDGE) as house:
        await begun(house)
        house.store.shelf.heads.pop(CAT.key("abc"))
        await house.later(11 * MINUTE)
        assert house.outcomes == ["gone"]
        assert await house.store.timers(CAT, "abc") == b""


async def test_timers_keep_no_session_longer_than_its_user_did() -> None:
    shelf = Shelf()
    async with Timed(TICK, shelf=shelf) as house:
        shelf.now_ms = house.clock
        keep(house, 3 * 3_600)
        await begun(house)
        until, spoke = shelf.until[CAT.key("abc")], shelf.heads[CAT.key("abc")].last_at_ms
        await house.later(HOUR + SLACK)
        assert await house.occasions() == ["every:tick"]
        assert shelf.until[CAT.key("abc")] == until
        assert shelf.heads[CAT.key("abc")].last_at_ms == spoke, "nobody spoke"
        (row,) = await house.store.rows(ACME.uid, "cat", "", None, 5)
        (active,) = await house.store.activity(ACME.uid, "cat", [row])
        assert active is not None
        assert active.at_ms == spoke
        await house.later(3 * HOUR)
        assert house.outcomes[-1] == "gone"


async def test_a_role_has_room_for_so_many_sessions_with_timers_and_the_next_says_so() -> None:
    async with Timed(NUDGE, most_timed=1) as house:
        await begun(house, "one")
        ear = await begun(house, "two")
        done = ear.of(ResponseDone)[-1]
        assert done.status == "completed"
        assert [(one.hook, one.code) for one in done.degraded or ()] == [("timers", "too_many_timers")]


async def test_a_tenant_has_so_many_in_a_minute() -> None:
    async with Timed(NUDGE) as house:
        house.keeper._allowance = Allowance(per_minute=2)
        for sid in ("a", "b", "c"):
            await begun(house, sid)
        house.clock.now_ms += 11 * MINUTE
        await house.look()
        await house.look()
        assert house.outcomes == ["fired", "fired"]
        await house.later(MINUTE)
        assert house.outcomes == ["fired"] * 3


async def test_timers_follow_the_revision_of_the_session() -> None:
    """A new revision knows no `nudge`: what is due is not fired, and what it has instead begins from then on."""
    async with Timed(NUDGE) as house:
        await begun(house)
        new = revision_entry(sequence=2)
        put(house.tables, new)
        old = house.tables.roles.get("acme", "cat")
        assert old is not None
        put(house.tables, changed(old, stable=new.name, follow=True))
        house.pod("pod-2", turn=playing(role(TICK)), bound=Bound(hash=new.spec.hash, timers=(TICK,)))
        await house.later(11 * MINUTE)
        assert await house.occasions() == []
        assert house.outcomes == ["later"]
        schedule = decode(await house.store.timers(CAT, "abc"))
        assert schedule is not None
        assert schedule.revision == new.name
        assert [one.hook for one in schedule.timers] == ["every:tick"]
        assert schedule.next_ms is not None
        assert schedule.next_ms >= house.clock.now_ms + HOUR
        await house.later(HOUR + SLACK)
        assert [(record.occasion.hook, record.revision) for record in await house.turns() if record.occasion] == [
            ("every:tick", new.name)
        ]


async def test_a_message_that_would_steer_a_timers_answer_is_one_of_its_own() -> None:
    async with Timed(TICK) as house:
        slow = house.slow_model()
        handle, _ = await house.attach("abc")
        await handle.say(Said(message="hello"))
        house.clock.now_ms += HOUR + SLACK
        await house.keeper.tick()
        await house.until(lambda: len(slow.asked) == 1)
        saying = asyncio.ensure_future(handle.say(Said(message="stop", busy_policy="steer")))
        for piece in ("Tick.", end()):
            slow.pieces.put_nowait(piece)
        await saying
        assert [record.input for record in await house.turns()] == ["hello", "", "stop"]


def keep(house: Timed, seconds: int) -> None:
    """The Role keeps its sessions for so long."""
    entry = house.tables.roles.get("acme", "cat")
    assert entry is not None
    sessions = replace(entry.spec.sessions, retention_seconds=seconds)
    put(house.tables, changed(entry, spec=replace(entry.spec, sessions=sessions)))


async def test_an_end_is_one_turn_more_and_stops_the_timers_until_somebody_speaks() -> None:
    async with Timed(NUDGE) as house:
        handle, ear = await house.attach("abc")
        await handle.say(Said(message="hello"))
        await house.service.kept.end(CAT, "abc")
        await house.look()
        assert (ear.of(ResponseCreated)[-1].cause, ear.of(ResponseDone)[-1].timer) == ("end", "on_end")
        await house.later(DAY)
        assert await house.occasions() == ["on_end"]
        assert await house.store.timers(CAT, "abc") == b""
        await handle.say(Said(message="one more thing"))
        await house.later(10 * MINUTE + SLACK)
        assert await house.occasions() == ["on_end", "on_idle:nudge"]


async def test_a_session_that_is_not_there_has_no_end() -> None:
    async with Timed() as house:
        with pytest.raises(NotFound):
            await house.service.kept.end(CAT, "nobody")

"""Several gateways in one process, on one shelf of logs: sessions are answered by one and heard at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from tests.support.gateways import Fleet
from tests.support.rooms import Ear

from rolehost_api.errors import RolehostError
from rolehost_api.link.messages import Commit, PatchOp, Say
from rolehost_api.wire import (
    ChannelDegraded,
    Error,
    HeardPart,
    ResponseAmended,
    ResponseCreated,
    ResponseDone,
    ResponseReset,
    Resumed,
    Said,
    SessionCreated,
    Snapshot,
    TextDelta,
    Urgent,
)
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.peers import connection


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    built = Fleet()
    await built.start("a", "b")
    yield built
    await built.stop()


def seqs(ear: Ear) -> list[int]:
    return [event.seq for event in ear.heard if event.seq is not None]


async def settle(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_session_is_answered_where_it_was_opened_and_heard_at_both(fleet: Fleet) -> None:
    at_a, ear_a = await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    await at_b.say(Said(message="from b"))
    await at_a.say(Said(message="from a"))
    await settle(lambda: len(ear_b.of(ResponseDone)) == 2)
    assert [done.message for done in ear_a.of(ResponseDone)] == ["You said from b.", "You said from a."]
    assert [done.message for done in ear_b.of(ResponseDone)] == ["You said from b.", "You said from a."]
    assert seqs(ear_a) == seqs(ear_b) == [1, 2, 3, 4]
    assert ear_b.text() == ear_a.text()
    assert fleet.epoch() == 1
    assert fleet["b"].pods_asked == 0


async def test_a_relayed_client_is_the_user_that_it_is_at_its_own_gateway(fleet: Fleet) -> None:
    users = ("u-17", "u-18", "")
    at_a = {user: await fleet["a"].attach(user=user) for user in users}
    at_b = {user: await fleet["b"].attach(user=user) for user in users}
    for user in users:
        await at_b[user][0].say(Said(message=f"of {user}"))
    for user in users:
        assert [done.message for done in at_a[user][1].of(ResponseDone)] == [f"You said of {user}."]
    assert [start.user for pod in fleet["a"].pods for start in pod.starts()] == [*users]
    assert fleet["b"].pods_asked == 0


async def test_a_session_that_nobody_speaks_in_moves_to_whoever_asks(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    at_a.detach()
    at_b, ear_b = await fleet["b"].attach()
    await at_b.say(Said(message="two"))
    assert fleet.epoch() == 2
    assert fleet["b"].pods_asked == 1
    assert seqs(ear_b) == [3, 4]
    assert ear_b.of(SessionCreated)[0].head == 2


async def test_when_the_owner_dies_its_relayed_clients_go_on_where_they_are(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    await at_a.say(Said(message="one"))
    await fleet.kill("a")
    await at_b.say(Said(message="two"))
    assert [done.status for done in ear_b.of(ResponseDone)] == ["completed", "completed"]
    assert seqs(ear_b) == [1, 2, 3, 4]
    assert len(ear_b.of(SessionCreated)) == 1
    assert ear_b.of(Resumed) == []


async def test_who_only_listens_follows_and_misses_nothing(fleet: Fleet) -> None:
    await fleet.start("c")
    at_a, _ = await fleet["a"].attach()
    _, ear_b = await fleet["b"].attach()
    at_c, ear_c = await fleet["c"].attach()
    await at_a.say(Said(message="one"))
    await fleet.kill("a")
    await at_c.say(Said(message="two"))
    await settle(lambda: seqs(ear_b) == [1, 2, 3, 4])
    await at_c.say(Said(message="three"))
    await settle(lambda: seqs(ear_b) == [1, 2, 3, 4, 5, 6])
    assert seqs(ear_c) == [1, 2, 3, 4, 5, 6]
    assert [done.message for done in ear_b.of(ResponseDone)] == ["You said one.", "You said two.", "You said three."]


@pytest.mark.parametrize("message_id", ["c1", None], ids=["with-an-id", "without-an-id"])
async def test_a_turn_that_dies_with_its_owner_is_given_anew_to_who_said_it_and_to_who_listens(
    fleet: Fleet, message_id: str | None
) -> None:
    await fleet.start("c")
    fleet["a"].turns_hang()
    await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    _, ear_c = await fleet["c"].attach()
    saying = asyncio.ensure_future(at_b.say(Said(message="one", client_msg_id=message_id)))
    await settle(lambda: bool(ear_c.of(ResponseCreated)))
    released = [fleet[name].turns_wait() for name in ("b", "c")]
    await fleet.kill("a")
    await settle(lambda: bool(ear_b.of(ResponseReset) and ear_c.of(ResponseReset)))
    for release in released:
        release.set()
    await saying
    response_id = ear_b.of(ResponseCreated)[0].response_id
    for ear in (ear_b, ear_c):
        await settle(lambda: bool(ear.of(ResponseDone)))  # noqa: B023
        assert {event.response_id for event in ear.of(ResponseCreated)} == {response_id}
        assert [event.response_id for event in ear.of(ResponseReset)] == [response_id]
        (done,) = ear.of(ResponseDone)
        assert (done.status, done.response_id, done.message) == ("completed", response_id, "You said one.")
        assert seqs(ear) == [1, 2]
    assert len(fleet.log()) == 1
    await at_b.say(Said(message="one", client_msg_id="c1"))
    assert len(fleet.log()) == (1 if message_id else 2)


async def test_a_turn_that_died_unnoted_with_its_owner_is_said_again_by_its_id(fleet: Fleet) -> None:
    house = fleet["a"]
    house.turns_hang()
    house.store.silent = True
    await house.attach()
    at_b, ear_b = await fleet["b"].attach()
    saying = asyncio.ensure_future(at_b.say(Said(message="one", client_msg_id="c1")))
    await settle(lambda: bool(ear_b.of(ResponseCreated)))
    await fleet.kill("a")
    await saying
    failed, done = ear_b.of(ResponseDone)
    assert (failed.status, failed.error.code, done.status) == ("failed", "owner_lost", "completed")
    assert len(fleet.log()) == 1


async def test_a_turn_that_died_unnoted_and_has_no_id_is_said_to_be_lost(fleet: Fleet) -> None:
    house = fleet["a"]
    house.turns_hang()
    house.store.silent = True
    await house.attach()
    at_b, ear_b = await fleet["b"].attach()
    saying = asyncio.ensure_future(at_b.say(Said(message="one")))
    await settle(lambda: bool(ear_b.of(ResponseCreated)))
    await fleet.kill("a")
    with pytest.raises(RolehostError) as raised:
        await saying
    assert (raised.value.code, raised.value.retryable) == ("owner_lost", True)
    assert [done.status for done in ear_b.of(ResponseDone)] == ["failed"]


async def test_a_relayed_client_cancels_before_and_after_the_commit(fleet: Fleet) -> None:
    release = fleet["a"].turns_wait()
    at_a, ear_a = await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    saying = asyncio.ensure_future(at_a.say(Said(message="one")))
    await settle(lambda: bool(ear_b.of(ResponseCreated)))
    cancelling = asyncio.ensure_future(at_b.cancel(ear_b.of(ResponseCreated)[0].response_id, HeardPart(chars=3)))
    await asyncio.sleep(0.05)
    release.set()
    await asyncio.gather(saying, cancelling)
    assert [(done.status, done.message) for done in ear_a.of(ResponseDone)] == [("cancelled", "")]
    await at_b.say(Said(message="two"))
    response_id = ear_b.of(ResponseDone)[1].response_id
    await at_b.cancel(response_id, HeardPart(chars=3))
    await at_b.cancel(response_id, HeardPart(chars=3))
    for ear in (ear_a, ear_b):
        await settle(lambda: bool(ear.of(ResponseAmended)))  # noqa: B023
        assert [(event.seq, event.message) for event in ear.of(ResponseAmended)] == [(5, "You")]
    with pytest.raises(RolehostError) as raised:
        await at_b.cancel("r-unknown", None)
    assert raised.value.code == "response_not_found"


async def test_a_relayed_client_interrupts_with_what_was_heard(fleet: Fleet) -> None:
    release = fleet["a"].turns_wait()
    await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    first = asyncio.ensure_future(at_b.say(Said(message="one")))
    await settle(lambda: bool(ear_b.of(ResponseCreated)))
    second = asyncio.ensure_future(at_b.say(Said(message="two", busy_policy="interrupt", heard=HeardPart(chars=0))))
    await asyncio.sleep(0.05)
    release.set()
    await asyncio.gather(first, second)
    assert [(done.status, done.message) for done in ear_b.of(ResponseDone)] == [
        ("cancelled", ""),
        ("completed", "You said one\n\ntwo."),  # nothing was heard between the two
    ]


async def test_a_cancel_whose_owner_dies_reaches_whoever_takes_over(fleet: Fleet) -> None:
    fleet["a"].turns_hang()
    await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    release = fleet["b"].turns_wait()
    saying = asyncio.ensure_future(at_b.say(Said(message="one")))
    await settle(lambda: bool(ear_b.of(ResponseCreated)))
    cancelling = asyncio.ensure_future(at_b.cancel(ear_b.of(ResponseCreated)[0].response_id, None))
    await fleet.kill("a")
    await settle(lambda: bool(ear_b.of(ResponseReset)))
    await asyncio.sleep(0.05)
    release.set()
    await asyncio.gather(saying, cancelling)
    assert [(done.status, done.message) for done in ear_b.of(ResponseDone)] == [("cancelled", "")]
    assert len(fleet.log()) == 1


async def test_with_a_gateway_of_the_release_before_sessions_go_on_without_cancelling(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "PEER_PROTOCOLS", (1,))
    await fleet.start("c")
    monkeypatch.undo()
    at_a, ear_a = await fleet["a"].attach()
    at_c, ear_c = await fleet["c"].attach()
    await at_c.say(Said(message="one"))
    await at_a.cancel(ear_a.of(ResponseDone)[0].response_id, HeardPart(chars=3))
    with pytest.raises(RolehostError) as raised:
        await at_c.cancel(ear_c.of(ResponseDone)[0].response_id, HeardPart(chars=1))
    assert (raised.value.code, raised.value.retryable) == ("cancel_unavailable", True)
    await at_c.say(Said(message="two"))
    assert (seqs(ear_a), seqs(ear_c)) == ([1, 2, 3, 4, 5], [1, 2, 4, 5])


async def test_a_turn_that_was_kept_before_its_owner_died_is_answered_from_the_log(fleet: Fleet) -> None:
    await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    fleet.mute("a", after=lambda: len(fleet.log()) == 1)
    saying = asyncio.ensure_future(at_b.say(Said(message="one", client_msg_id="c1")))
    await settle(lambda: len(fleet.log()) == 1)
    await fleet.kill("a")
    await saying
    assert [done.status for done in ear_b.of(ResponseDone)] == ["completed"]
    assert len(fleet.log()) == 1


async def test_a_gateway_that_leaves_gives_its_guests_away_when_their_turn_is_over(fleet: Fleet) -> None:
    house = fleet["a"]
    release = house.turns_wait()
    await house.attach()
    at_b, ear_b = await fleet["b"].attach()
    saying = asyncio.ensure_future(at_b.say(Said(message="one")))
    await settle(lambda: bool(ear_b.of(ResponseCreated)))
    house.service.leave()
    release.set()
    await saying
    await at_b.say(Said(message="two"))
    assert [done.status for done in ear_b.of(ResponseDone)] == ["completed", "completed"]
    assert (fleet.epoch(), fleet["b"].pods_asked, len(fleet.log())) == (2, 1, 2)


async def test_the_clients_of_a_gateway_that_leaves_are_answered_to_the_last(fleet: Fleet) -> None:
    at_a, ear_a = await fleet["a"].attach()
    at_b, _ = await fleet["b"].attach()
    fleet["a"].service.leave()
    await at_b.say(Said(message="taken over"))
    await at_a.say(Said(message="relayed now"))
    assert [done.message for done in ear_a.of(ResponseDone)][-1] == "You said relayed now."
    assert seqs(ear_a) == [1, 2, 3, 4]
    assert fleet["a"].pods_asked == 0


async def test_a_gateway_cut_off_from_the_owner_takes_over_and_the_owner_is_fenced(fleet: Fleet) -> None:
    at_a, ear_a = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    fleet.cut("a", "b")
    await settle(lambda: not fleet["b"].mesh.owners())
    at_b, _ = await fleet["b"].attach()
    await at_b.say(Said(message="two"))
    with pytest.raises(RolehostError) as raised:
        await at_a.say(Said(message="three"))
    assert (raised.value.code, raised.value.retryable) == ("superseded", True)
    fleet.mend("a", "b")
    await settle(lambda: bool(fleet["a"].mesh.owners()))
    await at_a.say(Said(message="three"))
    assert [record.input for record in fleet.log()] == ["one", "two", "three"]
    assert fleet["a"].pods_asked == 2  # the one that was fenced
    assert seqs(ear_a) == [1, 2, 3, 4, 5, 6]


async def test_a_reply_of_a_million_bytes_comes_whole(fleet: Fleet) -> None:
    await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    text = "🐉" * 200_000

    async def long(pod: Any, channel: int, start: Any) -> None:
        for index in range(4):
            pod.send(channel, Say(index=index, text=text[50_000 * index : 50_000 * (index + 1)]))
        pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),)))

    fleet["a"].turns_are(long)
    await at_b.say(Said(message="tell me all"))
    assert ear_b.of(ResponseDone)[0].message == text
    assert "".join(event.delta for event in ear_b.of(TextDelta)) == text


async def test_what_is_forgotten_at_one_gateway_is_let_go_of_at_all(fleet: Fleet) -> None:
    at_a, ear_a = await fleet["a"].attach()
    _, ear_b = await fleet["b"].attach()
    await at_a.say(Said(message="a secret"))
    await fleet["a"].service.kept.forget(Whose("uid-acme", "cat"), "abc")
    await settle(lambda: bool(ear_a.of(Error)) and bool(ear_b.of(Error)))
    assert {event.error.code for ear in (ear_a, ear_b) for event in ear.of(Error)} == {"session_forgotten"}
    assert "secret" not in repr(fleet.shelf)


async def test_a_gateway_that_is_not_the_owner_forgets_and_the_owner_lets_go(fleet: Fleet) -> None:
    at_a, ear_a = await fleet["a"].attach()
    _, ear_b = await fleet["b"].attach()
    await at_a.say(Said(message="a secret"))
    await settle(lambda: bool(ear_b.of(ResponseDone)))
    await fleet["b"].service.kept.forget(Whose("uid-acme", "cat"), "abc")
    await settle(lambda: bool(ear_a.of(Error)) and bool(ear_b.of(Error)))
    (live,) = fleet["a"].service._live.values()
    assert (live.fold, live.remembered.weight) == (None, 0)
    await at_a.say(Said(message="again"))
    assert ear_a.of(ResponseDone)[-1].message == "Before: ", "there is nothing before it"
    assert ear_a.of(ResponseDone)[-1].seq == 2


async def test_errors_are_told_as_the_owner_tells_them(fleet: Fleet) -> None:
    await fleet["a"].attach()
    at_b, _ = await fleet["b"].attach()
    with pytest.raises(RolehostError) as raised:
        await at_b.say(Said(message="x", revision="r99"))
    assert (raised.value.code, raised.value.retryable) == ("revision_not_found", False)
    assert "kubectl get rhv" in raised.value.hint


async def test_two_tenants_with_the_same_words_are_two_sessions_on_every_gateway(fleet: Fleet) -> None:
    from tests.support.rooms import EVIL

    acme, ear_acme = await fleet["a"].attach()
    evil, ear_evil = await fleet["b"].attach(tenant=EVIL)
    await acme.say(Said(message="mine"))
    await evil.say(Said(message="theirs"))
    assert [done.message for done in ear_acme.of(ResponseDone)] == ["You said mine."]
    assert [done.message for done in ear_evil.of(ResponseDone)] == ["You said theirs."]


async def test_a_long_history_is_told_to_a_relayed_client_as_fast_as_it_reads(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    for number in range(12):
        await at_a.say(Said(message=f"m{number}"))
    at_b, ear_b = await fleet["b"].attach()
    gate, asked = asyncio.Event(), 0

    async def room() -> bool:
        nonlocal asked
        asked += 1
        await gate.wait()
        return True

    ear_b.room = room  # type: ignore[method-assign]
    resuming = asyncio.ensure_future(at_b.resume(0))
    await settle(lambda: asked == 1)
    await asyncio.sleep(0.05)
    assert len(ear_b.of(ResponseDone)) == 1
    gate.set()
    await resuming
    assert [done.message for done in ear_b.of(ResponseDone)] == [f"You said m{number}." for number in range(12)]
    assert seqs(ear_b) == list(range(1, 25))


async def test_a_relayed_client_that_goes_in_mid_history_holds_nothing_up(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    for number in range(3):
        await at_a.say(Said(message=f"m{number}"))
    at_b, ear_b = await fleet["b"].attach()
    stuck = asyncio.Event()

    async def room() -> bool:
        stuck.set()
        await asyncio.Event().wait()
        return True

    ear_b.room = room  # type: ignore[method-assign]
    resuming = asyncio.ensure_future(at_b.resume(0))
    await stuck.wait()
    at_b.detach()
    with pytest.raises(RolehostError):
        await resuming
    await at_a.say(Said(message="and on"))
    assert fleet["a"].guests.count == 0


async def test_a_watcher_at_one_gateway_that_stalls_is_told_of_at_the_other(fleet: Fleet) -> None:
    at_a, ear_a = await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    at_b.watch("flows")
    at_b.watch("stalled")
    await settle(lambda: bool(ear_a.of(ChannelDegraded)) and bool(ear_b.of(ChannelDegraded)))
    assert [event.reason for event in ear_a.of(Urgent)] == ["grpc_stalled"]
    assert [event.reason for event in ear_b.of(Urgent)] == ["grpc_stalled"]
    at_b.detach()
    await at_a.say(Said(message="on"))


async def test_a_watcher_says_how_it_fares_again_wherever_its_session_goes(fleet: Fleet) -> None:
    await fleet.start("c")
    at_a, _ = await fleet["a"].attach()
    at_b, _ = await fleet["b"].attach()
    await at_a.say(Said(message="one"))
    at_b.watch("flows")
    at_b.watch("stalled")
    await fleet.kill("a")
    at_c, ear_c = await fleet["c"].attach()
    await at_c.say(Said(message="two"))
    await settle(lambda: bool(ear_c.of(ChannelDegraded)))


async def test_a_relayed_client_that_fell_behind_is_told_the_whole(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    at_b, ear_b = await fleet["b"].attach()
    await at_a.say(Said(message="one"))
    await at_b.resume(0, whole=True)
    (told,) = ear_b.of(Snapshot)
    assert (told.at_seq, [turn.input for turn in told.transcript]) == (2, ["one"])
    await at_a.say(Said(message="two"))
    await settle(lambda: seqs(ear_b)[-2:] == [3, 4])

"""Turns end to end in one process: service, link and a fake pod, a store in memory and the scripted model."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.support.house import House
from tests.support.logs import turns as logged
from tests.support.rooms import (
    ACME,
    CAT_1,
    CAT_2,
    DEFAULT_SEGMENTS,
    EVIL,
    Ear,
    FakePod,
    ask_and_commit,
    principal,
    put,
    revision_entry,
    role_entry,
    serve,
    world,
)

from rolehost_api.crd.role import Persona, RoleTemplate, StateSpec
from rolehost_api.errors import Conflict, NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import CallModel, Commit, Degraded, ModelResult, PatchOp, Say, StartTurn, TurnFailed
from rolehost_api.wire import (
    ResponseCreated,
    ResponseDone,
    Resumed,
    RevisionChanged,
    Said,
    SessionCreated,
    StateDelta,
    TextDelta,
    Usage,
)
from rolehost_runtime.core.record import Record
from rolehost_runtime.gateway.ports import ModelEnd


@pytest.fixture
async def house() -> AsyncIterator[House]:
    built = House(world(ACME, EVIL))
    await built.pool.start()
    yield built
    await built.service.stop(0)
    await built.pool.stop()


async def test_a_turn_streams_and_is_durable_before_it_is_done(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="hello", client_msg_id="c1"))
    kinds = [type(event) for event in ear.heard]
    assert kinds[:2] == [SessionCreated, ResponseCreated]
    assert kinds[-2:] == [StateDelta, ResponseDone]
    assert ear.text() == "You said hello."
    assert [event.offset for event in ear.of(TextDelta)] == [0, 4, 8, 12]
    (done,) = ear.of(ResponseDone)
    assert (done.message, done.seq, done.status, done.client_msg_id) == ("You said hello.", 2, "completed", "c1")
    assert [event.seq for event in ear.of(StateDelta)] == [1]
    (key,) = house.store.shelf.logs
    (record,) = logged(await house.store.read(key))
    assert (record.input, record.reply, record.revision, record.turn) == ("hello", "You said hello.", CAT_1, 1)
    assert house.sink.turns == [("acme", "cat", "completed")]


async def test_the_second_turn_remembers_the_first(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="dragons"))
    await handle.say(Said(message="again"))
    assert ear.of(ResponseDone)[1].message == "Before: dragons"
    assert [done.seq for done in ear.of(ResponseDone)] == [2, 4]


async def test_a_new_session_is_greeted_and_an_old_one_is_not(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    assert ear.of(SessionCreated)[0].greeting == "Meow."
    await handle.say(Said(message="hello"))
    _, other = await house.attach()
    created = other.of(SessionCreated)[0]
    assert (created.greeting, created.head, created.role) == ("", 2, "cat@r1")


async def test_another_gateway_takes_the_session_over_with_its_state(house: House) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="one"))
    after = House(house.tables, house.store.shelf, house.dialer)
    await house.pool.stop()
    await after.pool.start()
    again, ear = await after.attach()
    await again.say(Said(message="again"))
    assert ear.of(ResponseDone)[0].message == "Before: one"
    assert house.dialer.pods["p1"].starts()[-1].state == {"turns": 1}
    with pytest.raises(Conflict) as raised:
        await house.store.commit(
            next(iter(house.store.shelf.logs)), (await after.store.read(next(iter(house.store.shelf.logs))))[0]
        )
    assert raised.value.code == "superseded"
    await after.pool.stop()


async def test_a_fenced_turn_fails_as_superseded_and_the_next_one_reads_the_log_again(house: House) -> None:
    pod = house.pod("p1")
    handle, ear = await house.attach()
    other = House(house.tables, house.store.shelf)

    async def overtaken(pod: FakePod, channel: int, start: StartTurn) -> None:
        if len(pod.starts()) == 1:
            await other.attach()
        await ask_and_commit(pod, channel, start)

    pod.turn = overtaken
    with pytest.raises(Conflict):
        await handle.say(Said(message="hello"))
    (done,) = ear.of(ResponseDone)
    assert (done.status, done.error.code, done.error.retryable, done.seq) == ("failed", "superseded", True, None)
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[1].status == "completed"


async def test_the_same_client_message_is_answered_once(house: House) -> None:
    pod = house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="hello", client_msg_id="c1"))
    await handle.say(Said(message="hello", client_msg_id="c1"))
    assert len(pod.starts()) == 1
    first, second = ear.of(ResponseDone)
    assert (second.replay, second.seq, second.message) == (True, first.seq, first.message)


async def test_a_message_sent_again_while_it_is_answered_joins_that_turn(house: House) -> None:
    pod, slow = house.pod("p1"), house.slow_model()
    first, lost = await house.attach()
    turn = asyncio.create_task(first.say(Said(message="hello", client_msg_id="c1")))
    slow.pieces.put_nowait("Once ")
    await house.until(lambda: lost.text() == "Once ")
    turn.cancel()
    first.detach()
    second, ear = await house.attach()
    again = asyncio.create_task(second.say(Said(message="hello", client_msg_id="c1")))
    await house.until(lambda: ear.text() == "Once ")
    slow.pieces.put_nowait("upon")
    slow.pieces.put_nowait(ModelEnd("stop", Usage(output_tokens=2)))
    await again
    assert (ear.text(), [delta.offset for delta in ear.of(TextDelta)]) == ("Once upon", [0, 5])
    assert (len(pod.starts()), len(ear.of(ResponseDone))) == (1, 1)
    assert lost.of(ResponseDone) == []


async def test_a_session_answers_one_message_at_a_time_and_holds_a_short_line(house: House) -> None:
    pod, slow = house.pod("p1"), house.slow_model()
    handle, ear = await house.attach()
    turns = [asyncio.create_task(handle.say(Said(message=str(number)))) for number in range(9)]
    await house.until(lambda: bool(slow.asked))
    with pytest.raises(Overloaded) as raised:
        await handle.say(Said(message="too many"))
    assert (raised.value.code, len(pod.starts())) == ("busy", 1)
    for _ in turns:
        slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await asyncio.gather(*turns)
    assert [record.input for record in logged(await house.store.read(next(iter(house.store.shelf.logs))))] == list(
        "012345678"
    )
    assert [done.seq for done in ear.of(ResponseDone)] == list(range(2, 20, 2))


async def test_a_lost_pods_turn_runs_again_elsewhere_and_says_nothing_twice(house: House) -> None:
    slow = house.slow_model()

    async def two_questions(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text="Hm. "))
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        first = await pod.answer(channel)
        if len(pod.told) and pod.uid == lost[0]:
            pod.lose()
            return
        assert isinstance(first, ModelResult)
        pod.send(channel, CallModel(index=2, segments=(), stream=False))
        await pod.answer(channel)
        pod.send(channel, Say(index=3, text=f" ({first.text})"))
        pod.send(channel, Commit())

    pods = {uid: house.pod(uid, turn=two_questions) for uid in ("p1", "p2")}
    handle, ear = await house.attach()
    lost: list[str] = []
    turn = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(slow.asked))
    lost += [uid for uid, pod in pods.items() if pod.starts()]
    for item in ("Once", ModelEnd("stop", Usage()), "inner", ModelEnd("stop", Usage())):
        slow.pieces.put_nowait(item)
    await turn
    assert ear.text() == "Hm. Once (Once)"
    assert ear.of(ResponseDone)[0].message == "Hm. Once (Once)"
    starts = [start for pod in pods.values() for start in pod.starts()]
    assert (len(starts), len({start.rng_seed for start in starts}), len(slow.asked)) == (2, 1, 2)
    (record,) = logged(await house.store.read(next(iter(house.store.shelf.logs))))
    assert [(entry.index, entry.kind, entry.outcome) for entry in record.journal] == [
        (0, "say", ""),
        (1, "call_model", "Once"),
        (2, "call_model", "inner"),
        (3, "say", ""),
    ]


async def test_a_run_that_does_something_else_is_not_joined_to_the_first(house: House) -> None:
    async def dice(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Say(index=0, text=f"I am {pod.dialled}"))
        await asyncio.sleep(0)
        pod.lose()

    house.pod("p1", turn=dice)
    handle, ear = await house.attach()
    with pytest.raises(Conflict) as raised:
        await handle.say(Said(message="hello"))
    assert raised.value.code == "replay_diverged"
    assert ear.of(ResponseDone)[0].error.code == "replay_diverged"
    assert house.store.shelf.logs.get(next(iter(house.store.shelf.heads)), []) == []


async def test_a_failed_turn_never_was_and_may_be_tried_again(house: House) -> None:
    async def gives_up_once(pod: FakePod, channel: int, start: StartTurn) -> None:
        if len(pod.starts()) == 1:
            pod.send(channel, TurnFailed(code="logic_failed", hook="answer", where="the user said a secret"))
        else:
            await ask_and_commit(pod, channel, start)

    house.pod("p1", turn=gives_up_once)
    handle, ear = await house.attach()
    with pytest.raises(RolehostError) as raised:
        await handle.say(Said(message="hello", client_msg_id="c1"))
    assert (raised.value.code, "secret" in str(raised.value)) == ("logic_failed", False)
    await handle.say(Said(message="hello", client_msg_id="c1"))
    failed, done = ear.of(ResponseDone)
    assert (failed.status, failed.seq, done.status, done.seq) == ("failed", None, "completed", 2)
    assert house.sink.turns == [("acme", "cat", "logic_error"), ("acme", "cat", "completed")]


async def test_a_model_that_fails_in_mid_answer_is_the_turns_error_if_logic_lets_it(house: House) -> None:
    async def default_reply(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        pod.send(channel, TurnFailed(code=result.error))

    house.pod("p1", turn=default_reply)
    slow = house.slow_model()
    handle, ear = await house.attach()
    slow.pieces.put_nowait("Once ")
    slow.pieces.put_nowait(Unavailable("the model server is away", code="model_unavailable"))
    with pytest.raises(Unavailable) as raised:
        await handle.say(Said(message="hello"))
    assert (raised.value.code, ear.of(ResponseDone)[0].error.retryable) == ("model_unavailable", True)


async def asked_without_permission(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, CallModel(index=0, segments=(), stream=True))
    result = await pod.answer(channel)
    assert isinstance(result, ModelResult)
    pod.send(channel, Say(index=1, text=result.error))
    pod.send(channel, Commit())


async def test_a_model_is_asked_only_with_permission(house: House) -> None:
    template = RoleTemplate(persona=Persona(system="x"), permissions=())
    serve(house.tables, revision_entry(template=template))
    house.pod("p1", turn=asked_without_permission)
    handle, ear = await house.attach()
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[0].message == "permission_denied"


async def test_a_turn_asks_the_model_sixteen_times_at_most(house: House) -> None:
    async def greedy(pod: FakePod, channel: int, start: StartTurn) -> None:
        errors = []
        for index in range(18):
            pod.send(channel, CallModel(index=index, segments=(), stream=False))
            result = await pod.answer(channel)
            assert isinstance(result, ModelResult)
            errors.append(result.error)
        pod.send(channel, Say(index=18, text=",".join(errors).strip(",")))
        pod.send(channel, Commit())

    house.pod("p1", turn=greedy)
    handle, ear = await house.attach()
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[0].message == "too_many_model_calls,too_many_model_calls"


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        pytest.param((PatchOp("add", "/x", "y" * 2000),), "state_too_large", id="state-too-large"),
        pytest.param((PatchOp("remove", "/nothing"),), "invalid_patch", id="a-patch-that-does-not-fit"),
    ],
)
async def test_a_bad_patch_fails_the_turn_and_nothing_else(house: House, patch: Any, code: str) -> None:
    async def patches(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Commit(patch=patch if len(pod.starts()) == 1 else ()))

    serve(
        house.tables,
        revision_entry(template=RoleTemplate(persona=Persona(system="x"), state=StateSpec(max_bytes=1024))),
    )
    house.pod("p1", turn=patches)
    handle, ear = await house.attach()
    with pytest.raises(RolehostError) as raised:
        await handle.say(Said(message="hello"))
    assert raised.value.code == code
    await handle.say(Said(message="hello"))
    assert [done.status for done in ear.of(ResponseDone)] == ["failed", "completed"]


async def test_two_tenants_with_the_same_role_and_session_id_see_nothing_of_each_other(house: House) -> None:
    house.pod("p1")
    house.pod("p2", EVIL)
    mine, _ear = await house.attach()
    await mine.say(Said(message="a secret"))
    theirs, other = await house.attach(tenant=EVIL)
    await theirs.say(Said(message="again"))
    assert other.of(SessionCreated)[0].head == 0
    assert other.of(ResponseDone)[0].message == "Before: "
    role = house.tables.roles.get("evil", "cat")
    assert role is not None
    page = await house.service.events(principal(EVIL), role, "abc", 0)
    assert all("secret" not in repr(event) for event in page.events)
    with pytest.raises(NotFound):
        await house.service.events(principal(EVIL), role, "another", 0)


async def test_a_session_is_its_principals_and_so_is_the_user_in_it(house: House) -> None:
    """What a message says of its user decides nothing here: the edge has asked who may say so."""
    pod = house.pod("p1")
    for user in ("", "u-17", "u-18", "u-17"):
        handle, ear = await house.attach(user=user)
        await handle.say(Said(message="again", user="root"))
    assert [start.user for start in pod.starts()] == ["", "u-17", "u-18", "u-17"]
    assert ear.of(SessionCreated)[0].head == 2
    assert ear.of(ResponseDone)[0].message == "Before: again"
    assert len({start.session for start in pod.starts()}) == 3


async def test_a_users_sessions_are_read_by_nobody_else(house: House) -> None:
    house.pod("p1")
    handle, _ = await house.attach(user="u-17")
    await handle.say(Said(message="hello"))
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    u17, others = principal(ACME, user="u-17"), (principal(ACME), principal(ACME, user="u-18"), principal(EVIL))
    assert (await house.service.events(u17, role, "abc", 0)).events
    for other in others:
        for read in (house.service.standing, house.service.state):
            with pytest.raises(NotFound):
                await read(other, role, "abc")


async def test_resume_gives_what_was_missed_and_the_open_turn_so_far(house: House) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="one"))
    slow = house.slow_model()
    turn = asyncio.create_task(handle.say(Said(message="two")))
    slow.pieces.put_nowait("Half")
    await house.until(lambda: bool(slow.asked))
    late, ear = await house.attach()
    await late.resume(1)
    await house.until(lambda: slow.pieces.empty())
    await asyncio.sleep(0)
    resumed, done = ear.of(Resumed)[0], ear.of(ResponseDone)[0]
    assert (resumed.from_seq, resumed.to_seq, resumed.gap, done.seq, done.replay) == (2, 2, False, 2, True)
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await turn
    assert (ear.text(), ear.of(StateDelta)[-1].seq) == ("Half", 3)
    lost, far = await house.attach()
    await lost.resume(99)
    assert (far.of(Resumed)[0].gap, far.of(Resumed)[0].code) == (True, "resume_lost")


async def test_a_degraded_hook_is_told_without_the_pods_own_words(house: House) -> None:
    async def lies(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Commit(degraded=(Degraded("on_reply:count", "Pay us", "right now"),)))

    house.pod("p1", turn=lies)
    handle, ear = await house.attach()
    await handle.say(Said(message="hello"))
    (told,) = ear.of(ResponseDone)[0].degraded
    assert (told.hook, told.code, told.where) == ("on_reply:count", "hook_failed", "")


async def test_a_following_session_moves_at_its_next_turn_and_others_finish_where_they_are(house: House) -> None:
    first, second = house.pod("p1"), house.pod("p2", revision=CAT_2)
    put(house.tables, revision_entry(sequence=2))
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, role_entry(stable=CAT_2))
    await handle.say(Said(message="two"))
    assert (len(first.starts()), len(second.starts())) == (2, 0)
    put(house.tables, role_entry(stable=CAT_2, follow=True))
    await handle.say(Said(message="three"))
    (moved,) = ear.of(RevisionChanged)
    assert (moved.from_, moved.to, moved.reason) == ("@r1", "@r2", "follow")
    assert [start.state for start in second.starts()] == [{"turns": 2}]


async def test_a_pin_on_a_vanished_revision_moves_and_never_errors(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    house.pod("p2", revision=CAT_2)
    put(house.tables, revision_entry(sequence=2), role_entry(stable=CAT_2))
    house.tables.pods.drop(("p1",))
    await handle.say(Said(message="two"))
    assert [(moved.to, moved.reason) for moved in ear.of(RevisionChanged)] == [("@r2", "revision_gone")]


@pytest.mark.parametrize("wanted", ["r2", "@r2", CAT_2, f"sha256:{revision_entry(sequence=2).spec.hash[:8]}"])
async def test_a_revision_may_be_asked_for_by_address(house: House, wanted: str) -> None:
    put(house.tables, revision_entry(sequence=2))
    _, ear = await house.attach(revision=wanted)
    assert ear.of(SessionCreated)[0].role == "cat@r2"


async def test_a_revision_that_is_not_there_is_not_found(house: House) -> None:
    with pytest.raises(NotFound) as raised:
        await house.attach(revision="r9")
    assert raised.value.code == "revision_not_found"


async def test_a_role_without_a_ready_revision_takes_no_session(house: House) -> None:
    put(house.tables, role_entry(stable=""))
    with pytest.raises(Unavailable) as raised:
        await house.attach()
    assert raised.value.code == "no_ready_revision"


async def test_a_store_that_is_away_fails_the_turn_and_the_log_is_read_again(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    commit = house.store.commit

    async def lost_answer(key: str, record: Record, keep_seconds: int = 0) -> None:
        await commit(key, record)
        raise Unavailable("the store does not answer", code="state_unavailable")

    house.store.commit = lost_answer  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hello", client_msg_id="c1"))
    house.store.commit = commit  # type: ignore[method-assign]
    await handle.say(Said(message="hello", client_msg_id="c1"))
    failed, done = ear.of(ResponseDone)
    assert (failed.error.code, done.replay, done.seq) == ("state_unavailable", True, 2)


async def test_a_turn_that_was_called_failed_and_kept_after_all_is_told_to_all_who_listen(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    _, other = await house.attach()
    commit = house.store.commit

    async def lost_answer(key: str, record: Record, keep_seconds: int = 0) -> None:
        await commit(key, record)
        raise Unavailable("the store does not answer", code="state_unavailable")

    await handle.say(Said(message="one", client_msg_id="c1"))
    house.store.commit = lost_answer  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await handle.say(Said(message="two", client_msg_id="c2"))
    house.store.commit = commit  # type: ignore[method-assign]
    first = len(ear.heard)
    await handle.say(Said(message="one", client_msg_id="c1"))
    assert [event.seq for event in ear.heard[first:]] == [3, 4, 1, 2]
    del ear.heard[-2:]
    await handle.say(Said(message="two", client_msg_id="c2"))
    assert [event.seq for event in ear.heard[first:]] == [3, 4, 3, 4]
    del ear.heard[-2:]
    await handle.say(Said(message="three", client_msg_id="c3"))
    for channel in (ear, other):
        numbers = [event.seq for event in channel.heard if event.seq is not None]
        assert numbers == [1, 2, 3, 4, 5, 6]
        done = [done for done in channel.of(ResponseDone) if done.status == "completed"]
        assert [(each.client_msg_id, each.replay) for each in done] == [("c1", False), ("c2", True), ("c3", False)]


async def test_what_another_gateway_added_is_told_when_the_session_comes_back(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    other = House(house.tables, house.store.shelf)
    other.dialer.add("p1")
    await other.pool.start()
    theirs, _ = await other.attach()
    await theirs.say(Said(message="two"))
    await other.service.stop(0)
    await other.pool.stop()
    with pytest.raises(Conflict):
        await handle.say(Said(message="three", client_msg_id="c3"))
    await handle.say(Said(message="three", client_msg_id="c3"))
    assert [event.seq for event in ear.heard if event.seq is not None] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("kept", [pytest.param(True, id="kept"), pytest.param(False, id="not-kept")])
async def test_a_commit_without_an_answer_is_sent_again_and_kept_once(house: House, kept: bool) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    commit, tries = house.store.commit, []

    async def deaf_twice(key: str, record: Record, keep_seconds: int = 0) -> None:
        tries.append(record)
        if kept or len(tries) > 2:
            await commit(key, record)
        if len(tries) <= 2:
            raise Unavailable("the store does not answer", code="state_unavailable")

    house.store.commit = deaf_twice  # type: ignore[method-assign]
    await handle.say(Said(message="hello"))
    await handle.say(Said(message="again"))
    assert [(done.status, done.seq, done.message) for done in ear.of(ResponseDone)] == [
        ("completed", 2, "You said hello."),
        ("completed", 4, "Before: hello"),
    ]
    (log,) = house.store.shelf.logs.values()
    assert len(log) == 2


async def test_a_durable_turn_is_not_called_failed_by_a_channel_that_breaks(house: House) -> None:
    house.pod("p1")
    handle, ear = await house.attach()

    class Broken(Ear):
        def send(self, event: Any) -> None:
            super().send(event)
            if isinstance(event, ResponseDone) and event.status == "completed":
                raise ValueError("a bug of the edge")

    broken = Broken()
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    await house.service.attach(principal(ACME), role, "abc", broken)
    with pytest.raises(ValueError, match="edge"):
        await handle.say(Said(message="hello"))
    assert [done.status for done in (*ear.of(ResponseDone), *broken.of(ResponseDone))] == ["completed"] * 2
    await house.service.attach(principal(ACME), role, "abc", Ear())


async def test_a_message_may_ask_for_a_revision(house: House) -> None:
    house.pod("p1")
    put(house.tables, revision_entry(sequence=2))
    house.pod("p2", revision=CAT_2)
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    await handle.say(Said(message="two", revision="@r2"))
    await handle.say(Said(message="three"))
    with pytest.raises(NotFound) as raised:
        await handle.say(Said(message="four", revision="@r9"))
    assert raised.value.code == "revision_not_found"
    assert [done.revision for done in ear.of(ResponseDone)] == [CAT_1, CAT_2, CAT_2]
    assert [(moved.to, moved.reason) for moved in ear.of(RevisionChanged)] == [("@r2", "requested")]


async def test_a_lost_socket_does_not_cancel_its_turn(house: House) -> None:
    house.pod("p1")
    slow = house.slow_model()
    handle, _ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(slow.asked))
    handle.detach()
    turn.cancel()
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await house.until(lambda: bool(house.sink.turns))
    assert house.sink.turns == [("acme", "cat", "completed")]


async def test_stopping_gives_running_turns_their_time_and_then_gives_them_up(house: House) -> None:
    house.pod("p1")
    slow = house.slow_model()
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(slow.asked))
    await house.service.stop(0)
    assert ear.of(ResponseDone)[0].error.code == "stopping"
    with pytest.raises(asyncio.CancelledError):
        await turn


async def test_silent_sessions_are_let_go_and_come_back_from_the_log(house: House) -> None:
    house.pod("p1")
    handle, _ = await house.attach("old")
    await handle.say(Said(message="one"))
    handle.detach()
    house.clock.now_ms += 301_000
    await house.attach("new")
    assert [live.session_id for live in house.service._live.values()] == ["new"]
    _again, ear = await house.attach("old")
    assert ear.of(SessionCreated)[0].head == 2


async def test_the_clients_deadline_gives_the_turn_up(house: House) -> None:
    house.pod("p1")
    house.slow_model()
    handle, ear = await house.attach()
    with pytest.raises(Unavailable) as raised:
        await handle.say(Said(message="hello", deadline_ms=20))
    assert raised.value.code == "deadline_exceeded"
    assert ear.of(ResponseDone)[0].error.code == "deadline_exceeded"


async def test_a_backend_that_is_not_there_is_said(house: House) -> None:
    async def told(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, CallModel(index=0, segments=(), stream=True))
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        pod.send(channel, TurnFailed(code=result.error))

    house.tables.backends.drop(("default",))
    house.pod("p1", turn=told)
    handle, _ = await house.attach()
    with pytest.raises(Unavailable) as raised:
        await handle.say(Said(message="hello"))
    assert raised.value.code == "backend_not_found"

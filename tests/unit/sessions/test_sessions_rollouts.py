"""Where new sessions open while a rollout goes on, and what becomes of open ones when its revision is given up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed
from tests.support.house import House
from tests.support.rooms import (
    ACME,
    CAT_1,
    CAT_2,
    Ear,
    FakePod,
    ask_and_commit,
    pod_entry,
    principal,
    put,
    revision_entry,
    role_entry,
    world,
)

from rolehost_api.crd.role import Persona, RoleTemplate, Sessions, StateSpec
from rolehost_api.crd.rollout import Arm, SessionPolicy, Share
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import Commit, PatchOp, StartTurn
from rolehost_api.wire import Error, ResponseDone, RevisionChanged, Said, SessionCreated, StateDelta, Usage
from rolehost_runtime.core.assignment import Assignment, Traffic, bucket
from rolehost_runtime.core.departing import Departing
from rolehost_runtime.core.patch import InvalidPatch
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.session import SessionFold
from rolehost_runtime.core.tripping import IN_A_ROW
from rolehost_runtime.gateway.ports import ModelEnd, Superseded
from rolehost_runtime.gateway.sessions.evacuation import PART
from rolehost_runtime.gateway.sessions.routing import Routing
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry, Tables

KEY = b"k" * 32


def shares(percent: int, candidate: str = CAT_2, stable: str = CAT_1) -> tuple[Share, ...]:
    return (
        Share(revision=candidate, percent=percent, tag="canary", arm=Arm.CANDIDATE),
        Share(revision=stable, percent=100 - percent, tag="stable", arm=Arm.BASELINE),
    )


def canary(percent: int, rollout: str = "cat-1", epoch: int = 1, candidate: str = CAT_2) -> RoleEntry:
    return replace(role_entry(), traffic=Traffic(rollout, epoch, shares(percent, candidate)))


def given_up(
    policy: SessionPolicy = SessionPolicy.MIGRATE_AT_TURN, *, until_ms: int = 0, candidate: str = CAT_2
) -> RoleEntry:
    """The stable revision takes everything again."""
    left = Departing(candidate, policy, "rollback", until_ms)
    return replace(role_entry(), traffic=Traffic("cat-1", 2), leaving=(left,))


class Gateway(House):
    """One whose routing is that of all others: the same key."""

    def __init__(self, tables: Tables, **more: Any) -> None:
        self.cohorts: list[tuple[str, Assignment]] = []
        super().__init__(tables, **more)
        self.routing: Routing = self.service._world.routing
        self.routing._key = KEY
        self.routing.cohorts = self

    def assigned(self, role: RoleEntry, session_key: str, assignment: Assignment) -> None:
        self.cohorts.append((session_key, assignment))

    def live(self, sid: str = "abc") -> Any:
        (found,) = [live for live in self.service._live.values() if live.session_id == sid]
        return found

    def given(self, uid: str) -> dict[str, Any]:
        """The state that this pod's newest turn began with."""
        return self.dialer.pods[uid].starts()[-1].state or {}

    async def turns(self) -> list[TurnRecord]:
        return [record for record in await self.log() if isinstance(record, TurnRecord)]

    async def passed(self) -> None:
        """Until every session that is to move at once has moved."""
        for _ in range(50):
            await asyncio.sleep(0.002)


@pytest.fixture
async def house() -> AsyncIterator[Gateway]:
    tables = world()
    put(tables, revision_entry(sequence=2))
    made = Gateway(tables)
    made.pod("p1")
    made.pod("p2", revision=CAT_2)
    await made.pool.start()
    yield made
    await made.service.stop(0)
    await made.pool.stop()


async def other_than(house: Gateway) -> Gateway:
    """Another gateway over the same store, with links of its own to pods of the same revisions."""
    made = Gateway(house.tables, shelf=house.store.shelf)
    for uid in ("p1", "p2", "p3"):
        made.dialer.add(uid)
    await made.pool.start()
    return made


async def close(house: Gateway) -> None:
    await house.service.stop(0)
    await house.pool.stop()


def user_in(percent: int, *, outside: int = 0, rollout: str = "cat-1") -> str:
    """A user whose bucket is within the first percents."""
    return next(f"u-{n}" for n in range(100_000) if outside * 100 <= bucket(KEY, rollout, f"u-{n}") < percent * 100)


def opened_on(ear: Ear) -> str:
    return str(ear.of(SessionCreated)[-1].role)


# ── opening ─────────────────────────────────────────────────────────────────────────


async def test_a_new_session_opens_where_its_users_bucket_is_and_on_every_gateway_there(house: Gateway) -> None:
    put(house.tables, canary(5))
    inside, beyond = user_in(5), user_in(100, outside=5)
    other = await other_than(house)
    for gateway in (house, other):
        for sid in ("a", "b"):
            _, ear = await gateway.attach(f"{sid}-{id(gateway)}", user=inside)
            assert opened_on(ear) == "cat@r2"
            _, ear = await gateway.attach(f"{sid}-{id(gateway)}", user=beyond)
            assert opened_on(ear) == "cat@r1"
    await close(other)


async def test_a_unit_is_compared_once_whichever_gateway_its_sessions_come_to(house: Gateway) -> None:
    put(house.tables, canary(5))
    inside, other = user_in(5), await other_than(house)
    await house.attach("a", user=inside)
    await house.attach("b", user=inside)
    await other.attach("c", user=inside)
    ((_, made),) = house.cohorts
    assert (made.rollout, made.epoch, made.revision, made.arm, made.percent, made.known) == (
        "cat-1", 1, CAT_2, Arm.CANDIDATE, 5, True,
    )  # fmt: skip
    assert inside not in made.unit
    assert house.live("a").assignment == made
    assert (house.live("b").assignment, other.live("c").assignment, other.cohorts) == (None, None, [])
    put(house.tables, canary(25, epoch=2))
    await other.attach("d", user=inside)
    assert [one.epoch for _, one in other.cohorts] == [2]
    await close(other)


async def test_a_raised_weight_moves_no_live_session(house: Gateway) -> None:
    put(house.tables, canary(5))
    later = user_in(50, outside=5)
    handle, ear = await house.attach(user=later)
    await handle.say(Said(message="one"))
    put(house.tables, canary(50))
    await handle.say(Said(message="two"))
    await house.passed()
    assert ear.of(RevisionChanged) == []
    assert [done.revision for done in ear.of(ResponseDone)] == [CAT_1, CAT_1]
    _, ear = await house.attach("another", user=later)
    assert opened_on(ear) == "cat@r2"


async def test_who_was_silent_for_long_is_assigned_anew_and_compared(house: Gateway) -> None:
    inside = user_in(5)
    handle, ear = await house.attach(user=inside)
    await handle.say(Said(message="one"))
    assert house.live().assignment is None
    put(house.tables, canary(5))
    await handle.say(Said(message="two"))
    house.clock.now_ms += 901_000
    await handle.say(Said(message="three"))
    assert [(moved.to, moved.reason) for moved in ear.of(RevisionChanged)] == [("@r2", "idle")]
    assert house.live().assignment.arm is Arm.CANDIDATE


async def test_who_stays_on_stable_after_a_silence_is_compared_just_so(house: Gateway) -> None:
    beyond = user_in(100, outside=5)
    handle, ear = await house.attach(user=beyond)
    await handle.say(Said(message="one"))
    put(house.tables, canary(5))
    house.clock.now_ms += 901_000
    await handle.say(Said(message="two"))
    assert ear.of(RevisionChanged) == []
    assert house.live().assignment.arm is Arm.BASELINE


async def test_who_asks_for_a_revision_gets_it_and_is_not_compared(house: Gateway) -> None:
    put(house.tables, canary(5))
    _, ear = await house.attach(user=user_in(100, outside=5), revision="r2")
    assert opened_on(ear) == "cat@r2"
    assert (house.live().assignment, house.cohorts) == (None, [])


async def test_a_candidate_without_a_pod_takes_nobody_and_nothing_is_learnt(house: Gateway) -> None:
    put(house.tables, canary(5))
    house.tables.pods.drop(("p2",))
    _, ear = await house.attach(user=user_in(5))
    assert opened_on(ear) == "cat@r1"
    assert (house.live().assignment, house.cohorts) == (None, [])


async def test_a_store_that_does_not_answer_keeps_nobody_from_opening(house: Gateway) -> None:
    async def away(unit: str, seconds: int) -> bool:
        raise Unavailable("the store does not answer", code="state_unavailable")

    house.store.claim_unit = away  # type: ignore[method-assign]
    put(house.tables, canary(5))
    _, ear = await house.attach(user=user_in(5))
    assert (opened_on(ear), house.live().assignment) == ("cat@r2", None)


async def test_sessions_of_nobody_in_particular_are_units_of_their_own(house: Gateway) -> None:
    put(house.tables, canary(50))
    for number in range(20):
        await house.attach(f"s{number}")
    assert len(house.cohorts) == 20
    assert {made.arm for _, made in house.cohorts} == {Arm.CANDIDATE, Arm.BASELINE}
    assert not any(made.known for _, made in house.cohorts)


# ── the local breaker ───────────────────────────────────────────────────────────────


async def test_bad_sessions_in_a_row_keep_new_ones_from_the_candidate_until_the_epoch_ends(house: Gateway) -> None:
    put(house.tables, canary(5))
    role = canary(5)
    for number in range(IN_A_ROW):
        of = Assignment("cat-1", 1, CAT_2, Arm.CANDIDATE, 5, True, f"u{number}", 0)
        house.routing.scored(role, of, bad=True)
    assert house.routing.held_back == 1
    assert [one.breaker for one in house.routing.moves.reports()] == [True]
    _, ear = await house.attach("a", user=user_in(5))
    assert (opened_on(ear), house.cohorts) == ("cat@r1", [])
    put(house.tables, canary(5, epoch=2))
    assert (house.routing.held_back, [one.breaker for one in house.routing.moves.reports()]) == (0, [False])
    _, ear = await house.attach("b", user=user_in(5))
    assert opened_on(ear) == "cat@r2"


async def test_of_two_variants_only_the_bad_one_is_held_back(house: Gateway) -> None:
    third = revision_entry(sequence=3)
    put(house.tables, third, pod_entry("p3", revision=third.name))
    variants = tuple(Share(revision=one, percent=10, tag="variant", arm=Arm.CANDIDATE) for one in (CAT_2, third.name))
    stable = Share(revision=CAT_1, percent=80, arm=Arm.BASELINE)
    role = replace(role_entry(), traffic=Traffic("cat-1", 1, (*variants, stable)))
    put(house.tables, role)
    for number in range(IN_A_ROW):
        for revision, bad in ((CAT_2, True), (third.name, False)):
            of = Assignment("cat-1", 1, revision, Arm.CANDIDATE, 10, True, f"u{number}", 0)
            house.routing.scored(role, of, bad=bad)
    assert (house.routing.holds_back(role, CAT_2), house.routing.holds_back(role, third.name)) == (True, False)
    _, ear = await house.attach("a", user=user_in(10))
    assert opened_on(ear) == "cat@r1"
    _, ear = await house.attach("b", user=user_in(20, outside=10))
    assert opened_on(ear) == "cat@r3"


async def test_what_an_earlier_epoch_assigned_holds_nobody_back(house: Gateway) -> None:
    for number in range(IN_A_ROW):
        of = Assignment("cat-1", 1, CAT_2, Arm.CANDIDATE, 5, True, f"u{number}", 0)
        house.routing.scored(canary(5, epoch=2), of, bad=True)
    assert house.routing.held_back == 0


# ── rolling back ────────────────────────────────────────────────────────────────────


async def test_a_silent_session_moves_at_once_and_hears_of_it_on_its_open_socket(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up())
    await house.passed()
    (moved,) = ear.of(RevisionChanged)
    assert (moved.from_, moved.to, moved.reason, moved.state_reset) == ("@r2", "@r1", "rollback", False)
    await handle.say(Said(message="two"))
    assert [done.revision for done in ear.of(ResponseDone)] == [CAT_2, CAT_1]
    assert ear.of(StateDelta)[-1].version == 2
    assert len(ear.of(RevisionChanged)) == 1
    (report,) = house.routing.moves.reports()
    assert (report.rollout, report.migrated, report.dropped, report.reset) == ("cat-1", 1, 0, 0)
    assert {one.revision for one in (await house.pool.observed(-1, 0)).revisions} == {CAT_1}


async def test_a_turn_in_flight_ends_where_it_is_and_the_session_moves_behind_it(house: Gateway) -> None:
    put(house.tables, canary(100))
    slow = house.slow_model()
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="one", client_msg_id="c1")))
    await house.until(lambda: bool(slow.asked))
    put(house.tables, given_up())
    await house.passed()
    assert ear.of(RevisionChanged) == []
    slow.pieces.put_nowait("Yes.")
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await turn
    await house.passed()
    kinds = [type(event) for event in ear.heard if isinstance(event, ResponseDone | RevisionChanged)]
    assert kinds == [ResponseDone, RevisionChanged]
    assert ear.of(ResponseDone)[0].revision == CAT_2


async def test_a_turn_that_hangs_is_given_up_in_time_and_said_again_it_is_answered_once(house: Gateway) -> None:
    role = given_up()
    role = replace(role, spec=changed(role.spec, sessions=Sessions(turn_timeout_seconds=1)))
    put(house.tables, canary(100))
    slow = house.slow_model()
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="one", client_msg_id="c1")))
    await house.until(lambda: bool(slow.asked))
    put(house.tables, role)
    with pytest.raises(Unavailable) as raised:
        await turn
    assert (raised.value.code, raised.value.retryable) == ("revision_left", True)
    await house.until(lambda: bool(ear.of(RevisionChanged)))
    slow.pieces.put_nowait("Yes.")
    slow.pieces.put_nowait(ModelEnd("stop", Usage()))
    await handle.say(Said(message="one", client_msg_id="c1"))
    failed, done = ear.of(ResponseDone)
    assert (failed.status, done.status, done.revision) == ("failed", "completed", CAT_1)
    assert len(await house.turns()) == 1


async def test_who_was_away_moves_when_they_come_back_and_on_whichever_gateway(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, _ = await house.attach()
    await handle.say(Said(message="one"))
    handle.detach()
    other = await other_than(house)
    put(other.tables, given_up())
    handle, ear = await other.attach()
    assert [(moved.to, moved.reason) for moved in ear.of(RevisionChanged)] == [("@r1", "rollback")]
    await handle.say(Said(message="two"))
    assert [done.revision for done in ear.of(ResponseDone)] == [CAT_1]
    assert [record.revision for record in await other.turns()] == [CAT_2, CAT_1]
    await close(other)


async def test_who_is_silent_and_away_is_counted_on_no_gateway_until_they_come_back(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, _ = await house.attach()
    await handle.say(Said(message="one"))
    handle.detach()
    await house.passed()
    put(house.tables, given_up())
    await house.passed()
    assert ((await house.pool.observed(-1, 0)).revisions, house.routing.moves.reports()) == ((), ())
    other = await other_than(house)
    handle, ear = await other.attach()
    assert [(moved.from_, moved.to) for moved in ear.of(RevisionChanged)] == [("@r2", "@r1")]
    assert [one.migrated for one in other.routing.moves.reports()] == [1]
    handle, ear = await house.attach()
    assert [(moved.from_, moved.to) for moved in ear.of(RevisionChanged)] == [("@r2", "@r1")]
    await close(other)


async def test_who_listens_to_a_sleeping_session_is_told_what_becomes_of_its_state(
    house: Gateway, candidate: RevisionEntry
) -> None:
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    await house.passed()
    house.live().sleep()
    put(house.tables, given_up(candidate=candidate.name))
    await house.passed()
    assert [moved.state_reset for moved in ear.of(RevisionChanged)] == [True]


async def test_a_session_that_moves_in_mid_turn_between_gateways_loses_and_doubles_nothing(house: Gateway) -> None:
    """One gateway answers on the revision that is given up; another takes the session over, fences it, and moves it."""
    put(house.tables, canary(100))
    handle, _ = await house.attach()
    await handle.say(Said(message="one", client_msg_id="c1"))
    other = await other_than(house)
    slow = house.slow_model()
    turn = asyncio.create_task(handle.say(Said(message="two", client_msg_id="c2")))
    await house.until(lambda: bool(slow.asked))
    put(house.tables, given_up())
    theirs, heard = await other.attach()
    for model in (slow, other.slow):
        model.pieces.put_nowait("Yes.")
        model.pieces.put_nowait(ModelEnd("stop", Usage()))
    await theirs.say(Said(message="two", client_msg_id="c2"))
    with pytest.raises(Superseded):
        await turn
    first, second = await other.turns()
    assert [(one.turn, one.client_msg_id, one.revision) for one in (first, second)] == [
        (1, "c1", CAT_2),
        (2, "c2", CAT_1),
    ]
    assert first.epoch < second.epoch
    assert [moved.to for moved in heard.of(RevisionChanged)] == ["@r1"]
    assert [done.revision for done in heard.of(ResponseDone)] == [CAT_1]
    await close(other)


async def test_a_drain_leaves_sessions_where_they_are_until_it_ends(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up(SessionPolicy.DRAIN, until_ms=house.clock.now_ms + 60_000))
    await house.passed()
    await handle.say(Said(message="two"))
    _, other = await house.attach("another")
    assert (ear.of(RevisionChanged), opened_on(other)) == ([], "cat@r1")
    house.clock.now_ms += 60_000
    await handle.say(Said(message="three"))
    assert [(moved.to, moved.reason) for moved in ear.of(RevisionChanged)] == [("@r1", "rollback")]


async def test_who_falls_silent_while_a_revision_is_drained_is_counted_as_drained(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, _ = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up(SessionPolicy.DRAIN))
    house.pool.on_silent(house.routing.fell_silent)
    house.clock.now_ms += 901_000
    await house.pool.observed(-1, 0)
    assert [(one.drained, one.migrated) for one in house.routing.moves.reports()] == [(1, 0)]
    await handle.say(Said(message="two"))
    assert [(one.drained, one.migrated) for one in house.routing.moves.reports()] == [(1, 0)]


async def test_many_sessions_move_a_part_at_a_time(house: Gateway) -> None:
    put(house.tables, canary(100))
    ears = [(await house.attach(f"s{number}"))[1] for number in range(PART + 1)]
    put(house.tables, given_up())
    await house.until(lambda: bool(ears[0].of(RevisionChanged)))
    assert sum(bool(ear.of(RevisionChanged)) for ear in ears) == PART
    await house.until(lambda: all(ear.of(RevisionChanged) for ear in ears))
    assert [one.migrated for one in house.routing.moves.reports()] == [PART + 1]


async def test_a_drains_end_moves_who_is_silent(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up(SessionPolicy.DRAIN, until_ms=house.clock.now_ms + 30))
    await house.passed()
    assert ear.of(RevisionChanged) == []
    house.clock.now_ms += 30
    await house.until(lambda: bool(ear.of(RevisionChanged)))


async def test_a_revision_that_is_withdrawn_closes_its_sockets_and_whoever_comes_back_goes_on(house: Gateway) -> None:
    put(house.tables, canary(100))
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up(SessionPolicy.TERMINATE))
    await house.passed()
    (told,) = ear.of(Error)
    assert (told.error.code, told.error.retryable) == ("revision_withdrawn", True)
    assert ear.of(RevisionChanged) == []
    handle.detach()
    handle, again = await house.attach()
    assert [(moved.to, moved.reason) for moved in again.of(RevisionChanged)] == [("@r1", "rollback")]
    await handle.say(Said(message="two"))
    assert again.of(Error) == []
    (report,) = house.routing.moves.reports()
    assert (report.dropped, report.migrated) == (1, 0)


async def test_a_withdrawn_revision_gives_a_running_turn_no_time(house: Gateway) -> None:
    put(house.tables, canary(100))
    slow = house.slow_model()
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="one", client_msg_id="c1")))
    await house.until(lambda: bool(slow.asked))
    put(house.tables, given_up(SessionPolicy.TERMINATE))
    with pytest.raises(Unavailable) as raised:
        await turn
    assert raised.value.code == "revision_left"
    await house.passed()
    assert [type(event) for event in ear.heard[-2:]] == [ResponseDone, Error]


async def test_whoever_asked_for_the_revision_by_name_stays_on_it(house: Gateway) -> None:
    put(house.tables, canary(5))
    handle, ear = await house.attach(revision="r2")
    await handle.say(Said(message="one"))
    put(house.tables, given_up())
    await house.passed()
    await handle.say(Said(message="two"))
    assert ear.of(RevisionChanged) == []
    assert [done.revision for done in ear.of(ResponseDone)] == [CAT_2, CAT_2]


# ── state that the stable revision cannot read ──────────────────────────────────────


def newer(*reads: int, version: int = 2) -> RevisionEntry:
    """A candidate whose State has another shape."""
    template = RoleTemplate(
        persona=Persona(system="You are a new cat."),
        state=StateSpec(schema_version=version, reads_schema_versions=list(reads)),
    )
    return revision_entry(sequence=3, template=template)


async def remembering(pod: FakePod, channel: int, start: StartTurn) -> None:
    patch = (PatchOp("add", "/lives", {"left": 9}), PatchOp("add", "/@behavior", {"main": {"node": "Nap"}}))
    pod.send(channel, Commit(patch=patch if start.turn == 1 else (PatchOp("incr", "/turns", 1),)))


@pytest.fixture
async def candidate(house: Gateway) -> RevisionEntry:
    """One whose state stable cannot read."""
    made = newer(1)
    put(house.tables, made, pod_entry("p3", revision=made.name))
    house.dialer.add("p3", turn=remembering)
    put(house.tables, canary(100, candidate=made.name))
    return made


async def test_a_rollback_begins_state_anew_that_stable_cannot_read(house: Gateway, candidate: RevisionEntry) -> None:
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up(candidate=candidate.name))
    await house.passed()
    (moved,) = ear.of(RevisionChanged)
    assert (moved.from_, moved.to, moved.state_reset) == ("@r3", "@r1", True)
    await handle.say(Said(message="two"))
    started = house.dialer.pods["p1"].starts()[-1]
    assert (started.state, started.version) == ({"@behavior": {"main": {"node": "Nap"}}}, 1)
    _, second = ear.of(StateDelta)
    assert [(one.op, one.path) for one in second.patch] == [("remove", "/lives"), ("incr", "/turns")]
    records = await house.turns()
    assert [(record.schema, record.reset) for record in records] == [(2, False), (1, True)]
    fold = SessionFold.of(records[0].log_id, records[-1].epoch, records)
    assert fold.state == {"@behavior": {"main": {"node": "Nap"}}, "turns": 1}
    assert (fold.schema, fold.version) == (1, 2)
    view = await house.service.state(principal(ACME), role_entry(), "abc")
    assert view.state == {"turns": 1}
    await handle.say(Said(message="three"))
    assert [record.reset for record in await house.turns()] == [False, True, False]
    assert [one.reset for one in house.routing.moves.reports()] == [1]
    assert [exchange.input for exchange in house.live().fold.past] == ["one", "two", "three"]


async def test_a_reset_that_no_turn_has_shown_yet_is_due_on_whichever_gateway_answers(
    house: Gateway, candidate: RevisionEntry
) -> None:
    handle, _ = await house.attach()
    await handle.say(Said(message="one"))
    handle.detach()
    put(house.tables, given_up(candidate=candidate.name))
    await house.passed()
    other = await other_than(house)
    handle, ear = await other.attach()
    assert [moved.state_reset for moved in ear.of(RevisionChanged)] == [True]
    await handle.say(Said(message="two"))
    assert [record.reset for record in await other.turns()] == [False, True]
    await close(other)


async def test_a_turn_that_fails_on_the_new_state_resets_nothing(house: Gateway, candidate: RevisionEntry) -> None:
    handle, _ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, given_up(candidate=candidate.name))

    async def lost(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Commit(patch=(PatchOp("replace", "/nothing", 1),)))

    house.dialer.pods["p1"].turn = lost
    with pytest.raises(InvalidPatch):
        await handle.say(Said(message="two"))
    assert house.live().fold.state["lives"] == {"left": 9}
    house.dialer.pods["p1"].turn = ask_and_commit
    await handle.say(Said(message="three"))
    assert [record.reset for record in await house.turns()] == [False, True]


async def test_a_stable_revision_that_reads_the_newer_state_keeps_it(house: Gateway) -> None:
    reads = revision_entry(
        sequence=4,
        template=RoleTemplate(
            persona=Persona(system="You are a cat."), state=StateSpec(schema_version=1, reads_schema_versions=[2])
        ),
    )
    candidate = newer(1)
    put(house.tables, reads, candidate)
    put(house.tables, pod_entry("p3", revision=candidate.name), pod_entry("p4", revision=reads.name))
    house.dialer.add("p3", turn=remembering)
    house.dialer.add("p4")
    traffic = Traffic("cat-1", 1, shares(100, candidate.name, reads.name))
    put(house.tables, replace(role_entry(stable=reads.name), traffic=traffic))
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    put(house.tables, replace(given_up(candidate=candidate.name), stable=reads.name))
    await house.passed()
    await handle.say(Said(message="two"))
    assert [moved.state_reset for moved in ear.of(RevisionChanged)] == [False]
    assert house.given("p4")["lives"] == {"left": 9}


async def test_whoever_looks_at_an_older_revision_by_name_loses_no_state(
    house: Gateway, candidate: RevisionEntry
) -> None:
    handle, ear = await house.attach()
    await handle.say(Said(message="one"))
    await handle.say(Said(message="two", revision="r1"))
    assert [moved.state_reset for moved in ear.of(RevisionChanged)] == [False]
    assert house.given("p1")["lives"] == {"left": 9}

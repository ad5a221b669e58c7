"""Turns end to end in one process, held against their Role's objectives, as Prometheus is told of it."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.house import House
from tests.support.rooms import (
    ACME,
    CAT_1,
    CAT_2,
    DEFAULT_SEGMENTS,
    Ear,
    FakePod,
    put,
    revision_entry,
    role_entry,
    world,
)

from rolehost_api.crd.role import Measure, Objective, ObjectiveType, Slo
from rolehost_api.crd.rollout import Arm, Share
from rolehost_api.errors import LogicError, NotFound, Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import CallModel, Commit, ModelResult, Recall, StartTurn, TurnFailed
from rolehost_api.wire import Metrics, ResponseCreated, ResponseDone, Said, Usage
from rolehost_runtime.core.assignment import Assignment, Traffic
from rolehost_runtime.core.tripping import IN_A_ROW
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.judging import GONE_SECONDS, IDLE_SECONDS, Judging
from rolehost_runtime.gateway.sessions.metrics import PrometheusSink
from rolehost_runtime.gateway.sessions.routing import Routing
from rolehost_runtime.gateway.sessions.tally import MAX_FORMER, MAX_REVISIONS, OTHER
from rolehost_runtime.gateway.sessions.trials import MAX_GROUPS
from rolehost_runtime.gateway.tables import RoleEntry

WORKS = Objective(name="works", type=ObjectiveType.SUCCESS, target="99.5")
FAST = Objective(name="fast", type=ObjectiveType.LATENCY, target="95", threshold_milliseconds=600_000)
WHOLE = Objective(
    name="whole", type=ObjectiveType.LATENCY, target="90", measure=Measure.COMPLETE, threshold_milliseconds=600_000
)


class Moment:
    """A clock that only goes forward, when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scraped:
    """What a gateway's page says, by name and labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.samples = [
            sample
            for family in text_string_to_metric_families(generate_latest(registry).decode())
            for sample in family.samples
        ]

    def of(self, name: str, *by: str) -> dict[Any, float]:
        """Its values, added up by those labels."""
        found: dict[Any, float] = {}
        for sample in self.samples:
            if sample.name == name:
                labels = tuple(sample.labels[label] for label in by)
                key = labels if len(by) > 1 else labels[0]
                found[key] = found.get(key, 0) + sample.value
        return found

    def turns(self) -> dict[tuple[str, str], float]:
        return {
            key: value for key, value in self.of("rolehost_slo_turns_total", "objective", "outcome").items() if value
        }

    def sessions(self) -> dict[tuple[str, ...], float]:
        return self.of("rolehost_rollout_sessions_total", "revision", "arm", "objective", "stratum", "outcome")


def objectives(*promised: Objective, days: int = 28) -> Any:
    role = role_entry()
    return replace(role, spec=changed(role.spec, slo=Slo(objectives=list(promised), window_days=days)))


class Judged(House):
    def __init__(self, *promised: Objective) -> None:
        self.moment, self.registry = Moment(), CollectorRegistry()
        tables = world(ACME)
        if promised:
            put(tables, objectives(*promised))
        self.judging = Judging(tables, self.registry, self.moment)
        super().__init__(tables, scores=self.judging)
        self.routing: Routing = self.service._world.routing
        self.routing.cohorts, self.judging.scored = self.judging, self.routing.scored

    def scrape(self) -> Scraped:
        return Scraped(self.registry)

    def canary(self, percent: int = 100, *, rollout: str = "cat-1", epoch: int = 3) -> None:
        """So much of new sessions goes to the second revision, which has a pod."""
        shares = (
            Share(revision=CAT_2, percent=percent, tag="canary", arm=Arm.CANDIDATE),
            Share(revision=CAT_1, percent=100 - percent, arm=Arm.BASELINE),
        )
        put(self.tables, revision_entry(sequence=2), replace(self.role, traffic=Traffic(rollout, epoch, shares)))

    @property
    def role(self) -> RoleEntry:
        found = self.tables.roles.get("acme", "cat")
        assert found is not None
        return found

    def assign(self, number: int, epoch: int = 3) -> None:
        one = Assignment("cat-1", epoch, CAT_2, Arm.CANDIDATE, 5, True, f"unit-{number}", 0)
        self.judging.assigned(self.role, f"k-{number}", one)


@pytest.fixture
async def house() -> AsyncIterator[Judged]:
    async with opened(Judged(WORKS, FAST)) as built:
        yield built


@asynccontextmanager
async def opened(built: Judged) -> AsyncIterator[Judged]:
    await built.pool.start()
    yield built
    await built.service.stop(0)
    await built.pool.stop()


async def test_a_good_turn_is_good_for_every_objective(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    page = house.scrape()
    assert page.turns() == {("works", "good"): 1, ("fast", "good"): 1}
    assert page.of("rolehost_slo_target", "objective") == {"works": 0.995, "fast": 0.95}
    assert page.of("rolehost_slo_window_seconds", "objective") == {"works": 28 * 86_400, "fast": 28 * 86_400}
    assert page.of("rolehost_slo_turns_total", "revision").keys() == {CAT_1}
    assert page.of("rolehost_turn_seconds_count", "revision") == {CAT_1: 1}
    assert page.of("rolehost_turn_first_token_seconds_count", "revision") == {CAT_1: 1}


async def test_a_role_without_objectives_has_one() -> None:
    async with opened(Judged()) as house:
        house.pod("p1")
        handle, _ = await house.attach()
        await handle.say(Said(message="hello"))
        assert house.scrape().turns() == {("turn-success", "good"): 1}
        assert house.scrape().of("rolehost_slo_target", "objective") == {"turn-success": 0.99}


async def test_what_is_classified_is_what_the_receipt_says() -> None:
    """Two objectives on either side of what the turn took: one is kept, the other broken."""
    slow = [changed(WHOLE, name=f"at-{ms}", threshold_milliseconds=ms) for ms in (1, 600_000)]
    async with opened(Judged(*slow)) as house:
        house.pod("p1")
        model = house.slow_model()
        handle, ear = await house.attach()
        saying = asyncio.create_task(handle.say(Said(message="hello")))
        await house.until(lambda: bool(model.asked))
        await passes()
        model.pieces.put_nowait("Hm.")
        model.pieces.put_nowait(ModelEnd("stop", Usage()))
        await saying
        (done,) = ear.of(ResponseDone)
        assert 1 < done.metrics.total_ms < 600_000
        assert house.scrape().turns() == {("at-1", "bad"): 1, ("at-600000", "good"): 1}
        page = house.scrape()
        assert page.of("rolehost_turn_seconds_sum", "role") == {"cat": pytest.approx(done.metrics.total_ms / 1000)}
        first = page.of("rolehost_turn_first_token_seconds_sum", "role")
        assert first == {"cat": pytest.approx(done.metrics.ttft_ms / 1000)}


async def passes(seconds: float = 0.002) -> None:
    """So much of the loop's time is over."""
    until = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < until:
        await asyncio.sleep(0)


async def test_a_receipt_says_where_the_time_went(house: Judged, monkeypatch: pytest.MonkeyPatch) -> None:
    async def thinks(pod: FakePod, channel: int, start: StartTurn) -> None:
        await passes()
        pod.send(channel, Recall(index=0, query="hello"))
        await pod.answer(channel)
        pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
        await pod.answer(channel)
        pod.send(channel, Commit())

    def slow(room: Any, name: str) -> None:
        call = getattr(room, name)

        async def slower(*given: Any, **more: Any) -> Any:
            await passes()
            return await call(*given, **more)

        monkeypatch.setattr(room, name, slower)

    house.pod("p1", turn=thinks)
    model = house.slow_model()
    handle, ear = await house.attach(user="u1")
    first = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(model.asked))
    second = asyncio.create_task(handle.say(Said(message="and again")))
    await passes()
    for room, name in ((house.store, "commit"), (house.store, "memories"), (house.pool, "start_turn")):
        slow(room, name)
    model.pieces.put_nowait(ModelEnd("stop", Usage()))
    await house.until(lambda: len(model.asked) == 2)
    await passes()
    model.pieces.put_nowait("Hm.")
    model.pieces.put_nowait(ModelEnd("stop", Usage()))
    await asyncio.gather(first, second)
    told = ear.of(ResponseDone)[1].metrics
    parts = [told.queue_ms, told.route_ms, told.hooks_ms, told.recall_ms, told.model_ms, told.commit_ms]
    assert all(part >= 2 for part in parts), told
    assert sum(parts) <= told.total_ms
    assert told.queue_ms + told.route_ms + told.hooks_ms + told.recall_ms < told.ttft_ms < told.total_ms


async def test_a_turn_that_fails_is_bad_for_latency_too(house: Judged) -> None:
    async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, TurnFailed(code="busy", hook="answer", where=""))

    house.pod("p1", turn=fails)
    handle, _ = await house.attach()
    with pytest.raises(RolehostError):
        await handle.say(Said(message="hello"))
    assert house.scrape().turns() == {("works", "bad"): 1, ("fast", "bad"): 1}  # the pod's word for it changes nothing
    assert house.scrape().of("rolehost_slo_excluded_turns_total", "why") == {}


async def test_a_provider_that_fails_is_the_roles_failure(house: Judged) -> None:
    async def as_default_logic(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        pod.send(channel, TurnFailed(code=result.error, hook="", where=""))

    house.pod("p1", turn=as_default_logic)
    house.slow_model().pieces.put_nowait(Unavailable("away", code="model_unavailable"))
    handle, _ = await house.attach()
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hello"))
    assert house.scrape().turns() == {("works", "bad"): 1, ("fast", "bad"): 1}


async def test_no_pod_is_bad(house: Judged) -> None:
    put(house.tables, changed_timeout(house))
    handle, _ = await house.attach()
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hello"))
    assert house.scrape().turns() == {("works", "bad"): 1, ("fast", "bad"): 1}


def response_of(ear: Ear) -> str:
    return str(ear.of(ResponseCreated)[-1].response_id)


def changed_timeout(house: Judged) -> Any:
    role = house.role
    return replace(role, spec=changed(role.spec, sessions=changed(role.spec.sessions, turn_timeout_seconds=0.01)))


async def test_what_the_user_cancels_is_left_out(house: Judged) -> None:
    house.pod("p1")
    model = house.slow_model()
    handle, ear = await house.attach()
    saying = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(model.asked))
    await handle.cancel(response_of(ear), None)
    await saying
    page = house.scrape()
    assert page.turns() == {}
    assert page.of("rolehost_slo_excluded_turns_total", "why") == {"cancelled": 1}


async def test_who_interrupts_an_answer_that_began_in_time_had_a_fast_one(house: Judged) -> None:
    house.pod("p1")
    model = house.slow_model()
    handle, ear = await house.attach()
    saying = asyncio.create_task(handle.say(Said(message="hello")))
    model.pieces.put_nowait("Once ")
    await house.until(lambda: ear.text() == "Once ")
    await handle.cancel(response_of(ear), None)
    await saying
    page = house.scrape()
    assert page.turns() == {("fast", "good"): 1}
    assert page.of("rolehost_slo_excluded_turns_total", "why") == {"cancelled": 1}


async def test_what_a_limit_refuses_is_left_out_and_the_others_count(house: Judged) -> None:
    house.pod("p1")
    model = house.slow_model()
    handle, _ = await house.attach()
    saying = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(model.asked))
    with pytest.raises(Overloaded):
        await handle.say(Said(message="and?", busy_policy="reject"))
    model.pieces.put_nowait(ModelEnd("stop", Usage()))
    await saying
    page = house.scrape()
    assert page.turns() == {("works", "good"): 1, ("fast", "good"): 1}
    assert page.of("rolehost_slo_excluded_turns_total", "why") == {"limited": 1}
    assert page.of("rolehost_turn_seconds_count", "revision") == {CAT_1: 1}


async def test_a_page_is_of_one_moment_whenever_it_is_written_out(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    families = tuple(house.judging.collect())
    await handle.say(Said(message="hello"))
    values = {sample.name: sample.value for family in families for sample in family.samples}
    assert (values["rolehost_turn_seconds_count"], values["rolehost_turn_seconds_bucket"]) == (1, 1)
    assert {sample.value for family in families for sample in family.samples if "_total" in sample.name} == {0, 1}


async def test_what_cannot_be_is_invalid(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    with pytest.raises(RolehostError):
        await handle.say(Said(message="hello", greeting=9))
    with pytest.raises(RolehostError):
        await handle.say(Said(message="hello", revision="r99"))
    assert house.scrape().of("rolehost_slo_excluded_turns_total", "why") == {"invalid": 2}


async def test_the_same_message_again_is_not_another_turn(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    for _ in range(3):
        await handle.say(Said(message="hello", client_msg_id="c1"))
    assert house.scrape().turns() == {("works", "good"): 1, ("fast", "good"): 1}


async def test_a_store_that_is_away_is_a_bad_turn_once(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    house.store.dead = True
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hello"))
    assert house.scrape().turns() == {("works", "bad"): 1, ("fast", "bad"): 1}


# ── sessions of a rollout ───────────────────────────────────────────────────────────


ASSIGNED = (CAT_2, "Candidate", "", "", "assigned")


def points(outcome: str, *strata: str) -> dict[tuple[str, ...], float]:
    """Of one session, by both objectives."""
    found = [(CAT_2, "Candidate", name, stratum, outcome) for name in ("works", "fast") for stratum in strata]
    return {ASSIGNED: 1, **dict.fromkeys(found, 1)}


async def test_an_assigned_session_scores_its_first_turn_and_its_later_ones_once(house: Judged) -> None:
    house.canary()
    house.pod("p2", revision=CAT_2)
    handle, _ = await house.attach(user="u1")
    assert house.scrape().sessions() == {ASSIGNED: 1}
    await handle.say(Said(message="hello"))
    assert house.scrape().sessions() == points("good", "first")
    for number in range(5):
        await handle.say(Said(message=str(number)))
    page = house.scrape()
    assert page.sessions() == points("good", "first", "later", "whole")
    labels = ("rollout", "epoch", "revision", "arm", "percent")
    assert page.of("rolehost_rollout_turns_total", *labels) == {("cat-1", "3", CAT_2, "Candidate", "100"): 6}
    assert page.of("rolehost_rollout_sessions_total", "known").keys() == {"user"}
    assert page.of("rolehost_slo_turns_total", "revision").keys() == {CAT_2}


async def test_the_other_side_is_counted_too_and_so_are_sessions_of_nobody_in_particular(house: Judged) -> None:
    house.canary(0)
    house.pod("p2", revision=CAT_2)
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    page = house.scrape()
    assert page.sessions().keys() == {
        (CAT_1, "Baseline", "", "", "assigned"),
        (CAT_1, "Baseline", "works", "first", "good"),
        (CAT_1, "Baseline", "fast", "first", "good"),
    }
    assert page.of("rolehost_rollout_sessions_total", "known").keys() == {"anonymous"}


async def test_a_session_that_asks_and_is_never_answered_is_bad(house: Judged) -> None:
    house.canary()
    house.pod("p2", revision=CAT_2)
    model = house.slow_model()
    handle, _ = await house.attach(user="u1")
    house.moment.now += 60
    saying = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(model.asked))
    house.moment.now += 119.9
    assert house.scrape().sessions() == {ASSIGNED: 1}
    house.moment.now += 0.2
    assert house.scrape().sessions() == points("bad", "first", "whole")
    model.pieces.put_nowait(ModelEnd("stop", Usage()))
    await saying
    assert house.scrape().sessions() == points("bad", "first", "whole")


async def test_a_session_whose_canary_never_has_a_pod_for_it_is_bad(house: Judged) -> None:
    """It emits no turn of its own; its session counts from its assignment on."""
    house.canary()
    house.pod("p2", revision=CAT_2)
    put(house.tables, changed_timeout(house))
    handle, _ = await house.attach(user="u1")
    house.tables.pods.drop(("p2",))
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hello"))
    assert house.scrape().sessions() == points("bad", "first", "whole")


async def test_a_session_that_says_nothing_is_neither_good_nor_bad(house: Judged) -> None:
    house.canary()
    house.pod("p2", revision=CAT_2)
    await house.attach(user="u1")
    house.moment.now += 500
    assert house.scrape().sessions() == {ASSIGNED: 1}
    assert not house.judging.trials._open


async def test_a_users_second_session_is_not_scored_again(house: Judged) -> None:
    house.canary()
    house.pod("p2", revision=CAT_2)
    await house.attach(user="u1")
    again, _ = await house.attach("another", user="u1")
    await again.say(Said(message="hello"))
    assert house.scrape().sessions() == {ASSIGNED: 1}


async def test_what_timers_say_does_not_score_and_is_promised_to_nobody(house: Judged) -> None:
    house.canary()
    house.judging.turn(house.role, CAT_2, "no_pod_ready", Metrics(), key="k-1", asked=False)
    page = house.scrape()
    assert page.turns() == {}
    assert page.of("rolehost_slo_excluded_turns_total", "why") == {"unasked": 1}


async def test_this_gateway_holds_a_candidate_back_whose_sessions_are_bad_one_after_the_other(house: Judged) -> None:
    house.canary()
    put(house.tables, changed_timeout(house))
    house.pod("p2", revision=CAT_2)
    seats = [(await house.attach(f"s{number}", user=f"u{number}"))[0] for number in range(IN_A_ROW)]
    house.tables.pods.drop(("p2",))
    held = []
    for handle in seats:
        with pytest.raises(Unavailable):
            await handle.say(Said(message="hello"))
        held.append(house.routing.held_back)
    assert held == [0] * (IN_A_ROW - 1) + [1]


async def test_counts_of_a_rollout_vanish_an_hour_after_the_role_speaks_of_another(house: Judged) -> None:
    house.canary()
    house.pod("p2", revision=CAT_2)
    await house.attach(user="u1")
    house.moment.now += 2 * GONE_SECONDS
    assert house.scrape().sessions()
    house.canary(rollout="cat-2", epoch=1)
    assert house.scrape().sessions()
    house.moment.now += GONE_SECONDS
    assert not house.scrape().sessions()
    assert not house.judging.trials.counts


# ── what is gone, and what would be too much ────────────────────────────────────────


async def test_the_target_of_a_deleted_role_is_nan_for_an_hour_and_then_all_of_it_vanishes(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    house.tables.roles.drop(("acme", "cat"))
    page = house.scrape()
    assert all(map(math.isnan, page.of("rolehost_slo_target", "objective").values()))
    assert page.turns()
    house.moment.now += GONE_SECONDS - 1
    assert house.scrape().turns()
    put(house.tables, role)  # it was declared again: it goes on
    assert house.scrape().of("rolehost_slo_target", "objective") == {"works": 0.995, "fast": 0.95}
    house.moment.now += GONE_SECONDS
    assert house.scrape().turns()
    house.tables.roles.drop(("acme", "cat"))
    house.moment.now += GONE_SECONDS
    assert not [sample for sample in house.scrape().samples if "tenant" in sample.labels]
    assert not house.judging._gone
    assert not house.judging._books


async def test_the_target_of_an_objective_that_is_promised_no_more_is_nan_and_then_gone(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    put(house.tables, objectives(WORKS, days=7))
    await handle.say(Said(message="hello"))
    page = house.scrape()
    targets = page.of("rolehost_slo_target", "objective")
    assert targets["works"] == 0.995
    assert math.isnan(targets["fast"])
    assert page.turns() == {("works", "good"): 2, ("fast", "good"): 1}
    assert set(page.of("rolehost_slo_window_seconds", "objective").values()) == {7 * 86_400}
    house.moment.now += GONE_SECONDS
    page = house.scrape()
    assert page.turns() == {("works", "good"): 2}
    assert page.of("rolehost_slo_target", "objective") == {"works": 0.995}


async def test_a_revision_that_is_gone_is_to_be_seen_for_an_hour(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    house.tables.revisions.drop(("acme", CAT_1))
    assert house.scrape().of("rolehost_slo_turns_total", "revision")
    house.moment.now += GONE_SECONDS
    assert not house.scrape().of("rolehost_slo_turns_total", "revision")


async def test_a_role_that_nobody_talks_to_takes_no_place(house: Judged) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    await handle.say(Said(message="hello"))
    house.scrape()
    house.moment.now += IDLE_SECONDS
    assert not house.scrape().turns()
    await handle.say(Said(message="hello"))
    assert house.scrape().turns() == {("works", "good"): 1, ("fast", "good"): 1}


def receipt() -> Metrics:
    return Metrics(ttft_ms=10, total_ms=20)


def test_clients_that_ask_for_ever_other_revisions_make_no_more_series_and_hide_no_canary(house: Judged) -> None:
    """F27."""
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    for number in range(500):
        house.judging.turn(role, f"cat-old-{number}", "completed", receipt(), key="k")
    revisions = house.scrape().of("rolehost_slo_turns_total", "revision").keys()
    assert len(revisions) == MAX_REVISIONS + 1
    assert OTHER in revisions
    shares = (Share(revision=CAT_2, percent=5, tag="canary", arm=Arm.CANDIDATE), Share(revision=CAT_1, percent=95))
    put(house.tables, replace(role, traffic=Traffic("cat-1", 3, shares)))
    for revision in (CAT_1, CAT_2):
        house.judging.turn(role, revision, "completed", receipt(), key="k")
    for number in range(500):
        house.judging.turn(role, f"cat-old-{number}", "completed", receipt(), key="k")
    turns = house.scrape().of("rolehost_slo_turns_total", "revision", "objective", "outcome")
    assert (turns[CAT_1, "works", "good"], turns[CAT_2, "works", "good"]) == (1, 1)
    assert len({revision for revision, *_ in turns}) == MAX_REVISIONS + 1


def test_roles_and_codes_that_somebody_made_up_are_no_labels(house: Judged) -> None:
    """F27: what comes from a client or out of a sandbox is not a label's value."""
    for number in range(500):
        house.judging.refused(ACME, f"nobody-{number}", NotFound("no such Role", code="role_not_found"))
        house.judging.refused(ACME, "cat", LogicError("it says", code=f"mood_{number}"))
    page = house.scrape()
    assert page.of("rolehost_slo_target", "role").keys() == {"cat"}
    assert page.turns() == {("works", "bad"): 500, ("fast", "bad"): 500}
    assert page.of("rolehost_slo_excluded_turns_total", "why") == {}


async def test_a_role_that_promises_ever_other_things_keeps_a_few_of_its_former_objectives(house: Judged) -> None:
    """F27: a tenant names its objectives."""
    house.pod("p1")
    handle, _ = await house.attach()
    for number in range(100):
        put(house.tables, objectives(changed(WORKS, name=f"works-{number}")))
        house.moment.now += 1
        await handle.say(Said(message="hello"))
    targets = house.scrape().of("rolehost_slo_target", "objective")
    assert targets.keys() == {f"works-{number}" for number in range(99 - MAX_FORMER, 100)}
    assert len(house.judging._gone) == MAX_FORMER


async def test_a_role_that_is_gone_leaves_no_series_of_other_counters_either(house: Judged) -> None:
    sink = PrometheusSink(house.registry)
    house.judging.forgotten = sink.forget
    house.judging.turn(house.role, CAT_1, "completed", receipt(), key="k")
    for role in ("cat", "dog"):
        sink.turn("acme", role, "completed", receipt())
        sink.tool_calls("acme", role, "weather", "ok", 1)
        sink.model_call("acme", role, "completed", 0.1)
    house.tables.roles.drop(("acme", "cat"))
    house.scrape()
    house.moment.now += GONE_SECONDS
    house.scrape()
    assert [sample for sample in house.scrape().samples if sample.labels.get("role") == "cat"] == []
    assert house.scrape().of("rolehost_turns_total", "role") == {"dog": 1}


async def test_a_role_that_is_edited_all_the_time_keeps_the_counts_of_its_newest_rollouts(house: Judged) -> None:
    """F27."""
    for epoch in range(200):
        house.canary(epoch=epoch)
        house.assign(epoch, epoch)
    epochs = house.scrape().of("rolehost_rollout_sessions_total", "epoch")
    assert len(epochs) == MAX_GROUPS
    assert "199" in epochs


def test_no_more_sessions_are_scored_at_once_than_there_is_room_for(house: Judged) -> None:
    house.judging.trials._most = 3
    for number in range(9):
        house.assign(number)
    assert sum(house.scrape().sessions().values()) == 3
    house.moment.now += 120
    house.assign(9)
    assert sum(house.scrape().sessions().values()) == 4

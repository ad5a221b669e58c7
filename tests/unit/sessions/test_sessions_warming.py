"""What a gateway does when a Role's status asks it to warm a revision, and what it does not."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace as changed
from tests.support.house import House
from tests.support.rooms import (
    ACME,
    CAT_1,
    CAT_2,
    DEFAULT_SEGMENTS,
    EVIL,
    FakePod,
    put,
    revision_entry,
    role_entry,
    world,
)

from rolehost_api.crd.rollout import Rollout, Strategy, WarmUp
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import (
    Abort,
    CallModel,
    CallTool,
    Commit,
    Committed,
    Fetch,
    ModelResult,
    PatchOp,
    StartTurn,
    TurnFailed,
)
from rolehost_api.observed import WarmReport
from rolehost_api.wire import Usage
from rolehost_runtime.core.classifying import FATES
from rolehost_runtime.core.ring import Ring
from rolehost_runtime.core.tooling import WARMING
from rolehost_runtime.core.warming import MAX_TOKENS, MOST_PODS, SESSION_ID, Warming, keys
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.gateway.sessions.warming import LATE, Warmer
from rolehost_runtime.gateway.tables import RoleEntry, Tables

ASKED = Warming("2-ab", (CAT_2,))
DONE = (WarmReport(namespace="acme", role="cat", rollout="2-ab"),)


def asking(warming: Warming | None = ASKED, turns: int = 2, **more: Any) -> RoleEntry:
    role = role_entry()
    rollout = Rollout(strategy=Strategy.PROGRESSIVE, warm_up=WarmUp(turns=turns, **more))
    return replace(role, spec=changed(role.spec, rollout=rollout), warming=warming)


class Gateway(House):
    """With a canary on two pods."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.counted: Counter[str] = Counter()
        self.rung = 0
        self.pods: list[FakePod] = []
        self.warmer = self.warming()

    def warming(self, seconds: float = 60) -> Warmer:
        def counted(outcome: str) -> None:
            self.counted[outcome] += 1

        def rung() -> None:
            self.rung += 1

        made = Warmer(self.service.world, "gw", counted, seconds=seconds)
        made.changed = rung
        return made

    async def done(self) -> None:
        await self.until(lambda: self.warmer.reports() != ())

    def starts(self) -> list[list[StartTurn]]:
        return [pod.starts() for pod in self.pods]


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    tables = world(ACME)
    put(tables, revision_entry(sequence=2))
    built = Gateway(tables)
    await built.pool.start()
    built.pods = [built.pod(uid, revision=CAT_2) for uid in ("p1", "p2")]
    seen = await built.pool.observed(-1, 0)
    while [pod.loaded for pod in seen.pods] != [True, True]:
        seen = await built.pool.observed(seen.number, 5)
    built.warmer.start()
    yield built
    await built.warmer.stop()
    await built.service.stop(1)
    await built.pool.stop()


async def test_each_pod_has_a_turn_that_commits_nothing(gateway: Gateway) -> None:
    put(gateway.tables, asking(message="A story?"))
    await gateway.done()
    assert (gateway.warmer.reports(), gateway.rung) == (DONE, 1)
    assert gateway.counted == {"completed": 2}
    for pod in gateway.pods:
        (start,) = pod.starts()
        assert (start.session_id, start.message, start.user, start.turn) == (SESSION_ID, "A story?", "", 1)
        await gateway.until(pod.turns_over.is_set)
        assert [message for _, message in pod.told if isinstance(message, Abort | Committed)] == [Abort(code=WARMING)]
    assert await gateway.log() == []
    assert gateway.sink.turns == []
    seen = await gateway.pool.observed(-1, 0)
    assert (seen.revisions, [pod.sessions for pod in seen.pods]) == ((), [0, 0])


async def test_the_model_is_asked_for_a_few_words_of_the_revisions_own_prompt(gateway: Gateway) -> None:
    model = gateway.slow_model()
    model.pieces.put_nowait(ModelEnd("stop", Usage()))
    put(gateway.tables, asking(turns=1))
    await gateway.done()
    (asked,) = model.asked
    assert (asked.max_tokens, asked.tenant_uid) == (MAX_TOKENS, ACME.uid)
    assert model.shown == [("system", "You are a cat."), ("user", "Hello.")]


@pytest.mark.parametrize("turns", [1, 2, 5])
async def test_so_many_turns_and_no_more(gateway: Gateway, turns: int) -> None:
    put(gateway.tables, asking(turns=turns))
    await gateway.done()
    assert sum(map(len, gateway.starts())) == turns
    assert max(map(len, gateway.starts())) - min(map(len, gateway.starts())) <= 1


async def test_what_the_pod_wants_done_outside_is_refused_by_code(gateway: Gateway) -> None:
    answers = []

    async def reaches_out(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, Fetch(index=0, method="POST", url="https://api.acme.com/"))
        answers.append(await pod.answer(channel))
        pod.send(channel, CallTool(index=1, name="weather__forecast", arguments="{}"))
        answers.append(await pod.answer(channel))
        pod.send(channel, Commit(patch=(PatchOp("incr", "/turns", 1),), user_patch=(PatchOp("incr", "/visits", 1),)))

    for pod in gateway.pods:
        pod.turn = reaches_out
    put(gateway.tables, asking(turns=1))
    await gateway.done()
    assert [getattr(answer, "error", None) for answer in answers] == [WARMING, "unknown_tool"], (
        "there is no such tool here"
    )
    assert WARMING in FATES
    assert gateway.counted == {"completed": 1}
    assert await gateway.log() == []


async def test_a_turn_that_fails_is_counted_and_said_to_be_done(gateway: Gateway) -> None:
    async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, TurnFailed(code="a_word_of_its_own"))

    for pod in gateway.pods:
        pod.turn = fails
    put(gateway.tables, asking())
    await gateway.done()
    assert gateway.counted == {"logic_error": 2}
    assert gateway.sink.turns == []


async def test_a_model_that_fails_holds_nothing_up(gateway: Gateway) -> None:
    async def gives_up(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
        answer = await pod.answer(channel)
        assert isinstance(answer, ModelResult)
        pod.send(channel, TurnFailed(code=answer.error))

    gateway.slow_model().pieces.put_nowait(Unavailable("away", code="model_refused"))
    gateway.pods[0].turn = gateway.pods[1].turn = gives_up
    put(gateway.tables, asking(turns=1))
    await gateway.done()
    assert gateway.counted == {"model_refused": 1}


async def test_it_is_given_up_when_its_time_is_over(gateway: Gateway) -> None:
    """Nobody answers, and nobody waits."""
    gateway.slow_model()
    await gateway.warmer.stop()
    put(gateway.tables, asking())
    late = gateway.warming(seconds=0.05)
    late.start()
    await gateway.until(lambda: late.reports() == DONE)
    assert set(gateway.counted) == {LATE}
    assert gateway.warmer.reports() == (), "who has stopped begins nothing"
    await late.stop()


async def test_once_for_a_rollout_and_told_as_long_as_it_is_asked(gateway: Gateway) -> None:
    put(gateway.tables, asking())
    await gateway.done()
    put(gateway.tables, replace(asking(), follow=True))
    assert (gateway.warmer.reports(), gateway.rung) == (DONE, 1)
    put(gateway.tables, asking(None))
    assert (gateway.warmer.reports(), gateway.rung) == ((), 2)
    put(gateway.tables, asking(Warming("3-cd", (CAT_2,))))
    await gateway.done()
    assert gateway.counted == {"completed": 4}
    gateway.tables.roles.drop(("acme", "cat"))
    assert gateway.warmer.reports() == ()


async def test_variants_are_warmed_each(gateway: Gateway) -> None:
    other = gateway.pod("p3", revision=CAT_1)
    put(gateway.tables, asking(Warming("2-ab", (CAT_1, CAT_2)), turns=1))
    await gateway.done()
    assert (len(other.starts()), sum(map(len, gateway.starts()))) == (1, 1)


@pytest.mark.parametrize("asked", [Warming("2-ab", ("cat-of-yesterday",)), None])
async def test_nothing_is_done_for_what_is_not_there(gateway: Gateway, asked: Warming | None) -> None:
    put(gateway.tables, asking(asked))
    if asked is not None:
        await gateway.done()
    assert (gateway.starts(), gateway.counted) == ([[], []], {})


async def test_anothers_revision_of_that_name_is_not_warmed(gateway: Gateway) -> None:
    put(gateway.tables, replace(revision_entry(sequence=2), tenant=EVIL))
    gateway.tables.revisions.put(("acme", CAT_2), replace(revision_entry(sequence=2), tenant=EVIL))
    put(gateway.tables, asking())
    await gateway.done()
    assert gateway.starts() == [[], []]


async def test_no_turns_are_no_turns_and_it_says_so(gateway: Gateway) -> None:
    put(gateway.tables, asking(turns=0))
    await gateway.done()
    assert (gateway.starts(), gateway.counted) == ([[], []], {})


async def test_a_gateway_that_starts_meanwhile_does_its_part(gateway: Gateway) -> None:
    put(gateway.tables, asking())
    await gateway.done()
    late = gateway.warming()
    late.start()
    await gateway.until(lambda: late.reports() == DONE)
    assert gateway.counted == {"completed": 4}
    await late.stop()


async def test_the_report_carries_it_and_it_is_news(gateway: Gateway) -> None:
    gateway.pool.warmed = gateway.warmer.reports
    before = await gateway.pool.observed(-1, 0)
    assert before.warmed == ()
    put(gateway.tables, asking())
    await gateway.done()
    after = await gateway.pool.observed(-1, 0)
    assert (after.warmed, after.number > before.number) == (DONE, True)


# ── whose pod a session of nobody comes to ──────────────────────────────────────────


@given(
    st.text(max_size=20),
    st.sets(st.text(min_size=1, max_size=8), min_size=1, max_size=6),
    st.integers(0, 5),
    st.text(max_size=8),
)
def test_turns_are_spread_over_pods_evenly(stem: str, pods: set[str], turns: int, who: str) -> None:
    made = keys(stem, pods, turns, who)
    assert len(set(made)) == len(made) == turns
    ring = Ring(pods)
    counts = Counter(ring.choose(key) for key in made)
    assert max(counts.values(), default=0) <= -(-turns // len(pods))


def test_many_pods_cost_no_search() -> None:
    pods = [str(number) for number in range(MOST_PODS + 1)]
    assert keys("s", pods, 2) == ("warm-up/s/0", "warm-up/s/1")


def test_no_clients_session_has_such_a_key() -> None:
    """Theirs are base32, with a colon at most."""
    assert all("/" in key for key in keys("uid/cat-2/2-ab/gw", ["p1", "p2"], 5))

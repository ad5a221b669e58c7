"""When evidence is looked at: each at its time, few at once, and nobody's trouble is another's."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.observing import role

from rolehost_operator.evidence import analyses
from rolehost_operator.evidence.analyses import AT_ONCE, PIECES, TELL_AFTER, Analyses, _Analysis, _with_last
from rolehost_operator.evidence.prometheus import Unanswered
from rolehost_operator.observed import Key, RoleSeen, read_role
from rolehost_operator.rollout.counting import Series
from rolehost_operator.rollout.evidence import Evidence, Sample
from rolehost_operator.telemetry import Metrics

NOW = 1_700_000_000.0


class Source:
    """Answers at once, unless told otherwise; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float, float]] = []
        self.open = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.refused = ""
        self.slow_queries = False

    async def now(self) -> float:
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self.gate.wait()
        finally:
            self.open -= 1
        if self.refused:
            raise Unanswered("it is away", code=self.refused)
        return NOW

    async def samples(self, selector: str, at: float, seconds: float) -> list[Series]:
        self.asked.append((selector, at, seconds))
        return [Series({"__name__": "rolehost_slo_target"}, [(NOW - 15, "1"), (NOW, "1")])]

    async def grid(self, query: str, first: float, last: float, step: float) -> list[Series]:
        if self.slow_queries:
            await asyncio.Event().wait()
        return [Series({}, [(last, "1")])]

    async def close(self) -> None:
        return


def stepping(number: int = 0, namespace: str = "acme", age: float = 60, *, metrics: bool = False) -> RoleSeen:
    listed = [{"name": "sad", "promQL": "sad", "max": "2", "failureLimit": 1}] if metrics else []
    raw = role(rollout={"analysis": {"intervalSeconds": 1, "metrics": listed}})
    since = (datetime.now(UTC) - timedelta(seconds=age)).isoformat()
    raw["metadata"] |= {"name": f"cat{number}", "namespace": namespace}
    raw["status"] = {"rollout": {"id": "1-aa", "stage": "Stepping", "startedAt": since, "stepStartedAt": since}}
    return read_role(raw)


class House:
    def __init__(self, *seen: RoleSeen) -> None:
        self.source = Source()
        self.roles = {(one.meta.namespace, one.meta.name): one for one in seen}
        self.rung: list[Key] = []
        given: Any = self.source
        self.analyses = Analyses(given, lambda: self.roles.items(), self.rung.append, Metrics())
        self.analyses.leading = True
        self.clock = time.monotonic() + 10

    async def round(self, *, done: bool = True) -> None:
        """All that is due by now is begun, and with `done` ended."""
        self.clock += 2
        self.analyses.look_around(self.clock)
        for _ in range(200):
            await asyncio.sleep(0)
            if done and not any(one.task for one in self.analyses._kept.values()):
                return

    def said(self, number: int = 0, namespace: str = "acme") -> Any:
        return self.analyses.evidence_of((namespace, f"cat{number}"), "1-aa")


@asynccontextmanager
async def house(*seen: RoleSeen) -> AsyncIterator[House]:
    made = House(*seen)
    yield made
    made.roles.clear()
    await made.round()


async def test_few_ask_at_once_and_all_are_looked_at() -> None:
    async with house(*(stepping(number) for number in range(40))) as here:
        await here.round()  # each is given its time
        here.source.gate.clear()
        await here.round(done=False)
        assert here.source.open == AT_ONCE
        here.source.gate.set()
        await here.round()
        assert here.source.most == AT_ONCE
        assert len(set(here.rung)) == 40


async def test_looks_begin_apart() -> None:
    async with house(*(stepping(number) for number in range(40))) as here:
        here.analyses.look_around(here.clock)
        dues = sorted(one.due - here.clock for one in here.analyses._kept.values())
        assert dues[0] >= 0
        assert dues[-1] <= 1
        assert len(set(dues)) == 40


async def test_a_look_that_goes_on_is_not_begun_again() -> None:
    async with house(stepping()) as here:
        await here.round()
        here.source.gate.clear()
        for _ in range(3):
            await here.round(done=False)
        assert here.source.open == 1
        here.source.gate.set()
        await here.round()


async def test_a_look_reads_only_what_is_new() -> None:
    async with house(stepping(age=7200)) as here:
        for _ in range(3):
            await here.round()
        first, second = here.source.asked[0], here.source.asked[-1]
        assert first[2] > 3000
        assert second[2] <= analyses.OVERLAP_SECONDS + 1


async def test_a_long_history_is_read_piece_by_piece_over_several_looks() -> None:
    days = 3
    async with house(stepping(age=days * 86_400)) as here:
        missing = []
        for _ in range(6):
            await here.round()
            missing.append(here.said().missing)
        assert missing[1] == "ReadingHistory"
        assert missing[-1] == ""
        assert len(here.source.asked) >= days * 24
        assert max(seconds for _, _, seconds in here.source.asked) <= analyses.PIECE_SECONDS + analyses.OVERLAP_SECONDS
        ends = [at for _, at, _ in here.source.asked]
        assert ends == sorted(ends)
        assert days * 24 > PIECES


async def test_failures_in_a_row_are_told_once_and_their_end_too(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rolehost_operator.evidence.analyses")
    async with house(stepping()) as here:
        here.source.refused = "PrometheusUnreachable"
        for _ in range(TELL_AFTER + 4):
            await here.round()
        assert here.said().missing == "PrometheusUnreachable"
        here.source.refused = ""
        await here.round()
        assert here.said().missing == ""
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


async def test_slow_queries_of_one_tenant_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyses, "CUSTOMS_SECONDS", 0.05)
    greedy = [stepping(number, "greedy", metrics=True) for number in range(20)]
    async with house(*greedy, stepping(99)) as here:
        here.source.slow_queries = True
        await here.round()
        await here.round(done=False)
        assert here.said(99).missing == ""
        assert (("acme", "cat99")) in here.rung
        await until(lambda: any(here.said(number, "greedy").metric_troubles for number in range(20)))
        here.source.slow_queries = False


async def test_what_was_counted_waits_for_no_query() -> None:
    async with house(stepping(metrics=True)) as here:
        for _ in range(2):
            await here.round()
        assert [len(some) for some in here.said().customs.values()] == [1]
        here.source.slow_queries = True
        here.rung.clear()
        await here.round(done=False)
        assert here.rung, "it is rung before its query is answered"
        assert here.said().customs.keys() == {"sad"}


@pytest.mark.parametrize(("age", "stands"), [(0.0, True), (60.0, True), (61.0, False), (None, False)])
def test_old_numbers_do_not_stand_for_new_ones(age: float | None, stands: bool) -> None:
    kept = _Analysis("1-aa", 0.0, customs={"sad": (Sample(datetime.now(UTC), 1.0),)})
    kept.customs_at = None if age is None else NOW - age
    said = _with_last(Evidence("1-aa"), kept, ["sad"], NOW)
    assert (said.customs.keys() == {"sad"}) is stands
    assert (said.metric_troubles.keys() == {"sad"}) is not stands


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.01)


async def test_another_rollout_of_the_same_role_begins_anew() -> None:
    async with house(stepping()) as here:
        for _ in range(2):
            await here.round()
        assert here.said().missing == ""
        raw = dict(here.roles["acme", "cat0"].raw)
        raw["status"] = {"rollout": {**raw["status"]["rollout"], "id": "2-bb"}}
        here.roles["acme", "cat0"] = read_role(raw)
        await here.round()
        assert here.said().missing == "NotLookedYet"


async def test_who_does_not_lead_asks_nothing() -> None:
    async with house(stepping()) as here:
        here.analyses.leading = False
        for _ in range(2):
            await here.round()
        assert here.source.asked == []

"""What the platform's health asks of the store, and how often."""

import asyncio

import pytest

from rolehost_api.errors import NotFound, Unavailable
from rolehost_runtime.gateway.edge.platform import CACHED_SECONDS, PlatformHealth
from rolehost_runtime.gateway.ports import ArchiveFacts, StoreFacts

FACTS = StoreFacts(version="7.2.4", aof=True, appendfsync="always", eviction="noeviction", now_ms=1_002_500)


class Store:
    def __init__(self) -> None:
        self.asked = 0
        self.away = False

    async def facts(self) -> StoreFacts:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("away", code="state_unavailable")
        return FACTS


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_the_store_is_asked_once_in_a_while_whoever_asks() -> None:
    store, clock = Store(), Clock()
    health = PlatformHealth(store.facts, lambda: 1_000_000, lambda: ("a", "b"), clock)
    answers = await asyncio.gather(*(health.answer() for _ in range(50)))
    assert store.asked == 1
    assert {answer.store for answer in answers} == {FACTS}
    assert answers[0].gateways == 2
    clock.now += CACHED_SECONDS
    await health.answer()
    assert store.asked == 2


async def test_the_skew_is_against_the_middle_of_the_question() -> None:
    times = iter((1_000_000, 1_001_000, 1_005_000))
    answer = await PlatformHealth(Store().facts, lambda: next(times), tuple, Clock()).answer()
    assert (answer.store_skew_ms, answer.store_asked_ms) == (2_000, 1_000)
    assert answer.now_ms == 1_005_000, "of the answer, not of the question"


async def test_a_store_that_is_away_is_an_answer_too() -> None:
    store = Store()
    store.away = True
    answer = await PlatformHealth(store.facts, lambda: 7, lambda: ("a",), Clock()).answer()
    assert (answer.store, answer.store_skew_ms, answer.now_ms) == (None, 0, 7)


async def test_the_archive_is_tried_beside_the_store_and_as_seldom() -> None:
    store, tried, clock = Store(), list[int](), Clock()

    async def tell() -> ArchiveFacts:
        tried.append(store.asked)
        return ArchiveFacts(configured=True, failed="read", trouble="x")

    health = PlatformHealth(store.facts, lambda: 1_000_000, tuple, clock, archive_facts=tell)
    answers = await asyncio.gather(*(health.answer() for _ in range(9)))
    assert {answer.archive for answer in answers} == {ArchiveFacts(configured=True, failed="read", trouble="x")}
    assert len(tried) == 1
    clock.now += CACHED_SECONDS
    store.away = True
    assert (await health.answer()).archive is not None, "one may be away without the other"
    assert len(tried) == 2


async def test_without_a_store_there_is_nothing_to_tell() -> None:
    with pytest.raises(NotFound):
        await PlatformHealth(None, lambda: 0, tuple).answer()

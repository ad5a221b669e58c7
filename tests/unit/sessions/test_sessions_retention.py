"""Retention: the Role says how long, every turn begins the time anew, and what Redis cannot delete is swept."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.support.house import House
from tests.support.rooms import ACME, Clock, Ear, world

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.wire import Said
from rolehost_runtime.core.lapse import MARGIN_MS, REFRESH_MS, Active, Left, left_of
from rolehost_runtime.core.segment import folder
from rolehost_runtime.gateway.broker.archive.memory import MemorySegments
from rolehost_runtime.gateway.broker.state.memory_shortened import MemoryShortenedLog
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore, Shelf
from rolehost_runtime.gateway.kept import Whose
from rolehost_runtime.gateway.sessions.archive import CLEARED_AT_ONCE, Archive
from rolehost_runtime.gateway.sessions.history import Past
from rolehost_runtime.gateway.sessions.retention import EVERY_SECONDS, ROWS, Sweep, Sweeper
from rolehost_runtime.gateway.tables import RoleEntry, Tables

ANNE = Whose(ACME.uid, "cat", "anne")
HOURS = 3_600_000


class Sink:
    def __init__(self) -> None:
        self.segments: list[int] = []
        self.codes: list[str] = []
        self.lost = 0

    def missing(self, sessions: int) -> None:
        self.lost += sessions

    def swept(self, segments: int) -> None:
        self.segments.append(segments)

    def not_swept(self, code: str) -> None:
        self.codes.append(code)


class Swept:
    """A Role whose sessions last an hour, a store and an archive with a clock, and gateways that sweep."""

    def __init__(self) -> None:
        self.clock, self.tables = Clock(), world(ACME)
        keep(self.tables, 3_600)
        self.shelf, self.segments, self.sink = Shelf(now_ms=self.clock), MemorySegments(), Sink()
        self.store = MemorySessionStore(self.shelf, "a")
        self.archive = Archive(Past(MemoryShortenedLog(self.shelf, "a"), self.segments))

    def gateway(self) -> Sweeper:
        return Sweeper(self.tables, self.store, self.archive, self.clock, self.sink, lambda: 0.5)

    async def begin(self, sid: str, whose: Whose = ANNE, segments: int = 0) -> str:
        """A session that lasts an hour, with so many segments; its key."""
        key = whose.key(sid)
        await self.store.open(key)
        self.shelf.last(key, 3_600)
        await self.store.enlist(whose, sid, self.clock(), Active(self.clock(), 3_600))
        for number in range(segments):
            await self.segments.put(f"{folder(whose.tenant_uid, key)}l1/{number}", b"x")
        return key

    async def lasts(self) -> None:
        """The hour of every session, and the margin."""
        self.clock.now_ms += HOURS + MARGIN_MS

    async def rows(self) -> list[str]:
        return sorted(row.session_id for row in await self.store.rows(ACME.uid, "cat", None, None, 10_000))

    async def sweep(self, sweeper: Sweeper, ticks: int = 20) -> None:
        """A round: from when the Role is first seen to the end of its register."""
        await sweeper.tick(self.clock())
        self.clock.now_ms += EVERY_SECONDS * 500
        for _ in range(ticks):
            await sweeper.tick(self.clock())


def role(tables: Tables) -> RoleEntry:
    found = tables.roles.get(ACME.name, "cat")
    assert found is not None
    return found


def keep(tables: Tables, seconds: int) -> RoleEntry:
    there = role(tables)
    spec = replace(there.spec, sessions=replace(there.spec.sessions, retention_seconds=seconds))
    made = RoleEntry(there.tenant, there.name, spec, there.stable, there.follow, there.created_at)
    tables.roles.put((ACME.name, "cat"), made)
    return made


async def test_what_lasted_its_time_is_swept_with_its_segments() -> None:
    it = Swept()
    await it.begin("old", segments=2 * CLEARED_AT_ONCE + 1)
    other = await it.begin("lives", segments=1)
    await it.begin("never-spoken", Whose(ACME.uid, "cat"))
    it.shelf.last(other, 200 * 3_600)
    await it.lasts()
    await it.begin("young")
    await it.sweep(it.gateway())
    assert await it.rows() == ["lives", "young"]
    assert sorted(it.sink.segments) == [0, 2 * CLEARED_AT_ONCE + 1]
    assert await it.segments.list(f"{ACME.uid}/", 10) == [f"{folder(ACME.uid, other)}l1/0"]


@pytest.mark.parametrize(("hours", "missing"), [(0.2, 1), (1, 0), (48, 0)])
async def test_a_head_that_is_gone_proves_nothing_by_itself(
    hours: float, missing: int, caplog: pytest.LogCaptureFixture
) -> None:
    it = Swept()
    for sid in ("one", "two"):
        key = await it.begin(sid, segments=1)
    it.shelf.last(key, 90 * 3_600)
    it.shelf.heads.pop(ANNE.key("one"))
    it.clock.now_ms += int(hours * HOURS)
    sweeper = it.gateway()
    await sweeper.page(Sweep(role(it.tables)), it.clock())
    assert await it.rows() == ["one", "two"]
    assert len(await it.segments.list(f"{ACME.uid}/", 10)) == 2
    assert (it.sink.lost, it.sink.segments) == (missing, [])
    assert caplog.messages == [] if not missing else "1 sessions of Role acme/cat" in caplog.messages[0]
    assert "one" not in caplog.text.replace("one of", "")


async def test_what_nobody_dated_counts_from_when_it_is_found() -> None:
    it = Swept()
    key = await it.begin("old", segments=1)
    it.shelf.books.active.clear()
    await it.lasts()
    place = (ACME.uid, "cat")
    await it.gateway().page(Sweep(role(it.tables)), it.clock())
    rows = await it.store.rows(*place, None, None, 9)
    assert await it.store.activity(*place, rows) == [Active(it.clock(), 3_600)]
    assert len(await it.segments.list(folder(ACME.uid, key), 10)) == 1
    await it.lasts()
    await it.gateway().page(Sweep(role(it.tables)), it.clock())
    assert (await it.rows(), it.sink.lost) == ([], 0)


@pytest.mark.parametrize("seconds", [3_600, 360_000])
async def test_another_retention_counts_from_the_next_turn_on(seconds: int) -> None:
    """Shortened or lengthened: what was promised with the last turn is kept, by Redis and by the register alike."""
    it = Swept()
    await it.store.enlist(ANNE, "old", 0, Active(0, 36_000))
    for now, rows in ((36_000_000 + MARGIN_MS - 1, ["old"]), (36_000_000 + MARGIN_MS, [])):
        await it.gateway().page(Sweep(keep(it.tables, seconds)), now)
        assert await it.rows() == rows


async def test_a_tick_is_a_page_and_a_register_of_any_length_is_gone_through() -> None:
    it = Swept()
    for number in range(3 * ROWS + 1):
        await it.begin(f"s{number:04d}")
    await it.lasts()
    sweeper = it.gateway()
    await it.sweep(sweeper, ticks=1)
    assert len(await it.rows()) == 2 * ROWS + 1
    for _ in range(3):
        await sweeper.tick(it.clock())
    assert await it.rows() == []


async def test_one_gateway_sweeps_a_register_and_another_one_in_the_next_hour() -> None:
    it = Swept()
    one, other = it.gateway(), it.gateway()
    await other.tick(it.clock())
    await it.sweep(one)
    await it.store.enlist(ANNE, "old", 0, Active(it.clock() - HOURS - MARGIN_MS, 3_600))
    it.clock.now_ms += HOURS // 5
    await it.sweep(other)
    assert await it.rows() == ["old"], "it is not its turn"
    it.clock.now_ms += 2 * HOURS
    await other.tick(it.clock())
    assert await it.rows() == []


@pytest.mark.parametrize("dies_in", ["clear_some", "delist"])
async def test_a_sweep_that_ended_in_the_middle_is_finished_by_the_next(
    dies_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    it = Swept()
    key = await it.begin("old", segments=CLEARED_AT_ONCE + 1)
    await it.lasts()
    place: Any = it.archive if dies_in == "clear_some" else it.store
    real, left = getattr(place, dies_in), [1 if dies_in == "clear_some" else 0]

    async def dies(*arguments: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return await real(*arguments)

    monkeypatch.setattr(place, dies_in, dies)
    with pytest.raises(KeyboardInterrupt):
        await it.sweep(it.gateway())
    assert await it.rows() == ["old"]
    monkeypatch.undo()
    it.clock.now_ms += HOURS
    await it.sweep(it.gateway())
    assert (await it.rows(), await it.segments.list(folder(ACME.uid, key), 9)) == ([], [])


async def test_a_session_that_begins_anew_while_it_is_swept_keeps_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    it = Swept()
    key = await it.begin("old", segments=1)
    await it.lasts()
    real = it.store.delist

    async def begun_just_before(whose: Whose, session_id: str) -> None:
        await it.store.open(key)
        await it.store.enlist(whose, session_id, it.clock())
        await real(whose, session_id)

    monkeypatch.setattr(it.store, "delist", begun_just_before)
    await it.sweep(it.gateway())
    assert await it.rows() == ["old"]


@pytest.mark.parametrize("code", ["archive_unavailable", "state_unavailable"])
async def test_what_cannot_be_swept_now_stays_for_the_next_round(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    it = Swept()
    await it.begin("old", segments=1)
    await it.lasts()

    async def away(*arguments: Any) -> int:
        raise Unavailable("away", code=code)

    monkeypatch.setattr(it.archive, "clear_some", away)
    if code == "state_unavailable":
        with pytest.raises(RolehostError):
            await it.sweep(it.gateway())
    else:
        await it.sweep(it.gateway())
        assert it.sink.codes == [code]
    assert await it.rows() == ["old"]


# ── turns ───────────────────────────────────────────────────────────────────────────


async def talking() -> tuple[House, Any, Ear]:
    house = House(world(ACME))
    house.store._shelf.now_ms = house.clock
    keep(house.tables, 7_200)
    house.pod("p1")
    await house.pool.start()
    handle, ear = await house.attach()
    return house, handle, ear


async def test_a_turn_is_kept_for_as_long_as_the_role_says_now() -> None:
    house, handle, _ = await talking()
    await handle.say(Said(message="one"))
    (key,) = house.store.shelf.heads
    assert house.store.shelf.until[key] == house.clock() + 2 * HOURS
    keep(house.tables, 10_800)
    house.clock.now_ms += HOURS
    await handle.say(Said(message="two"))
    assert house.store.shelf.until[key] == house.clock() + 3 * HOURS
    fresh = await house.service.kept.fork(Whose(ACME.uid, "cat"), "abc", None)
    assert house.store.shelf.until[Whose(ACME.uid, "cat").key(fresh)] == house.clock() + 3 * HOURS
    house.tables.roles.drop((ACME.name, "cat"))
    await house.die()


async def test_a_session_that_lasted_its_time_before_an_open_socket_is_in_the_register_again() -> None:
    house, handle, _ = await talking()
    whose = Whose(ACME.uid, "cat")
    await handle.say(Said(message="one"))
    house.clock.now_ms += 3 * HOURS
    assert await house.store.head(whose.key("abc")) is None
    await house.store.delist(whose, "abc")
    await handle.say(Said(message="two"))
    head = await house.store.head(whose.key("abc"))
    assert head is not None
    assert head.turn == 2, "the gateway held it, as where the store forgets"
    await asyncio.sleep(0)
    assert [row.session_id for row in await house.store.rows(ACME.uid, "cat", None, None, 9)] == ["abc"]
    await house.die()


async def test_the_register_hears_once_a_day_that_somebody_spoke(monkeypatch: pytest.MonkeyPatch) -> None:
    house, handle, _ = await talking()
    place, said = (ACME.uid, "cat"), []
    real = house.store.enlist

    async def enlist(*arguments: Any, **more: Any) -> None:
        said.append(arguments[-1])
        await real(*arguments, **more)

    monkeypatch.setattr(house.store, "enlist", enlist)
    began = house.clock()
    for _ in range(3):
        await handle.say(Said(message="on"))
        await asyncio.sleep(0)
    assert [one.keep_seconds for one in said] == [0, 7_200], "its row, then that it was spoken in"
    keep(house.tables, 2 * 86_400)
    await handle.say(Said(message="on"))
    await asyncio.sleep(0)
    assert said[2:] == [Active(said[-1].at_ms, 2 * 86_400)], "another promise"
    house.clock.now_ms += REFRESH_MS + 1_000
    await handle.say(Said(message="on"))
    await asyncio.sleep(0)
    assert [one.at_ms - began >= REFRESH_MS for one in said[3:]] == [True]
    rows = await house.store.rows(*place, None, None, 9)
    assert await house.store.activity(*place, rows) == [said[-1]]
    handle.detach()
    other = House(house.tables, house.store.shelf, house.dialer)
    await other.pool.start()
    active = other.store.shelf.books.active[place]
    active[rows[0].member] = Active(5, 600)
    keep(other.tables, 9_999)
    handle, _ = await other.attach()
    await asyncio.sleep(0)
    log = await other.log()
    assert await other.store.activity(*place, rows) == [Active(log[-1].at_ms, 600)], (
        "the last turn and what it promised"
    )
    await handle.say(Said(message="on"))
    await asyncio.sleep(0)
    log = await other.log()
    assert await other.store.activity(*place, rows) == [Active(log[-1].at_ms, 9_999)], "a turn promises anew"
    await other.die()
    await house.die()


@given(
    at_ms=st.integers(0, 10**13),
    keep_seconds=st.integers(0, 31_536_000),
    spoke_later_ms=st.integers(0, REFRESH_MS),
    skew_ms=st.integers(-REFRESH_MS + 1, REFRESH_MS - 1),
    later_ms=st.integers(0, 10**12),
)
def test_nothing_is_deleted_that_may_have_been_spoken_in_within_its_time(
    at_ms: int, keep_seconds: int, spoke_later_ms: int, skew_ms: int, later_ms: int
) -> None:
    """Whatever Redis lost: the newest turn, of which the register may not have heard yet, is as old as was promised."""
    now_ms = at_ms + later_ms
    verdict = left_of(Active(at_ms, keep_seconds), False, now_ms)
    if verdict is Left.LAPSED:
        assert now_ms + skew_ms >= at_ms + spoke_later_ms + 1000 * keep_seconds
    if verdict is Left.MISSING:
        assert now_ms < at_ms + 1000 * keep_seconds
    assert left_of(Active(at_ms, keep_seconds), True, now_ms) is Left.KEPT
    assert (verdict is Left.LAPSED) == (later_ms >= 1000 * keep_seconds + MARGIN_MS)

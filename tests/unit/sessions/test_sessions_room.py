"""What sessions take of the process, and that it is bounded: by tenant, in all, and in revisions kept alive."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.rooms import (
    ACME,
    EVIL,
    Clock,
    Ear,
    FakePod,
    PodDialer,
    Shelves,
    pod_entry,
    principal,
    put,
    world,
)

from rolehost_api.crd.modelbackend import BackendType
from rolehost_api.errors import Overloaded, RolehostError, Unavailable
from rolehost_api.link.messages import StartTurn, TurnFailed
from rolehost_api.wire import ResponseDone, Said, SessionCreated
from rolehost_runtime.core.record import Record
from rolehost_runtime.gateway.broker.models.router import Models
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.broker.state.memory_store import MemorySessionStore
from rolehost_runtime.gateway.link.pool import LinkPool
from rolehost_runtime.gateway.ports import NOBODY, Head
from rolehost_runtime.gateway.sessions.room import MAX_OF_USER, Room
from rolehost_runtime.gateway.sessions.service import SessionService
from rolehost_runtime.gateway.tables import Tenant


def never(key: str) -> bool:
    return False


# ── the rule ────────────────────────────────────────────────────────────────────────


def test_a_tenant_over_its_share_puts_its_own_longest_silent_to_sleep_and_nobody_elses() -> None:
    room = Room(max_bytes=100)
    room.hold("b", "b1", 25)
    for key in ("a1", "a2", "a3"):
        room.hold("a", key, 10)
    room.hold("a", "a1", 10)  # it spoke again
    assert room.excess(never) == ["a2"]
    assert room.excess(never) == []


def test_all_together_over_the_bound_cost_who_holds_most() -> None:
    room = Room(max_bytes=100)
    for tenant in "abcde":
        room.hold(tenant, tenant + "1", 10)
        room.hold(tenant, tenant + "2", 15 if tenant == "c" else 10)
    room.hold("a", "a3", 3)
    assert room.excess(never) == ["c1"]


def test_a_running_turn_is_never_put_to_sleep_and_the_next_in_line_pays() -> None:
    room = Room(max_bytes=100)
    for key in ("a1", "a2"):
        room.hold("a", key, 20)
    assert room.excess(lambda key: True) == []
    assert room.excess(lambda key: key == "a1") == ["a2"]


def test_one_end_user_takes_a_part_of_the_tenants_places_and_no_more() -> None:
    room = Room()
    keys = [f"k{number}" for number in range(MAX_OF_USER)]
    for key in (*keys, *keys):
        room.enter("a", key, "usr:a:u-17")
    with pytest.raises(Overloaded) as raised:
        room.enter("a", "one more", "usr:a:u-17")
    assert raised.value.code == "too_many_sessions"
    room.enter("a", "k", "usr:a:u-18")
    room.enter("a", "the tenant's own")
    room.leave("a", keys[0])
    room.leave("a", keys[0])
    room.enter("a", "one more", "usr:a:u-17")
    for key in (*keys, "one more", "k", "the tenant's own"):
        room.leave("a", key)
    assert (room._of_user, room._whose, room._attached) == ({}, {}, {})


def test_a_session_is_attached_once_however_many_listen_and_the_last_one_frees_its_place() -> None:
    room = Room(max_attached=2)
    for key in ("a1", "a2", "a2"):
        room.enter("a", key)
    with pytest.raises(Overloaded) as raised:
        room.enter("a", "a3")
    assert (raised.value.code, bool(raised.value.hint), raised.value.retryable) == ("too_many_sessions", True, True)
    room.enter("b", "b1")
    room.leave("a", "a1")
    room.enter("a", "a3")


KEYS = st.tuples(st.sampled_from("abcdef"), st.integers(0, 5))


@given(st.lists(st.tuples(KEYS, st.integers(1, 30)), max_size=60), st.sets(KEYS, max_size=4))
def test_what_stays_awake_fits_but_for_running_turns(steps: list[tuple[Any, int]], running: set[Any]) -> None:
    room, awake = Room(max_bytes=100), dict[str, int]()
    busy = {f"{tenant}{number}" for tenant, number in running}
    for (tenant, number), weight in steps:
        room.hold(tenant, key := f"{tenant}{number}", weight)
        awake[key] = weight
        for slept in room.excess(busy.__contains__):
            del awake[slept]
        idle = {key: weight for key, weight in awake.items() if key not in busy}
        if sum(awake.values()) > 100:
            assert not idle
        for owner in "abcdef":
            if sum(weight for key, weight in awake.items() if key[0] == owner) > 25:
                assert not any(key[0] == owner for key in idle)


# ── in a gateway ────────────────────────────────────────────────────────────────────


class Opened(MemorySessionStore):
    """Counts how often a log was read to take a session over."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    async def open(
        self,
        key: str,
        yield_to: Collection[str] = (),
        given: Mapping[str, int] = NOBODY,
        newest: int = 0,
        mine: int = 0,
    ) -> tuple[Head, list[Record]]:
        self.opened += 1
        return await super().open(key, yield_to, given, newest, mine)


class Place:
    """A gateway's rooms with one pod a tenant, and little room."""

    def __init__(self, room: Room) -> None:
        self.tables, self.clock, self.dialer = world(ACME, EVIL), Clock(), PodDialer()
        self.store = Opened()
        self.pool = LinkPool(self.tables, self.dialer, Shelves(), self.dialer.key, self.clock, "gw")
        models = Models({BackendType.SCRIPTED: ScriptedProvider()})
        self.service = SessionService(self.tables, self.pool, self.store, models, self.clock, room=room)
        self.pods = {}
        for tenant in (ACME, EVIL):
            self.pods[tenant] = self.dialer.add(tenant.name)
            put(self.tables, pod_entry(tenant.name, tenant))

    async def attach(self, sid: str, tenant: Tenant = ACME) -> tuple[Any, Ear]:
        role = self.tables.roles.get(tenant.name, "cat")
        assert role is not None
        return await self.service.attach(principal(tenant), role, sid, ear := Ear()), ear

    async def sessions(self) -> int:
        """What the operator is told of ACME's revision."""
        picture = await self.pool.observed(-1, 0)
        return sum(report.sessions for report in picture.revisions if report.namespace == "acme")


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    built = Place(Room(max_bytes=40_000, max_attached=3))
    await built.pool.start()
    yield built
    await built.service.stop(0)
    await built.pool.stop()


async def test_a_tenant_with_heavy_sessions_sends_them_to_sleep_and_they_go_on_from_the_log(place: Place) -> None:
    light, _ = await place.attach("light", EVIL)
    await light.say(Said(message="hello"))
    heavy = [await place.attach(sid) for sid in ("one", "two")]
    for handle, _ in heavy:
        await handle.say(Said(message="dragons" * 200))
    assert place.store.opened == 3
    await heavy[1][0].say(Said(message="again"))
    await light.say(Said(message="again"))
    assert place.store.opened == 3  # these two were awake
    await heavy[0][0].say(Said(message="again"))
    assert place.store.opened == 4
    first, second = heavy[0][1].of(ResponseDone)
    assert (second.message, second.seq) == ("Before: " + "dragons" * 200, first.seq + 2)


async def test_sessions_of_a_tenant_are_bounded_and_a_closed_one_makes_room(place: Place) -> None:
    handles = [(await place.attach(sid))[0] for sid in ("one", "two", "three")]
    with pytest.raises(Overloaded) as raised:
        await place.attach("four")
    assert (raised.value.code, place.store.opened) == ("too_many_sessions", 3)
    twice, _ = await place.attach("one")
    await place.attach("four", EVIL)
    handles[0].detach()
    with pytest.raises(Overloaded):
        await place.attach("four")
    twice.detach()
    _, ear = await place.attach("four")
    assert len(ear.of(SessionCreated)) == 1


async def test_an_attach_that_fails_takes_no_place(place: Place) -> None:
    opens = place.store.open

    async def away(*asked: object) -> tuple[Head, list[Record]]:
        raise Unavailable("the store does not answer", code="state_unavailable")

    place.store.open = away  # type: ignore[method-assign, assignment]
    for number in range(4):
        with pytest.raises(Unavailable):
            await place.attach(f"s{number}")
    place.store.open = opens  # type: ignore[method-assign]
    for number in range(3):
        await place.attach(f"t{number}")


async def test_a_session_counts_for_its_revision_while_somebody_listens_and_for_good_once_it_spoke(
    place: Place,
) -> None:
    silent, _ = await place.attach("silent")
    also, _ = await place.attach("silent")
    assert await place.sessions() == 1
    silent.detach()
    assert await place.sessions() == 1
    also.detach()
    assert await place.sessions() == 0
    spoke, _ = await place.attach("spoke")
    await spoke.say(Said(message="hello"))
    spoke.detach()
    assert await place.sessions() == 1
    again, _ = await place.attach("spoke")
    again.detach()
    assert await place.sessions() == 1


async def test_a_first_turn_counts_while_it_runs_and_not_if_it_fails_before_nobody(place: Place) -> None:
    begun, end = asyncio.Event(), asyncio.Event()

    async def fails(pod: FakePod, channel: int, start: StartTurn) -> None:
        begun.set()
        await end.wait()
        pod.send(channel, TurnFailed(code="logic_failed"))

    place.pods[ACME].turn = fails
    handle, _ = await place.attach("one")
    turn = asyncio.create_task(handle.say(Said(message="hello")))
    await begun.wait()
    handle.detach()
    assert await place.sessions() == 1
    end.set()
    with pytest.raises(RolehostError):
        await turn
    assert await place.sessions() == 0

"""Who is taken for alive, what a gateway does that slept, and where routes lead, in one process with leases on a board."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from tests.support.gateways import SESSION, Fleet, House
from tests.support.rooms import Ear

from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.wire import ResponseDone, Said
from rolehost_runtime.gateway.broker.state.memory_leases import MemoryLeases
from rolehost_runtime.gateway.peers import connection, lease


@pytest.fixture
async def fleet(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Fleet]:
    monkeypatch.setattr(connection, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(connection, "SILENT_SECONDS", 0.3)
    built = Fleet()
    await built.start("a", "b")
    yield built
    await built.stop()


def answers(ear: Ear) -> list[str]:
    return [done.message for done in ear.of(ResponseDone) if done.status == "completed"]


async def settle(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(8):
        while not true():
            await asyncio.sleep(0.005)


def opens(house: House) -> list[str]:
    """Sessions that this gateway asks the store for, from now on."""
    asked: list[str] = []
    store_open = house.store.open

    async def counted(key: str, *more: object) -> object:
        asked.append(key)
        return await store_open(key, *more)  # type: ignore[arg-type]

    house.store.open = counted  # type: ignore[method-assign, assignment]
    return asked


async def test_a_gateway_that_says_nothing_and_holds_no_lease_is_given_up(fleet: Fleet) -> None:
    """And one that holds its lease is not: it may just be slow. Its clients are answered elsewhere at once."""
    why: list[str] = []
    fleet["b"].mesh.given_up = why.append
    at_a, _ = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    at_b, ear_b = await fleet["b"].attach()
    fleet.mute("a", lambda: True)
    await asyncio.sleep(0.8)
    assert "a/1" in fleet["b"].mesh.owners()
    await fleet["a"].mesh._lease.stop()  # it is frozen
    fleet.board["a/1"] = 0.0
    await settle(lambda: "a/1" not in fleet["b"].mesh.owners())
    assert why == ["lease"]
    await at_b.say(Said(message="two"))
    assert answers(ear_b)[-1] == "You said two."
    assert fleet.epoch() == 2


async def test_who_speaks_while_its_lease_is_looked_at_is_not_given_up(fleet: Fleet) -> None:
    """Who looks may have slept itself, with the other's words in its sockets."""
    mesh, why, muted = fleet["b"].mesh, list[str](), True
    mesh.given_up = why.append
    asked, answer, told = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def held(gateway: str) -> bool:
        asked.set()
        await answer.wait()
        asyncio.get_running_loop().call_later(0.01, told.set)
        return False

    mesh._leases.held = held  # type: ignore[method-assign]
    fleet.mute("a", lambda: muted)
    await asyncio.wait_for(asked.wait(), 8)
    muted = False
    await settle(lambda: not mesh._links["a/1"].connection.silent)
    answer.set()
    await told.wait()
    assert why == []
    assert "a/1" in mesh.owners()


async def test_who_cannot_be_talked_to_is_given_up_in_the_end_though_it_holds_its_lease(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clients elsewhere do not wait for ever, and its own hear all the same what was said there: one history."""
    monkeypatch.setattr(connection, "DEAD_SECONDS", 0.6)
    why: list[str] = []
    fleet["b"].mesh.given_up = why.append
    at_a, ear_a = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    at_b, ear_b = await fleet["b"].attach()
    fleet.mute("a", lambda: True)
    await at_b.say(Said(message="two", client_msg_id="two"))
    assert why == ["silent"]
    assert await fleet["b"].mesh._leases.held("a/1")
    assert answers(ear_b)[-1] == "You said two."
    with pytest.raises(RolehostError) as raised:
        await at_a.say(Said(message="three"))
    assert raised.value.code == "superseded"
    await at_a.say(Said(message="three"))
    await settle(lambda: answers(ear_a) == ["You said one.", "You said two.", "You said three."])
    assert [record.input for record in fleet.log()] == ["one", "two", "three"]


async def test_a_lease_that_was_not_renewed_is_tried_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEW_SECONDS", 60.0)
    tried = 0

    class Slow(MemoryLeases):
        async def renew(self, gateway: str) -> bool:
            nonlocal tried
            tried += 1
            if tried < 3:
                raise Unavailable("too slow", code="state_unavailable")
            return await super().renew(gateway)

    held = lease.Lease(Slow(), "a/1", lambda: None)
    await held.start()
    assert held.failing
    await settle(lambda: tried == 3)
    assert not held.failing
    await held.stop()


async def test_a_lease_is_counted_from_when_its_renewal_was_sent_however_late_the_answer_came() -> None:
    """The store may have counted from just then."""
    clock, sent, answers = asyncio.get_running_loop().time, list[float](), asyncio.Event()

    class Late(MemoryLeases):
        async def renew(self, gateway: str) -> bool:
            sent.append(clock())
            await answers.wait()
            return await super().renew(gateway)

    held = lease.Lease(Late(), "a/1", lambda: None)
    starting = asyncio.create_task(held.start())
    await settle(lambda: bool(sent) and clock() > sent[0])
    answers.set()
    await starting
    assert held._renewed is not None
    assert held._renewed <= sent[0]
    await held.stop()


async def test_who_wakes_up_late_sees_the_others_before_it_takes_anything(fleet: Fleet) -> None:
    """It slept past its lease; the other took its session over. Who only listens there follows, and nothing is taken
    back."""
    _, ear_a = await fleet["a"].attach()
    fleet.cut("a", "b")
    await settle(lambda: not fleet["b"].mesh.owners() and not fleet["a"].mesh.owners())
    at_b, _ = await fleet["b"].attach()
    await at_b.say(Said(message="while you slept"))
    assert answers(ear_a) == []
    fleet.mend("a", "b")
    fleet.board["a/1"] = 0.0  # the next renewal finds that it had ended
    await settle(lambda: answers(ear_a) == ["You said while you slept."])
    assert fleet.epoch() == 2
    assert fleet.shelf.owners[SESSION] == "b/1"


async def test_who_is_fenced_in_mid_turn_has_its_listeners_moved(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    _, listener = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    fleet.cut("a", "b")
    await settle(lambda: not fleet["b"].mesh.owners())
    at_b, _ = await fleet["b"].attach()
    await at_b.say(Said(message="two"))
    release = fleet["a"].turns_wait()
    saying = asyncio.create_task(at_a.say(Said(message="three")))
    await settle(lambda: fleet["a"].pods_asked == 2)
    fleet.mend("a", "b")
    await settle(lambda: bool(fleet["a"].mesh.owners()))
    release.set()
    with pytest.raises(RolehostError) as raised:
        await saying
    assert raised.value.code == "superseded"
    await settle(lambda: answers(listener) == ["You said one.", "You said two."])
    await at_b.say(Said(message="four"))
    await settle(lambda: answers(listener)[-1] == "You said four.")
    assert fleet.epoch() == 2


async def test_the_second_client_of_a_relayed_session_asks_no_store(fleet: Fleet) -> None:
    at_a, _ = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    await fleet["b"].attach()
    asked = opens(fleet["b"])
    at_b, ear_b = await fleet["b"].attach()
    await at_b.say(Said(message="two"))
    assert answers(ear_b) == ["You said two."]
    assert asked == []
    assert fleet.epoch() == 1


async def test_a_stale_route_costs_one_attempt_and_decides_nothing(fleet: Fleet) -> None:
    await fleet.start("c")
    at_a, _ = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    first, _ = await fleet["b"].attach()
    first.detach()
    at_a.detach()
    at_c, _ = await fleet["c"].attach()  # nobody speaks at a any more: c has it now, and b does not know
    await at_c.say(Said(message="two"))
    asked = opens(fleet["b"])
    at_b, ear_b = await fleet["b"].attach()
    await at_b.say(Said(message="three"))
    assert asked == [SESSION]
    assert answers(ear_b) == ["You said three."]
    assert fleet.shelf.owners[SESSION] == "c/1"
    assert [record.input for record in fleet.log()] == ["one", "two", "three"]


async def test_a_route_ends_with_its_time(fleet: Fleet) -> None:
    await fleet["a"].attach()
    await fleet["b"].attach()
    fleet["b"].clock.now_ms += 30_000
    asked = opens(fleet["b"])
    await fleet["b"].attach()
    assert asked == [SESSION]


async def test_a_turn_that_began_after_the_session_was_given_away_is_not_ended(fleet: Fleet) -> None:
    """Who was given it has not taken it yet, so it listens instead."""
    at_a, _ = await fleet["a"].attach()
    await at_a.say(Said(message="one"))
    at_a.detach()  # from here on `a` gives it to whoever asks
    release = fleet["a"].turns_wait()
    store_open, begun = fleet["b"].store.open, list[tuple[asyncio.Task[None], Ear]]()

    async def late(key: str, yield_to: object, given: dict[str, int], *more: object) -> object:
        if given and not begun:
            handle, ear = await fleet["a"].attach()
            begun.append((asyncio.ensure_future(handle.say(Said(message="two"))), ear))
            await settle(lambda: fleet["a"].pods_asked == 2)
        return await store_open(key, yield_to, given, *more)  # type: ignore[arg-type]

    fleet["b"].store.open = late  # type: ignore[method-assign, assignment]
    _, ear_b = await fleet["b"].attach()
    release.set()
    [(turn, ear_a)] = begun
    await turn
    assert answers(ear_a) == ["You said two."]
    await settle(lambda: answers(ear_b) == ["You said two."])
    assert fleet.epoch() == 2

"""A message that is said again: for 24 h and among the last 4,096 ids of its session it is the same one (F36)."""

import asyncio

import pytest
from tests.support.house import House
from tests.support.rooms import ACME, world

from rolehost_api.wire import ResponseDone, Said
from rolehost_runtime.core.session import MAX_SEEN, SEEN_MS, Outcome, SessionFold


async def test_for_a_day_it_is_the_same_message_and_then_another_one() -> None:
    house = House(world(ACME))
    house.pod("p1")
    await house.pool.start()
    handle, ear = await house.attach()
    said = Said(message="on", client_msg_id="c-1")
    await handle.say(said)
    first = (await house.log())[0]
    ids: list[tuple[str, bool]] = []
    for now_ms in (first.at_ms + SEEN_MS - 1, first.at_ms + SEEN_MS, first.at_ms + SEEN_MS + 1):
        house.clock.now_ms = now_ms
        ear.heard.clear()
        await handle.say(said)
        [done] = ear.of(ResponseDone)
        ids.append((done.response_id, done.replay))
    assert ids[0] == (first.response_id, True)
    second = ids[1][0]
    assert second != first.response_id
    assert ids[1:] == [(second, False), (second, True)], "said anew, and known again from then on"
    assert len(await house.log()) == 2
    handle.detach()
    other = House(house.tables, house.store.shelf, house.dialer)
    await other.pool.start()
    other.clock.now_ms = house.clock.now_ms
    handle, ear = await other.attach()
    await handle.say(said)
    assert [(done.response_id, done.replay) for done in ear.of(ResponseDone)] == [(second, True)]
    await other.die()
    await house.die()


def talk(fold: SessionFold, *ids: str) -> None:
    for client_msg_id in ids:
        opened = fold.begin(
            "m", revision="cat-1", response_id=f"r{fold.turn}", rng_seed=1, now_ms=1, client_msg_id=client_msg_id
        )
        fold.propose(opened, Outcome("r"), now_ms=1, max_bytes=1_000)
        fold.committed()


@pytest.mark.parametrize("restored", [False, True])
def test_of_ids_the_last_4096_are_known(restored: bool) -> None:
    fold = SessionFold("l", 1)
    talk(fold, *(f"c{number}" for number in range(MAX_SEEN)))
    assert (MAX_SEEN, fold.turn_of("c0")) == (4096, 1)
    if restored:
        fold = SessionFold.restored("l", 1, fold.snapshot(), 1)
    talk(fold, "one-more")
    assert [fold.turn_of(one) for one in ("c0", "c1", "one-more")] == [None, 2, MAX_SEEN + 1]
    talk(fold, "c1", "c1")  # answered anew, a day later: the newest of all
    talk(fold, *(f"d{number}" for number in range(MAX_SEEN - 1)))
    assert (fold.turn_of("c1"), fold.turn_of("one-more")) == (MAX_SEEN + 3, None)


def test_two_who_say_it_at_once_are_answered_once() -> None:
    async def both() -> int:
        house = House(world(ACME))
        house.pod("p1")
        await house.pool.start()
        handles = [(await house.attach())[0] for _ in range(2)]
        await asyncio.gather(*(handle.say(Said(message="on", client_msg_id="c-1")) for handle in handles))
        records = len(await house.log())
        await house.die()
        return records

    assert asyncio.run(both()) == 1

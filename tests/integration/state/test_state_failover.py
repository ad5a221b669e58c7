"""A primary that dies, stands still or lags: what was acknowledged on a replica is there, once and in order (F31)."""

import asyncio
import json
import os
import sys
from signal import SIGCONT, SIGSTOP

import pytest
from tests.integration.state.helpers import Talk, persistently, turn
from tests.support.proof import NUMBERS, keep
from tests.support.redis_fleet import ClusterFleet, Fleet

from rolehost_api.errors import Conflict, Unavailable
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from rolehost_runtime.gateway.broker.state.resp.slots import slot_of

pytestmark = pytest.mark.timeout(60 + 20 * NUMBERS.redis_kills)
TALKS = 12


def stores(fleet: Fleet, *owners: str) -> list[RedisSessionStore]:
    return [RedisSessionStore.connect(f"{fleet.url}?replicas=1", owner=owner) for owner in owners]


async def all_there(store: RedisSessionStore, talks: list[Talk]) -> None:
    """In order and once is what a stream's ids say; what is more than acknowledged is the one that nobody knew of."""
    for talk in talks:
        records = await persistently(lambda talk=talk: store.read(talk.key))  # type: ignore[misc]
        assert [record.turn for record in records] == list(range(1, len(records) + 1))
        assert talk.acknowledged <= len(records) <= talk.acknowledged + 1


async def test_a_primary_that_is_killed_under_load_loses_nothing_that_was_acknowledged(fleet: Fleet) -> None:
    [store] = stores(fleet, "a")
    over: list[bool] = []
    talks = [Talk(store, f"k{number}") for number in range(TALKS)]
    talking = [asyncio.create_task(talk.run(lambda: bool(over))) for talk in talks]
    for _ in range(NUMBERS.redis_kills):
        await asyncio.sleep(1.0)
        primary = await asyncio.to_thread(fleet.primary_of, talks[0].key)
        before = [talk.acknowledged for talk in talks]
        await asyncio.to_thread(primary.kill)
        await asyncio.sleep(4)
        await asyncio.to_thread(fleet.rejoin, primary)
        while any(talk.acknowledged < n + 5 for talk, n in zip(talks, before, strict=True)):
            await asyncio.sleep(0.1)
    over.append(True)
    await asyncio.gather(*talking)
    await all_there(store, talks)
    assert {code for talk in talks for code in talk.refused} <= {"state_unavailable"}
    kind = type(fleet).__name__
    figures: dict[str, object] = {
        "kills": NUMBERS.redis_kills,
        "acknowledged": sum(talk.acknowledged for talk in talks),
        "lost": 0,
    }
    keep(f"redis_failover_{kind}", figures)
    await store.close()


async def test_a_primary_that_wakes_up_after_another_took_over_is_not_listened_to(fleet: Fleet) -> None:
    [store] = stores(fleet, "a")
    over: list[bool] = []
    talk = Talk(store, "k")
    talking = asyncio.create_task(talk.run(lambda: bool(over)))
    await asyncio.sleep(0.5)
    primary = await asyncio.to_thread(fleet.primary_of, "k")
    primary.send(SIGSTOP)
    await asyncio.to_thread(fleet.took_over, "k", primary)
    primary.send(SIGCONT)
    before = talk.acknowledged
    while talk.acknowledged < before + 200:
        await asyncio.sleep(0.1)
    over.append(True)
    await talking
    await all_there(store, [talk])
    assert (await asyncio.to_thread(fleet.primary_of, "k")) is not primary
    await store.close()


async def test_what_no_replica_has_is_not_acknowledged_also_not_to_who_asks_again_elsewhere(fleet: Fleet) -> None:
    """Another connection never wrote it: were the second answer a mere look, WAIT would have nothing to wait for."""
    one, other = stores(fleet, "a", "a")
    head, _ = await one.open("k")
    await one.commit("k", turn(head, 1))
    primary = await asyncio.to_thread(fleet.primary_of, "k")
    lagging = await asyncio.to_thread(fleet.replicas_of, primary)
    for server in lagging:
        server.send(SIGSTOP)
    for store in (one, other, one):
        with pytest.raises(Unavailable) as told:
            await store.commit("k", turn(head, 2))
        assert (told.value.code, told.value.retryable) == ("state_unavailable", True)
        assert "machines" in told.value.message
    with pytest.raises(Unavailable):  # nor is a takeover
        await other.open("k", ())
    assert len(await one.read("k")) == 2, "reads do not wait"
    for server in lagging:
        server.send(SIGCONT)
    again, records = await persistently(lambda: one.open("k"))
    assert [record.turn for record in records] == [1, 2]
    await persistently(lambda: one.commit("k", turn(again, 3)))
    await one.close()
    await other.close()


OWNER = """
import asyncio, json, sys
from rolehost_api.errors import RolehostError
from rolehost_runtime.gateway.broker.state.redis_store import RedisSessionStore
from tests.integration.state.helpers import turn

async def main():
    store = RedisSessionStore.connect(sys.argv[1], owner="paused")
    head, _ = await store.open("k")
    number = 0
    while True:
        number += 1
        try:
            await store.commit("k", turn(head, number, "paused"))
        except RolehostError as error:
            if error.code == "state_unavailable":
                number -= 1
                continue
            print(json.dumps([number - 1, error.code]), flush=True)
            return
        if number == 20:
            print("busy", flush=True)

asyncio.run(main())
"""


async def test_an_owner_that_wakes_up_late_is_refused(fleet: Fleet) -> None:
    """F33: a process stopped in mid-commit, another one takes its session over."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(["", *sys.path])}
    paused = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, f"{fleet.url}?replicas=1", stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert paused.stdout is not None
    assert await paused.stdout.readline() == b"busy\n"
    paused.send_signal(SIGSTOP)
    [store] = stores(fleet, "b")
    head, records = await store.open("k")
    taken = [turn(head, len(records) + number, "taken over") for number in range(1, 4)]
    for record in taken:
        await store.commit("k", record)
    paused.send_signal(SIGCONT)
    acknowledged, code = json.loads(await paused.stdout.readline())
    await paused.wait()
    assert code == "superseded"
    assert acknowledged <= len(records)
    assert [record.reply for record in await store.read("k")] == ["paused"] * len(records) + ["taken over"] * 3
    await store.close()


# ── a cluster that moves its slots ──────────────────────────────────────────────────


async def test_a_session_whose_slot_moves_under_it_notices_nothing(fleet: Fleet) -> None:
    if not isinstance(fleet, ClusterFleet):
        pytest.skip("only a cluster has slots")
    [store] = stores(fleet, "a")
    over: list[bool] = []
    tag, slot = "k", str(slot_of(b"{k}"))
    talk = Talk(store, tag)
    talking = asyncio.create_task(talk.run(lambda: bool(over)))
    await asyncio.sleep(0.5)

    def move() -> None:
        here = fleet.primary_of(tag)
        there = next(one for one in fleet.servers if one.info("role") == "master" and one is not here)
        names = {one.port: one.ask("cluster", "myid") for one in (here, there)}
        assert there.ask("cluster", "setslot", slot, "importing", names[here.port]) == "OK"
        assert here.ask("cluster", "setslot", slot, "migrating", names[there.port]) == "OK"
        for key in here.ask("cluster", "getkeysinslot", slot, "100").splitlines():  # one key at a time: TRYAGAIN
            assert here.ask("migrate", "127.0.0.1", str(there.port), key, "0", "2000") == "OK"
        for server in (there, here):
            assert server.ask("cluster", "setslot", slot, "node", names[there.port]) == "OK"

    for _ in range(3):
        before = talk.acknowledged
        await asyncio.to_thread(move)
        while talk.acknowledged < before + 20:
            await asyncio.sleep(0.05)
    over.append(True)
    await talking
    await all_there(store, [talk])
    await store.close()


async def test_who_lost_its_session_is_told_so_after_a_failover_too(fleet: Fleet) -> None:
    one, other, idle = stores(fleet, "a", "b", "c")
    assert await idle.answers()
    before, _ = await one.open("k")
    await one.commit("k", turn(before, 1))
    head, _ = await other.open("k")
    primary = await asyncio.to_thread(fleet.primary_of, "k")
    await asyncio.to_thread(primary.kill)
    await asyncio.to_thread(fleet.took_over, "k", primary)
    await asyncio.to_thread(fleet.rejoin, primary)  # a cluster's last replica is needed for an answer
    with pytest.raises(Conflict):
        await persistently(lambda: one.commit("k", turn(before, 2)))
    await persistently(lambda: other.commit("k", turn(head, 2)))
    assert len(await one.read("k")) == 2
    while not await idle.answers():  # a gateway that is not ready gets no client, and must look by itself
        await asyncio.sleep(0.05)
    await idle.facts()
    await idle.close()
    await one.close()
    await other.close()

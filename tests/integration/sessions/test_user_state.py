"""One person, two sessions, two gateways, one of them paused in mid-turn: what they share converges, and nothing that was
acknowledged is lost. Real processes, real Redis, alone and as a cluster."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGCONT, SIGSTOP

import pytest
from tests.support.bonds import LONG, TAG, Two, two_gateways
from tests.support.redis import running
from tests.support.redis_fleet import cluster
from tests.support.surviving import hear

from rolehost_runtime.core.merge import view_of

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    with running() if request.param == "server" else cluster() as redis:
        async with two_gateways(redis, tmp_path) as made:  # type: ignore[arg-type]
            yield made


@pytest.mark.parametrize("two", ["server", "cluster"], indirect=True)
async def test_a_paused_gateway_wakes_up_with_a_turn_on_an_older_version(two: Two) -> None:
    assert (await two.say("a", "s1", "Ann calm"))["user_state"] == "user"
    assert "#1/2 Ann,Bob" in (await two.say("b", "s2", "Bob glad"))["message"]
    async with two.socket("a") as socket:
        await socket.send(json.dumps({"message": f"Cid {LONG}", "session_id": "s1", "user": "u-17"}))
        started = await hear(socket, "response.output_text.delta")
        [whole] = [frame for frame in started if frame["type"] == "role.state.delta"]
        assert (whole["scope"], whole["seq"], whole["version"]) == ("user", None, 2)
        assert whole["patch"][0]["value"] == {"mood": "glad", "turns": 2, "met": {"Ann": True, "Bob": True}}
        two.signal("a", SIGSTOP)
        await asyncio.sleep(0.3)
        assert "#2/3 Ann,Bob,Dan" in (await two.say("b", "s2", "Dan wild"))["message"]
        two.signal("a", SIGCONT)
        ended = await hear(socket, "response.done")
    assert (ended[-1]["status"], ended[-1]["user_state"]) == ("completed", "user")
    assert ended[-1]["message"].endswith("#2/3 Ann,Bob,Cid"), "the turn saw what it had read, to its end"
    [changed] = [frame for frame in ended if frame["type"] == "role.state.delta" and frame["scope"] == "user"]
    assert (changed["version"], changed["seq"]) == (4, ended[-1]["seq"] - 1)
    states = [await two.state(gateway, session) for gateway in ("a", "b") for session in ("s1", "s2")]
    everybody = {"Ann": True, "Bob": True, "Cid": True, "Dan": True}
    for state in states:
        assert state["user_state"] == {"turns": 4, "met": everybody, "mood": LONG[:20]}
        assert state["user_version"] == 4
    assert await two.kept() == [("mood", "wild")]
    for gateway, session, number in (("a", "s1", "#3/5"), ("b", "s2", "#3/6")):
        told = await two.say(gateway, session, "Ann calm")
        assert told["message"].endswith(f"{number} Ann,Bob,Cid,Dan")
    await a_gateway_dies_with_a_turn_open(two)


async def a_gateway_dies_with_a_turn_open(two: Two) -> None:
    """Its turn is given anew elsewhere, on what the others made of the state meanwhile, and counts once."""
    async with two.socket("a") as socket:
        await socket.send(json.dumps({"message": f"Eve {LONG}", "session_id": "s1", "user": "u-17"}))
        await hear(socket, "response.output_text.delta")
        await asyncio.sleep(0.1)  # its note is on its way
        two.processes.gateways["a"].kill()
    await two.say("b", "s2", "Fay wild")
    told = await two.say("b", "s1", "Gus calm")
    assert told["message"].endswith("#5/9 Ann,Bob,Cid,Dan,Eve,Fay,Gus")


@pytest.mark.parametrize("two", ["server"], indirect=True)
async def test_in_a_storm_of_turns_nothing_that_was_acknowledged_is_lost(two: Two) -> None:
    moods: list[str] = []

    async def talk(gateway: str, session: str) -> None:
        for turn in range(4):
            name = f"{session}-{turn}"
            await two.say(gateway, session, f"{name} {name}")
            moods.append(name)

    async def pauses() -> None:
        for _ in range(4):
            await asyncio.sleep(0.3)
            two.signal("a", SIGSTOP)
            await asyncio.sleep(0.4)
            two.signal("a", SIGCONT)

    await asyncio.gather(pauses(), *(talk(gateway, f"{gateway}{one}") for gateway in ("a", "b") for one in range(3)))
    stored = await two.store.user(TAG, {})
    state, kept = view_of(stored), Counter(value for field, value in await two.kept() if field == "mood")
    assert (state["turns"], set(state["met"])) == (24, set(moods))
    assert state["mood"] in moods
    assert all(times == 1 for times in kept.values())
    assert {*kept} <= {*moods}
    views = [await two.state(gateway, f"{gateway}0") for gateway in ("a", "b")]
    assert views[0]["user_state"] == views[1]["user_state"] == state
    await nobody_shares_with_nobody(two)


async def nobody_shares_with_nobody(two: Two) -> None:
    done = await two.say("a", "s1", "Ann calm", user="")
    assert (done["user_state"], "#1/1 Ann" in done["message"]) == ("session", True)
    await two.say("b", "s2", "Bob calm", user="")
    state = await two.state("a", "s1", user="")
    assert state["state"] == {"turns": 1, "@user": {"turns": 1, "met": {"Ann": True}, "mood": "calm"}}
    assert (state["user_state"], state["user_version"]) == (None, None)

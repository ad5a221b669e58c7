"""A turn from underneath, over HTTP: who sees how much of it. A real port, real sessions, a store in memory."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.integration.edge.test_edge_keeping import ask, say, token
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, EVIL, FakePod
from tests.support.talking import KEYS, USER_KEY, Talkers, add_key

from rolehost_api.link.messages import (
    CallModel,
    Commit,
    ModelResult,
    PatchOp,
    Recall,
    Recalled,
    Remember,
    StartTurn,
    Transition,
    TurnFailed,
)
from rolehost_api.link.tracing import TracedEdge, TracedGraph, TracedNode
from rolehost_runtime.gateway.tables import Scope

ROOT = "/v1/roles/cat"
PUSH_KEY, SERVER_KEY, ADMIN_KEY, EVIL_SERVER_KEY = "rh_4_push", "rh_5_server", "rh_6_admin", "rh_7_evil"
SECRET = "afraid of spiders"
TRACE = TracedGraph(
    name="main", initial="Idle", node="Idle", to="Explore", nodes=(TracedNode(name="Idle"), TracedNode(name="Explore")),
    edges=(TracedEdge(source="Idle", target="Explore", why="turn > 0", verdict="taken"),),
)  # fmt: skip


async def walking(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, Recall(index=0, query=start.message))
    assert isinstance(await pod.answer(channel), Recalled)
    pod.send(channel, CallModel(index=1, segments=DEFAULT_SEGMENTS, stream=True))
    assert isinstance(await pod.answer(channel), ModelResult)
    step = Transition(subgraph="main", source="Idle", target="Explore", weight=1.0, of=1.0, why="turn > 0")
    pod.send(
        channel,
        Commit(
            patch=(PatchOp("add", "/mood", "calm"),),
            transitions=(step,),
            atoms=(Remember(text=start.message),),
            trace=(TRACE,) if start.trace else (),
        ),
    )


async def served(inspect_bytes: int) -> AsyncIterator[Talkers]:
    async with Talkers(inspect_bytes=inspect_bytes) as running:
        add_key(running.tables, PUSH_KEY, ACME, Scope.CHAT, Scope.PUSH)
        add_key(running.tables, SERVER_KEY, ACME, Scope.CHAT, Scope.PUSH, Scope.ACT_AS_USER)
        add_key(running.tables, ADMIN_KEY, ACME, Scope.ADMIN)
        add_key(running.tables, EVIL_SERVER_KEY, EVIL, *Scope)
        running.turns_are(walking)
        yield running


@pytest.fixture
async def house() -> AsyncIterator[Talkers]:
    async for running in served(1 << 20):
        yield running


@pytest.fixture
async def discreet() -> AsyncIterator[Talkers]:
    async for running in served(0):
        yield running


async def inspect(house: Talkers, key: str, sid: str = "a", query: str = "") -> dict[str, Any]:
    status, answer = await ask(house, "GET", f"{ROOT}/sessions/{sid}/inspect{query}", key)
    assert status == 200, answer
    return dict(answer)


async def code(house: Talkers, key: str, sid: str = "a", query: str = "") -> str:
    return str((await ask(house, "GET", f"{ROOT}/sessions/{sid}/inspect{query}", key))[1]["error"]["code"])


async def test_a_key_that_may_push_sees_the_prompt_what_was_recalled_and_the_trace(house: Talkers) -> None:
    await say(house, PUSH_KEY, "a", SECRET)
    await say(house, PUSH_KEY, "a", "spiders?")
    seen = await inspect(house, PUSH_KEY)
    assert (seen["turn"], seen["turns"], seen["answered"], seen["underneath"]) == (2, 2, True, "shown")
    assert seen["state"] == {"mood": "calm"}
    assert [event["type"] for event in seen["events"]] == [
        "role.behavior.transition",
        "role.state.delta",
        "role.memory.committed",
        "response.done",
    ]
    [call] = seen["calls"]
    kinds = [segment["kind"] for segment in call["segments"]]
    assert kinds[0] == "persona"
    assert kinds[-1] == "input"
    assert "history" in kinds
    assert call["segments"][-1]["text"] == "spiders?"
    assert call["chars"] == sum(one["chars"] for one in call["segments"]) + 2 * sum(
        one["speaker"] == other["speaker"] for one, other in zip(call["segments"], call["segments"][1:], strict=False)
    )
    prefix = call["prefix"]
    assert (prefix["compared_with"], prefix["segment"]) == ("call", kinds.index("history") + 1)
    assert call["usage"]["input_tokens"] > 0
    assert call["model"] == "default"
    reminded = [one for one in seen["recalls"] if not one["reminder"]]
    assert [memory["text"] for memory in reminded[0]["memories"]] == [SECRET]
    [graph] = seen["trace"]
    assert graph["edges"][0] | {"verdict": "taken", "from": "Idle"} == graph["edges"][0]
    first = await inspect(house, PUSH_KEY, query="?turn=1")
    assert (first["turn"], first["calls"][0]["prefix"]["compared_with"]) == (1, "revision")
    assert "role.state.delta" in " ".join(event["type"] for event in first["events"])


async def test_a_memory_that_is_forgotten_is_in_no_prompt_that_is_shown(house: Talkers) -> None:
    await say(house, PUSH_KEY, "a", SECRET)
    await say(house, PUSH_KEY, "a", "spiders?")
    _, answer = await ask(house, "GET", f"{ROOT}/memories?session=a", PUSH_KEY)
    for memory in answer["memories"]:
        assert (await ask(house, "DELETE", f"{ROOT}/memories/{memory['id']}?session=a", PUSH_KEY))[0] == 200
    seen = await inspect(house, PUSH_KEY)
    assert [(one["query"], one["memories"], one["forgotten"]) for one in seen["recalls"]] == [("spiders?", [], 1)]
    assert SECRET not in repr([one for call in seen["calls"] for one in call["segments"] if one["kind"] == "memory"])


async def test_an_end_user_sees_their_own_state_and_events_and_never_a_word_of_the_prompt(house: Talkers) -> None:
    await say(house, SERVER_KEY, "a", "hello", "u-17")
    u17, u18 = await token(house, "u-17"), await token(house, "u-18")
    seen = await inspect(house, u17)
    assert seen["state"] == {"mood": "calm"}
    assert seen["events"]
    assert (seen["underneath"], seen["calls"], seen["recalls"], seen["trace"]) == ("forbidden", [], [], [])
    assert await code(house, u18) == "session_not_found"
    assert await code(house, u18, query="?user=u-17") == "session_not_found"
    assert (await inspect(house, USER_KEY, query="?user=u-17"))["underneath"] == "forbidden"
    assert (await inspect(house, SERVER_KEY, query="?user=u-17"))["underneath"] == "shown"
    assert await code(house, PUSH_KEY, query="?user=u-17") == "user_not_allowed"
    assert await code(house, EVIL_SERVER_KEY, query="?user=u-17") == "session_not_found"


async def test_who_may_chat_and_no_more_sees_no_prompt(house: Talkers) -> None:
    await say(house, KEYS[ACME], "a", "hello")
    assert (await inspect(house, KEYS[ACME]))["underneath"] == "forbidden"
    assert (await inspect(house, PUSH_KEY))["underneath"] == "shown"
    assert (await inspect(house, ADMIN_KEY))["underneath"] == "shown"
    assert await code(house, KEYS[EVIL]) == "session_not_found"


async def test_where_it_is_off_no_pod_is_asked_and_the_answer_says_so(discreet: Talkers) -> None:
    await say(discreet, PUSH_KEY, "a", "hello")
    seen = await inspect(discreet, PUSH_KEY)
    assert (seen["underneath"], seen["calls"], seen["trace"]) == ("off", [], [])
    assert [event["type"] for event in seen["events"]][-1] == "response.done"


async def test_what_is_not_there_is_said(house: Talkers) -> None:
    assert await code(house, PUSH_KEY, "nobody") == "session_not_found"
    await say(house, PUSH_KEY, "a", "hello")
    assert await code(house, PUSH_KEY, query="?turn=2") == "turn_not_found"
    assert await code(house, PUSH_KEY, query="?turn=-1") == "invalid_turn"
    assert await code(house, PUSH_KEY, query="?turn=x") == "invalid_request"
    for number in range(9):
        await say(house, PUSH_KEY, "a", f"hello {number}")
    old = await inspect(house, PUSH_KEY, query="?turn=1")
    assert (old["underneath"], bool(old["events"])) == ("not_kept", True)


async def test_a_turn_that_failed_shows_what_the_model_was_shown(house: Talkers) -> None:
    await say(house, PUSH_KEY, "a", "hello")

    async def failing(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=False))
        assert isinstance(await pod.answer(channel), ModelResult)
        pod.send(channel, TurnFailed(code="logic_raised"))

    house.turns_are(failing)
    status, _ = await ask(house, "POST", "/role/cat", PUSH_KEY, {"message": "and now?", "session_id": "a"})
    assert status >= 400
    assert (await inspect(house, PUSH_KEY))["turn"] == 1
    seen = await inspect(house, PUSH_KEY, query="?turn=2")
    assert (seen["turn"], seen["turns"], seen["answered"], seen["events"]) == (2, 1, False, [])
    assert seen["calls"][0]["segments"][-1]["text"] == "and now?"
    assert seen["calls"][0]["reply"] is False
    assert await code(house, KEYS[ACME], query="?turn=3") == "turn_not_found"


async def test_a_forgotten_session_leaves_nothing_here(house: Talkers) -> None:
    await say(house, PUSH_KEY, "a", SECRET)
    assert house.service._world.inspections.weight > 0
    assert (await ask(house, "DELETE", f"{ROOT}/sessions/a", PUSH_KEY))[0] == 200
    assert house.service._world.inspections.weight == 0
    assert await code(house, PUSH_KEY) == "session_not_found"

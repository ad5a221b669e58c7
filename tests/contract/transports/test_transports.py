"""One session, one log, any way in: golden conversations, each over every transport, against a whole gateway.

A conversation is a list of steps with what is heard of each: the events of the log, by
their numbers. What a transport cannot show is declared by it, and is left out of what it
must have heard; that it then really is not shown is checked too, so no declaration is stale.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, principal
from tests.support.talking import Talkers
from tests.support.transports import WAYS, Facade, Gap, Heard, Way

from rolehost_api import wire
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import (
    CallModel,
    Commit,
    ModelResult,
    PatchOp,
    Remember,
    StartTurn,
    Transition,
    TurnFailed,
)
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
KEPT = (
    "type", "seq", "status", "message", "truncated_at", "client_msg_id", "finish_reason", "version", "is_urgent",
    "patch", "from", "to", "edge", "subgraph", "atoms",
)  # fmt: skip
"""Fields that are the same at every run."""
Event = dict[str, Any]


class Switched:
    """ports.ModelProvider: the scripted model, which may be away, or hold its answer back before it ends it."""

    def __init__(self) -> None:
        self.away = False
        self.holds = False
        self.holding, self.released = asyncio.Event(), asyncio.Event()
        self._model = ScriptedProvider()

    async def stream(self, backend: Any, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        if self.away:
            raise Unavailable("the model is away", code="model_unavailable")
        async for item in self._model.stream(backend, request):
            if self.holds and isinstance(item, ModelEnd):
                self.holding.set()
                await self.released.wait()
            yield item

    @asynccontextmanager
    async def held(self) -> AsyncIterator[asyncio.Event]:
        """Answers do not end meanwhile. The event: one has said everything else."""
        self.holds = True
        self.holding.clear()
        self.released.clear()
        try:
            yield self.holding
        finally:
            self.holds = False
            self.released.set()


async def count_dragons(pod: FakePod, channel: int, start: StartTurn) -> None:
    """The Role's logic: it remembers how many dragons it heard of."""
    pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
    result = await pod.answer(channel)
    assert isinstance(result, ModelResult)
    if result.error:
        pod.send(channel, TurnFailed(code=result.error))
        return
    patch = (PatchOp("incr", "/dragons", 1),) if "dragon" in start.message else ()
    steps: tuple[Transition, ...] = ()
    if "explore" in start.message:
        patch = (*patch, PatchOp("add", "/@behavior", {"main": {"node": "Explore"}}))
        steps = (Transition(subgraph="main", source="Idle", target="Explore", weight=0.5, of=2.0, why="hears_it"),)
    atoms = (Remember(text="met a dragon"),) if "remember" in start.message else ()
    pod.send(channel, Commit(patch=patch, urgent="fire" in start.message, transitions=steps, atoms=atoms))


@pytest.fixture
async def model() -> Switched:
    return Switched()


@pytest.fixture
async def house(model: Switched) -> AsyncIterator[Talkers]:
    async with Talkers(model=model, grpc=True) as running:
        running.turns_are(count_dragons)
        yield running


def kept(events: list[Event]) -> list[Event]:
    """What the golden logs hold of them; null and nothing are the same, for some ways in have no null."""
    return [{name: _told(event[name]) for name in KEPT if event.get(name) is not None} for event in events]


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return [_told(one) for one in value]
    if isinstance(value, dict):  # an id is another one with every run; what is not so is not said by every way in
        return {name: part for name, part in value.items() if part is not None and part is not False and name != "id"}
    return value


async def log_of(house: Talkers) -> list[Event]:
    """The log, read past all transports."""
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    page = await house.service.events(principal(ACME), role, "s", 0)
    assert not page.more
    return kept([json.loads(wire.encode(event)) for event in page.events])


def golden_log(steps: list[Event]) -> list[Event]:
    """What all steps together leave in the log: every event once, by its number."""
    found = {event["seq"]: event for step in steps for event in step.get("heard", ())}
    return [found[seq] for seq in sorted(found)]


def expected(way: type[Way], step: Event) -> list[Event]:
    """What of a step's events this way in can show."""
    hidden = Gap.STATE_AGAIN if step.get("answered") else Gap.STATE
    unseen = {
        "role.state.delta": hidden,
        "role.behavior.transition": hidden,
        "role.memory.committed": hidden,
        "response.amended": Gap.AMENDS,
    }
    return [event for event in step["heard"] if unseen.get(event["type"]) not in way.cannot]


def check(way: type[Way], step: Event, heard: Heard) -> None:
    assert kept(heard.events) == expected(way, step)
    assert (heard.failed, heard.retryable) == (step.get("failed", ""), bool(step.get("failed")))
    told_before = bool(step.get("answered") or "come_back" in step)
    ends = [event for event in heard.events if event["type"] == "response.done"]
    if Gap.REPLAY not in way.cannot:
        assert all(end["replay"] is told_before for end in ends)
    if "say" in step and ends and not told_before:
        whole = ends[-1]["message"]
        if Gap.DELTAS in way.cannot:
            assert heard.text == ""
        elif ends[-1]["status"] == "cancelled":
            assert heard.text.startswith(whole)
            assert len(heard.text) > len(whole), "it was cut to what was heard of it"
        else:
            assert heard.text == whole


async def newest_response(house: Talkers) -> str:
    _, ear = await house.at("s")
    return str(ear.of(wire.ResponseCreated)[-1].response_id)


async def cancel(house: Talkers, client: Way, chars: int) -> None:
    """The user wants no more of the newest response: by this way in, or by another where it has no word for it."""
    response_id = await newest_response(house)
    if Gap.CANCEL in client.cannot:
        with pytest.raises(NotImplementedError):
            await client.cancel(response_id, chars)
        handle, _ = await house.at("s")
        await handle.cancel(response_id, wire.HeardPart(chars=chars))
    else:
        await client.cancel(response_id, chars)


async def cut_short(house: Talkers, model: Switched, client: Way, said: Event, chars: int) -> Heard:
    """A message whose answer is cancelled in its middle."""
    async with model.held() as holding:
        saying = asyncio.create_task(client.say(said["message"], said["client_msg_id"]))
        await asyncio.wait_for(holding.wait(), 10)
        await cancel(house, client, chars)
        return await asyncio.wait_for(saying, 10)


async def amended(house: Talkers, client: Way, step: Event) -> Heard:
    """Less was heard of the newest answer, which is in the log already."""
    _, ear = await house.at("s")
    known = len(ear.of(wire.ResponseAmended))

    async def amend() -> None:
        await cancel(house, client, step["amend"]["chars"])
        async with asyncio.timeout(10):
            while len(ear.of(wire.ResponseAmended)) == known:
                await asyncio.sleep(0.001)

    if Gap.AMENDS in client.cannot:
        await amend()
        return Heard()
    return await client.overhear(amend, step["heard"][-1]["seq"])


async def turned_away(house: Talkers, model: Switched, client: Way, step: Event) -> Heard:
    """A message that is not to wait, while another client's is answered."""
    said, other = step["reject"], step["while"]
    async with model.held() as holding:
        running = asyncio.create_task(house.say("s", other["message"], client_msg_id=other["client_msg_id"]))
        await asyncio.wait_for(holding.wait(), 10)
        try:
            return await client.say(said["message"], said["client_msg_id"], busy_policy="reject")
        finally:
            model.released.set()
            await running


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
async def test_every_way_in_makes_the_same_log_and_hears_it(
    house: Talkers, model: Switched, golden: Path, way: type[Way]
) -> None:
    steps: list[Event] = json.loads(golden.read_text())
    if any(step.keys() & {"cancel", "amend"} for step in steps):
        await house.at("s")  # who knows which response runs
    async with way(house, "s") as client:
        for step in steps:
            match step:
                case {"model": where}:
                    model.away = where == "away"
                case {"elsewhere": said}:
                    await house.say("s", said["message"], client_msg_id=said["client_msg_id"])
                case {"say": said, "cancel": heard}:
                    check(way, step, await cut_short(house, model, client, said, heard["chars"]))
                case {"amend": _}:
                    check(way, step, await amended(house, client, step))
                case {"reject": _} if Gap.BUSY in way.cannot:
                    with pytest.raises(NotImplementedError):
                        await turned_away(house, model, client, step)
                case {"reject": _}:
                    check(way, step, await turned_away(house, model, client, step))
                case {"say": said}:
                    check(way, step, await client.say(said["message"], said["client_msg_id"]))
                case {"come_back": after} if Gap.MISSED in way.cannot:
                    with pytest.raises(NotImplementedError):
                        await client.come_back(after, 0)
                case {"come_back": after}:
                    check(way, step, await client.come_back(after, expected(way, step)[-1]["seq"]))
                case _:
                    raise AssertionError(f"a step of {golden.name} is none that is known here")
    assert await log_of(house) == golden_log(steps)


@pytest.mark.parametrize("first", WAYS, ids=lambda way: way.name)
async def test_a_conversation_may_change_its_way_at_every_turn(house: Talkers, first: type[Way]) -> None:
    at = WAYS.index(first)
    for turn, way in enumerate((*WAYS[at:], *WAYS[:at]), 1):
        async with way(house, "s") as client:
            if turn > 1 and Gap.MISSED not in way.cannot:
                before = await client.come_back(0, turn - 1)
                assert [event["seq"] for event in before.events] == list(range(1, turn))
            heard = await client.say(f"turn {turn}", f"c{turn}")
        assert [event["seq"] for event in heard.events] == [turn]
    assert [event["message"] for event in await log_of(house)] == [
        f"You said turn {n}." for n in range(1, len(WAYS) + 1)
    ]


async def test_a_message_that_was_answered_on_one_way_is_not_answered_again_on_another(house: Talkers) -> None:
    for way in WAYS:
        async with way(house, "s") as client:
            heard = await client.say("a dragon", "c1")
        assert heard.events[-1]["seq"] == 2
    assert len(await log_of(house)) == 2


def test_every_gap_has_its_reason_and_no_two_ways_one_name() -> None:
    assert all(reason for way in WAYS for reason in way.cannot.values())
    assert len({way.name for way in WAYS}) == len(WAYS)
    assert all(issubclass(way, Facade) for way in WAYS if Gap.MISSED in way.cannot), "only theirs know no events"

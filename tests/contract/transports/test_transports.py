"""One session, one log, any way in: golden conversations, each over every transport, against a whole gateway.

A conversation is a list of steps with what is heard of each: the events of the log, by
their numbers. What a transport cannot show is declared by it, and is left out of what it
must have heard; that it then really is not shown is checked too, so no declaration is stale.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, principal
from tests.support.talking import Talkers
from tests.support.transports import WAYS, Facade, Gap, Heard, Way

from rolehost_api import wire
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import CallModel, Commit, ModelResult, PatchOp, StartTurn, TurnFailed
from rolehost_runtime.gateway.broker.models.scripted import ScriptedProvider
from rolehost_runtime.gateway.ports import ModelEnd, ModelRequest

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.json"))
KEPT = ("type", "seq", "status", "message", "client_msg_id", "finish_reason", "version", "is_urgent", "patch")
"""Fields that are the same at every run."""
Event = dict[str, Any]


class Switched:
    """ports.ModelProvider: the scripted model, which may be away after its first piece."""

    def __init__(self) -> None:
        self.away = False
        self._model = ScriptedProvider()

    async def stream(self, backend: Any, request: ModelRequest) -> AsyncIterator[str | ModelEnd]:
        if self.away:
            raise Unavailable("the model is away", code="model_unavailable")
        async for item in self._model.stream(backend, request):
            yield item


async def count_dragons(pod: FakePod, channel: int, start: StartTurn) -> None:
    """The Role's logic: it remembers how many dragons it heard of."""
    pod.send(channel, CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=True))
    result = await pod.answer(channel)
    assert isinstance(result, ModelResult)
    if result.error:
        pod.send(channel, TurnFailed(code=result.error))
        return
    patch = (PatchOp("incr", "/dragons", 1),) if "dragon" in start.message else ()
    pod.send(channel, Commit(patch=patch))


@pytest.fixture
async def model() -> Switched:
    return Switched()


@pytest.fixture
async def house(model: Switched) -> AsyncIterator[Talkers]:
    async with Talkers(model=model, grpc=True) as running:
        running.turns_are(count_dragons)
        yield running


def kept(events: list[Event]) -> list[Event]:
    return [{name: event[name] for name in KEPT if name in event} for event in events]


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
    return [event for event in step["heard"] if event["type"] != "role.state.delta" or hidden not in way.cannot]


def check(way: type[Way], step: Event, heard: Heard) -> None:
    assert kept(heard.events) == expected(way, step)
    assert (heard.failed, heard.retryable) == (step.get("failed", ""), bool(step.get("failed")))
    told_before = bool(step.get("answered") or "come_back" in step)
    ends = [event for event in heard.events if event["type"] == "response.done"]
    if Gap.REPLAY not in way.cannot:
        assert all(end["replay"] is told_before for end in ends)
    if "say" in step and ends and not told_before:
        assert heard.text == ("" if Gap.DELTAS in way.cannot else ends[-1]["message"])


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
async def test_every_way_in_makes_the_same_log_and_hears_it(
    house: Talkers, model: Switched, golden: Path, way: type[Way]
) -> None:
    steps: list[Event] = json.loads(golden.read_text())
    async with way(house, "s") as client:
        for step in steps:
            match step:
                case {"model": where}:
                    model.away = where == "away"
                case {"elsewhere": said}:
                    await house.say("s", said["message"], client_msg_id=said["client_msg_id"])
                case {"say": said}:
                    check(way, step, await client.say(said["message"], said["client_msg_id"]))
                case {"come_back": after} if Gap.MISSED in way.cannot:
                    with pytest.raises(NotImplementedError):
                        await client.come_back(after, 0)
                case {"come_back": after}:
                    check(way, step, await client.come_back(after, step["heard"][-1]["seq"]))
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

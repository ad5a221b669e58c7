"""A PromptTemplate that is installed words the system's part of a turn's prompt; one that fails does not fail the turn."""

from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from tests.support.house import House
from tests.support.rooms import FakePod, revision_entry, serve, world

from rolehost_api.crd.role import Persona, PromptSpec, RoleTemplate
from rolehost_api.link.messages import (
    CallModel,
    Commit,
    HistorySegment,
    InputSegment,
    PersonaSegment,
    StartTurn,
    TextSegment,
)
from rolehost_api.wire import ResponseDone, Said, Usage
from rolehost_runtime.gateway.ports import ModelEnd
from rolehost_runtime.plugins.prompts import Given, Part

SEGMENTS = (PersonaSegment(0), TextSegment("system", "It rains."), HistorySegment(), InputSegment())


class Letter:
    def parts(self, given: Given) -> Iterable[Part]:
        yield Part(f"Dear model,\n\n{given.persona}", "revision")
        yield from (Part(f"P.S. {text}", "turn") for text in given.added)


class Breaks:
    def parts(self, given: Given) -> Iterable[Part]:
        raise RuntimeError(given.persona)


class Endless:
    def parts(self, given: Given) -> Iterable[Part]:
        while True:
            yield Part("x", "turn")


class Nonsense:
    def parts(self, given: Given) -> Any:
        return [Part("x", "forever")]  # type: ignore[arg-type]


async def asks(pod: FakePod, channel: int, start: StartTurn) -> None:
    pod.send(channel, CallModel(index=0, segments=SEGMENTS, stream=True))
    await pod.answer(channel)
    pod.send(channel, Commit())


async def shown(plugin: str, layouts: dict[str, Any]) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]], int]:
    """What the model is shown of a first message, what `degraded` says, and how much of it is stable."""
    tables = world()
    template = RoleTemplate(persona=Persona(system="You are Tom."), prompt=PromptSpec(plugin=plugin))
    serve(tables, revision_entry(template=template))
    house = House(tables, layouts=layouts)
    model = house.slow_model()
    house.pod("p1").turn = asks
    await house.pool.start()
    try:
        handle, ear = await house.attach()
        for item in ("Aye.", ModelEnd("stop", Usage())):
            model.pieces.put_nowait(item)
        await handle.say(Said(message="Ahoy"))
        done = ear.of(ResponseDone)[0]
        degraded = [(one.hook, one.code, one.where) for one in done.degraded or ()]
        return model.shown, degraded, model.asked[-1].stable_chars
    finally:
        await house.service.stop(0)
        await house.pool.stop()


async def test_the_systems_part_is_as_the_plugin_words_it() -> None:
    told, degraded, stable = await shown("letter", {"letter": Letter()})
    persona = "Dear model,\n\nYou are Tom."
    assert told == [("system", persona), ("system", "P.S. It rains."), ("user", "Ahoy")]
    assert degraded == []
    assert stable == len(persona)


@pytest.mark.parametrize(
    ("layouts", "code"),
    [
        ({}, "plugin_not_found"),
        ({"letter": Breaks()}, "prompt_plugin_failed"),
        ({"letter": Endless()}, "prompt_plugin_invalid"),
        ({"letter": Nonsense()}, "prompt_plugin_invalid"),
    ],
    ids=["not-installed", "breaks", "endless", "nonsense"],
)
async def test_where_it_cannot_the_prompt_is_as_without_it_and_that_is_said(layouts: dict[str, Any], code: str) -> None:
    told, degraded, _ = await shown("letter", layouts)
    assert told == [("system", "You are Tom."), ("system", "It rains."), ("user", "Ahoy")]
    assert degraded == [("model", code, "letter")]
    assert "You are Tom." not in msgspec.json.encode(degraded).decode()

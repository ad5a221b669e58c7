"""A turn's tools at the gateway: what a model is offered, what becomes of its calls, and a pod that is not honest."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry
from tests.support.house import House, playing
from tests.support.rooms import ACME, DEFAULT_SEGMENTS, FakePod, revision_entry, serve, world

from rolehost import Role, State, Turn
from rolehost_api.crd.role import Persona, RoleTemplate
from rolehost_api.errors import Unavailable
from rolehost_api.link.messages import (
    Bound,
    CallModel,
    CallTool,
    Commit,
    Degraded,
    ModelResult,
    Say,
    StartTurn,
    ToolResult,
)
from rolehost_api.link.tools import MAX_TOOLS, ToolOutcome, ToolSpec
from rolehost_api.wire import ResponseCreated, ResponseDone, Said, Usage, UsedTool
from rolehost_runtime.core.record import TurnRecord
from rolehost_runtime.core.rerun import Same, Unchecked, rerun
from rolehost_runtime.gateway.ports import Called, ModelEnd, ModelRequest
from rolehost_runtime.gateway.sessions.metrics import PrometheusSink
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

PERMISSIONS = ("model.call", "memory.read", "memory.write", "tool:stars", "tool:broken", "tool:maps__*")


class Sky(State):
    looks: int = 0


def astronomer() -> Role[Sky]:
    sky = Role("sky", state=Sky)

    @sky.tool
    async def stars(t: Turn[Sky], city: str) -> str:
        """Stars over a city."""
        t.state.looks += 1
        return f"Vega over {city}"

    @sky.tool
    def broken(t: Turn[Sky]) -> str:
        """It fails."""
        raise RuntimeError("the secret of the logic")

    @sky.tool
    def moon(t: Turn[Sky]) -> str:
        """Nobody granted it."""
        return "full"

    return sky


class Maps:
    """Two tools of another server, and one that is no server's."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.gate: asyncio.Event | None = None

    async def offered(self, role: RoleEntry, revision: RevisionEntry) -> Sequence[ToolSpec]:
        return [
            ToolSpec(name=name, description="A way.") for name in ("maps__route", "maps__lost", "other__tool", "stars")
        ]

    async def call(self, role: RoleEntry, revision: RevisionEntry, name: str, arguments: str, key: str) -> str:
        self.asked.append((name, arguments, key))
        if self.gate is not None:
            await self.gate.wait()
        if name == "maps__lost":
            raise Unavailable("the secret of the server", code="down")
        return "left " * 20_000


@pytest.fixture
def maps() -> Maps:
    return Maps()


@pytest.fixture
async def house(maps: Maps) -> AsyncIterator[House]:
    made = House(world(ACME), toolbox=maps)
    made.slow_model()
    template = RoleTemplate(persona=Persona(system="You look up."), permissions=PERMISSIONS)
    revision = serve(made.tables, revision_entry(template=template))
    await made.pool.start()
    sky = astronomer()
    tools = tuple(one.spec for one in sky.tools.values())
    made.pod("p1", revision=revision.name, bound=Bound(hash=revision.spec.hash, tools=tools))
    made.dialer.pods["p1"].turn = playing(sky, permissions=PERMISSIONS)
    yield made
    await made.service.stop(0)
    await made.pool.stop()


def says(house: House, *items: str | ModelEnd) -> None:
    for item in items:
        house.slow.pieces.put_nowait(item)


def ends(*calls: Called, dropped: int = 0) -> ModelEnd:
    return ModelEnd("tool_calls" if calls else "stop", Usage(output_tokens=1), calls=calls, dropped=dropped)


def names(request: ModelRequest) -> list[str]:
    return [tool.name for tool in request.tools]


async def done(house: House, message: str = "hello") -> ResponseDone:
    handle, ear = await house.attach()
    await handle.say(Said(message=message))
    found: ResponseDone = ear.of(ResponseDone)[-1]
    return found


async def record(house: House) -> TurnRecord:
    (found,) = await house.log()
    assert isinstance(found, TurnRecord)
    return found


async def test_a_tool_of_the_logic_answers_and_all_rounds_are_one_reply(house: House) -> None:
    says(house, "I look. ", ends(Called("stars", '{"city": "Oslo"}')), "Vega", ends())
    end = await done(house)
    assert end.message == "I look. \n\nVega"
    assert end.tools == (UsedTool(name="stars", outcome="ok"),)
    first, second = house.slow.asked
    assert names(first) == ["broken", "maps__lost", "maps__route", "stars"], "only what is granted, by name"
    assert names(second) == names(first)
    assert [(one.role, one.content) for one in second.messages[-2:]] == [
        ("assistant", "I look."),
        ("tool", "Vega over Oslo"),
    ]
    assert second.messages[: len(first.messages)] == first.messages
    assert second.messages[-1].call_id == second.messages[-2].calls[0].id
    assert second.stable_chars == first.stable_chars
    kept = await record(house)
    assert kept.tools == end.tools
    assert [one.path for one in kept.patch] == ["/looks"]
    assert house.sink.tools == {("stars", "ok"): 1}


async def test_a_turn_with_tools_runs_again_from_its_record(house: House) -> None:
    says(
        house,
        ends(Called("stars", '{"city": "Oslo"}'), Called("maps__lost", "{}"), Called("broken", "")),
        "Vega",
        ends(),
    )
    await done(house)
    kept = await record(house)
    assert [one.kind for one in kept.journal] == ["call_model", "call_tool", "call_model"]
    assert list(rerun(astronomer(), "abc", [kept])) == [Same(1)]


async def test_what_a_record_does_not_hold_of_its_tools_is_said(house: House) -> None:
    """The arguments of an answer are kept up to 64 KiB of a turn; a tool was stopped by a clock, which is not there again."""
    large = Called("stars", '{"city": "' + "x" * 15_000 + '"}')
    says(house, *[ends(large, large)] * 3, "Vega", ends())
    await done(house)
    kept = await record(house)
    assert sum(len(call.arguments) for one in kept.journal for call in one.calls) < 65_536
    (verdict,) = rerun(astronomer(), "abc", [kept])
    assert isinstance(verdict, Unchecked)
    assert "kept as a digest only" in verdict.why


async def test_a_tool_that_a_clock_stopped_is_not_checked(house: House) -> None:
    says(house, ends(Called("stars", '{"city": "O"}')), "Vega", ends())
    await done(house)
    late = msgspec.structs.replace(await record(house), degraded=(Degraded("tool:stars", "tool_late"),), patch=())
    (verdict,) = rerun(astronomer(), "abc", [late])
    assert isinstance(verdict, Unchecked)


def test_names_that_pods_choose_are_labels_only_so_often() -> None:
    registry = CollectorRegistry()
    sink = PrometheusSink(registry)
    for number in range(1000):
        sink.tool_calls("acme", "cat", f"tool{number}", "ok", 1)
    sink.tool_calls("acme", "dog", "tool999", "ok", 2)
    (metric,) = [one for one in registry.collect() if one.name == "rolehost_tool_calls"]
    labels = {
        (one.labels["role"], one.labels["tool"]): one.value for one in metric.samples if one.name.endswith("_total")
    }
    assert len(labels) == MAX_TOOLS + 2
    assert labels["cat", "other"] == 1000 - MAX_TOOLS
    assert labels["dog", "tool999"] == 2


async def test_a_tool_of_another_server_is_called_for_the_pod(house: House, maps: Maps) -> None:
    says(house, ends(Called("maps__route", '{"to": "Oslo"}'), Called("maps__lost", "{}")), "Left.", ends())
    end = await done(house)
    assert end.tools == (UsedTool(name="maps__route", outcome="ok"), UsedTool(name="maps__lost", outcome="tool_failed"))
    told = house.slow.asked[-1].messages
    assert told[-2].content.endswith("… (cut)")
    assert len(told[-2].content.encode()) <= 32_768
    assert (told[-1].content, told[-1].error) == ("The tool failed.", "tool_failed")
    assert [(name, arguments) for name, arguments, _ in maps.asked] == [
        ("maps__route", '{"to": "Oslo"}'),
        ("maps__lost", "{}"),
    ]
    assert len({key for *_, key in maps.asked}) == 2
    assert [(one.hook, one.code) for one in end.degraded or ()] == [("tool:maps__lost", "tool_failed")]


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (Called("no_such", "{}"), ("other", "unknown_tool")),
        (Called("moon", "{}"), ("moon", "permission_denied")),
        (Called("other__tool", "{}"), ("other", "permission_denied")),
        (Called("ha ha\n" * 900, "{}"), ("other", "unknown_tool")),
        (Called("stars", '{"city": '), ("stars", "invalid_arguments")),
        (Called("stars", '{"city": 7}'), ("stars", "invalid_arguments")),
        (Called("stars", '{"city": "' + "x" * 20_000 + '"}'), ("stars", "arguments_too_large")),
        (Called("stars", "", too_large=True), ("stars", "arguments_too_large")),
        (Called("broken", "{}"), ("broken", "tool_failed")),
    ],
)
async def test_a_call_that_comes_to_nothing_is_counted_and_the_session_lives(
    house: House, call: Called, outcome: tuple[str, str]
) -> None:
    says(house, ends(call), "Sorry.", ends())
    handle, ear = await house.attach()
    await handle.say(Said(message="hello"))
    assert ear.of(ResponseDone)[-1].message == "Sorry."
    assert house.sink.tools == {outcome: 1}
    told = house.slow.asked[-1].messages[-1]
    assert told.error == outcome[1]
    assert "secret" not in told.content
    assert len(house.slow.asked[-1].messages[-2].calls[0].name) <= 64
    says(house, "Still here.", ends())
    await handle.say(Said(message="again"))
    assert ear.of(ResponseDone)[-1].message == "Still here."


async def test_a_thousand_calls_in_one_answer(house: House) -> None:
    says(house, ends(*[Called("stars", '{"city": "O"}')] * 16, dropped=984), "Enough.", ends())
    end = await done(house)
    assert len(house.slow.asked[-1].messages[-17].calls) == 16
    assert house.sink.tools == {("stars", "ok"): 16, ("other", "too_many_tool_calls"): 984}
    assert [(one.hook, one.code) for one in end.degraded or ()] == [("tool", "too_many_tool_calls")]


async def test_endless_rounds_of_tools(house: House) -> None:
    """After eight the model may call nothing; what it calls all the same is nothing."""
    says(house, *[ends(Called("stars", '{"city": "O"}'))] * 9)
    end = await done(house)
    assert [one.may_call for one in house.slow.asked] == [True] * 8 + [False]
    assert {tuple(names(one)) for one in house.slow.asked} == {("broken", "maps__lost", "maps__route", "stars")}
    assert house.sink.tools == {("stars", "ok"): 8, ("stars", "too_many_tool_rounds"): 1}
    assert [(one.hook, one.code) for one in end.degraded or ()] == [("tool", "too_many_tool_rounds")]


async def test_a_model_without_tools_is_told_of_none_and_that_is_said(house: House) -> None:
    says(house, "Hm.", replace(ends(), tools_left_out=True))
    end = await done(house)
    assert [(one.hook, one.code, one.where) for one in end.degraded or ()] == [("model", "tools_left_out", "default")]


async def test_an_interruption_ends_a_tool_of_another_server(house: House, maps: Maps) -> None:
    maps.gate = asyncio.Event()
    says(house, "I look.", ends(Called("maps__route", "{}")))
    handle, ear = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="hello")))
    await house.until(lambda: bool(maps.asked))
    await handle.cancel(ear.of(ResponseCreated)[-1].response_id, None)
    await turn
    end = ear.of(ResponseDone)[-1]
    assert (end.status, end.message) == ("cancelled", "I look.")


# ── a pod that is not honest ────────────────────────────────────────────────────────


def asking(*questions: CallModel) -> Callable[[FakePod, int, StartTurn], Any]:
    """A pod that asks these, and says what came of the last one."""

    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        error = ""
        for question in questions:
            pod.send(channel, question)
            result = await pod.answer(channel)
            assert isinstance(result, ModelResult)
            error = result.error
        pod.send(channel, Say(index=len(questions), text=error or "well"))
        pod.send(channel, Commit())

    return turn


FIRST = CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=False, tools=("*",))
FOREIGN_ID = ToolOutcome(id="c99999999")


@pytest.mark.parametrize(
    "second",
    [
        CallModel(index=1, segments=(), stream=False, continues=0, results=()),
        CallModel(index=1, segments=(), stream=False, continues=0, results=(FOREIGN_ID,)),
        CallModel(index=1, segments=(), stream=False, continues=1, results=(FOREIGN_ID,)),
        CallModel(index=1, segments=(), stream=False, continues=7, results=(FOREIGN_ID,)),
        CallModel(
            index=1, segments=DEFAULT_SEGMENTS, stream=False, continues=0, results=(ToolOutcome(id="c00000000"),)
        ),
    ],
)
async def test_a_pod_goes_on_only_from_what_it_was_answered(house: House, second: CallModel) -> None:
    house.dialer.pods["p1"].turn = asking(FIRST, second)
    says(house, ends(Called("stars", '{"city": "O"}')))
    assert (await done(house)).message == "invalid_prompt"
    assert len(house.slow.asked) == 1


async def test_a_pod_offers_only_what_is_granted(house: House) -> None:
    house.dialer.pods["p1"].turn = asking(
        CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=False, tools=("moon", "stars"))
    )
    says(house, "Hi.", ends())
    await done(house)
    assert names(house.slow.asked[0]) == ["stars"]


async def test_a_model_calls_only_what_it_was_offered(house: House) -> None:
    first = CallModel(index=0, segments=DEFAULT_SEGMENTS, stream=False, tools=("broken",))
    calls: list[Any] = []

    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, first)
        result = await pod.answer(channel)
        assert isinstance(result, ModelResult)
        calls.extend(result.calls)
        pod.send(channel, Commit())

    house.dialer.pods["p1"].turn = turn
    says(house, ends(Called("broken", "{}"), Called("stars", '{"city": "O"}'), Called("maps__route", "{}")))
    await done(house)
    assert [(one.name, one.error) for one in calls] == [
        ("broken", ""),
        ("stars", "permission_denied"),
        ("maps__route", "permission_denied"),
    ]


async def test_a_pod_calls_only_what_is_granted(house: House, maps: Maps) -> None:
    async def turn(pod: FakePod, channel: int, start: StartTurn) -> None:
        errors = []
        for index, name in enumerate(("other__tool", "stars", "no__such", "maps__route")):
            pod.send(channel, CallTool(index=index, name=name, arguments="{" if name == "maps__route" else "{}"))
            result = await pod.answer(channel)
            assert isinstance(result, ToolResult)
            errors.append(result.error)
        pod.send(channel, Say(index=4, text=" ".join(errors)))
        pod.send(channel, Commit())

    house.dialer.pods["p1"].turn = turn
    assert (await done(house)).message == "permission_denied unknown_tool unknown_tool invalid_arguments"
    assert not maps.asked

"""Turns in one process leave traces that say where their time went, and nothing that anybody said."""

import asyncio
import io
import json
import logging
import time
from collections.abc import AsyncIterator

import pytest
from tests.support.house import House
from tests.support.otlp import Kept
from tests.support.rooms import ACME, CAT_1, FakePod, world

from rolehost_api import jsonlog
from rolehost_api.errors import RolehostError, Unavailable
from rolehost_api.identity import session_of
from rolehost_api.link.messages import StartTurn, TurnFailed
from rolehost_api.wire import ResponseDone, Said, Usage
from rolehost_runtime.gateway.ports import ModelEnd, NoToolbox
from rolehost_runtime.gateway.sessions.toolwork import Toolwork
from rolehost_runtime.gateway.tracing import spans
from rolehost_runtime.gateway.tracing.context import PARENT, parse
from rolehost_runtime.gateway.tracing.spans import Kind, Span
from rolehost_runtime.gateway.tracing.tracer import Tracer
from rolehost_runtime.gateway.tracing.turn import TurnTrace

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
async def kept() -> Kept:
    return Kept()


@pytest.fixture
async def house(kept: Kept) -> AsyncIterator[House]:
    built = House(world(ACME), tracer=Tracer(kept))
    await built.pool.start()
    yield built
    await built.service.stop(0)
    await built.pool.stop()


def told(kept: Kept) -> list[Span]:
    """The newest turn's spans."""
    return kept.traces[-1].told(1_730_000_000_000_000_000, time.monotonic())


async def test_a_turn_is_one_trace_of_what_it_waited_for(house: House, kept: Kept) -> None:
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="a secret word"))
    found = [span for span in told(kept) if span.name != "queue"]  # whether it waited is this machine's affair
    assert [(span.name, span.kind) for span in found] == [
        ("turn", Kind.SERVER),
        ("session.load", Kind.INTERNAL),
        ("route", Kind.INTERNAL),
        ("hooks", Kind.INTERNAL),
        ("model.call", Kind.CLIENT),
        ("hooks", Kind.INTERNAL),
        ("commit", Kind.INTERNAL),
    ]
    root = found[0]
    assert {span.trace_id for span in found} == {root.trace_id}
    assert {span.parent_id for span in found[1:]} == {root.span_id}
    assert len({span.span_id for span in found}) == len(found)
    assert all(root.start_ns <= span.start_ns <= span.end_ns <= root.end_ns for span in found)
    (key,) = house.store.shelf.logs
    assert dict(root.attributes) | {spans.TTFT_MS: 0} == {
        spans.TENANT: "acme", spans.ROLE: "cat", spans.REVISION: CAT_1, spans.TURN: 1, spans.OUTCOME: "completed",
        spans.CONVERSATION: session_of(key), spans.TTFT_MS: 0,
    }  # fmt: skip
    (done,) = ear.of(ResponseDone)
    assert done.trace_id == root.trace_id.hex()


async def test_a_model_call_speaks_the_words_of_the_conventions(house: House, kept: Kept) -> None:
    house.pod("p1")
    model = house.slow_model()
    handle, _ = await house.attach()
    turn = asyncio.create_task(handle.say(Said(message="hi")))
    model.pieces.put_nowait("Hello.")
    model.pieces.put_nowait(ModelEnd("stop", Usage(input_tokens=9, output_tokens=7, cached_tokens=4)))
    await turn
    (call,) = [span for span in told(kept) if span.name == "model.call"]
    found = dict(call.attributes)
    assert found.pop(spans.FIRST_CHUNK_MS) >= 0  # type: ignore[operator]
    assert found == {
        "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "",
        "gen_ai.response.model": "", "gen_ai.usage.input_tokens": 9, "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 4, "gen_ai.response.finish_reasons": ("stop",),
        "rolehost.backend": "default", "server.address": "model", "server.port": 80,
    }  # fmt: skip


async def test_nothing_that_was_said_is_in_a_trace_unless_it_was_asked_for(kept: Kept) -> None:
    for capture in (False, True):
        house = House(world(ACME), tracer=Tracer(kept, capture=capture))
        await house.pool.start()
        house.pod("p1")
        handle, _ = await house.attach("the-clients-word")
        await handle.say(Said(message="zebra"))
        found = repr(told(kept))
        assert ("zebra" in found) is capture
        assert ("You are a cat" in found) is capture
        assert "the-clients-word" not in found
        assert {key for span in told(kept) for key, _ in span.attributes} <= spans.ALLOWED | (
            spans.CONTENT if capture else frozenset()
        )
        await house.service.stop(0)
        await house.pool.stop()


async def test_a_turn_that_fails_says_its_code_where_it_failed_and_as_a_whole(house: House, kept: Kept) -> None:
    async def gives_up(pod: FakePod, channel: int, start: StartTurn) -> None:
        pod.send(channel, TurnFailed(code="the user said zebra"))

    house.pod("p1", turn=gives_up)
    handle, ear = await house.attach()
    with pytest.raises(RolehostError):
        await handle.say(Said(message="hi"))
    root = told(kept)[0]
    assert (root.error, dict(root.attributes)[spans.CODE]) == ("logic_error", "logic_error")
    assert "zebra" not in repr(told(kept))
    assert ear.of(ResponseDone)[0].trace_id == root.trace_id.hex()


async def test_a_commit_that_fails_is_named(house: House, kept: Kept) -> None:
    house.pod("p1")
    handle, _ = await house.attach()
    house.store.dead = True
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hi"))
    (commit,) = [span for span in told(kept) if span.name == "commit"]
    assert commit.error == "state_unavailable"


async def test_of_turns_that_are_left_out_those_that_fail_are_told(kept: Kept) -> None:
    house = House(world(ACME), tracer=Tracer(kept, ratio=0.0, slow_seconds=60))
    await house.pool.start()
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="hi"))
    assert (kept.traces, ear.of(ResponseDone)[0].trace_id) == ([], "")
    house.store.dead = True
    with pytest.raises(Unavailable):
        await handle.say(Said(message="hi"))
    assert len(kept.traces) == 1
    await house.service.stop(0)
    await house.pool.stop()


@pytest.mark.parametrize("trusts", [True, False])
async def test_a_clients_trace_goes_on_where_it_is_trusted(kept: Kept, trusts: bool) -> None:
    house = House(world(ACME), tracer=Tracer(kept, trusts=trusts))
    await house.pool.start()
    house.pod("p1")
    handle, _ = await house.attach()
    within = PARENT.set(parse(TRACEPARENT))
    try:
        await handle.say(Said(message="hi"))
    finally:
        PARENT.reset(within)
    root = told(kept)[0]
    assert (root.trace_id.hex() in TRACEPARENT) is trusts
    assert root.parent_id.hex() == ("00f067aa0ba902b7" if trusts else "")
    await house.service.stop(0)
    await house.pool.stop()


async def test_what_is_logged_in_a_turn_names_its_trace(house: House, kept: Kept) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(jsonlog.JsonLines())
    log = logging.getLogger("tests.tracing")
    log.addHandler(handler)

    class Loud:
        async def stream(self, backend: object, request: object) -> AsyncIterator[str | ModelEnd]:
            log.warning("während 一 turn")
            yield ModelEnd("stop", Usage())

    try:
        house.service._world.models._providers.update(dict.fromkeys(house.service._world.models._providers, Loud()))  # type: ignore[attr-defined]
        house.pod("p1")
        handle, _ = await house.attach()
        await handle.say(Said(message="hi"))
        log.warning("outside")
    finally:
        log.removeHandler(handler)
    inside, outside = map(json.loads, out.getvalue().splitlines())
    root = told(kept)[0]
    assert (inside["trace_id"], inside["span_id"]) == (root.trace_id.hex(), root.span_id.hex())
    assert "während 一 turn" in out.getvalue()
    assert "trace_id" not in outside


async def test_who_traces_nothing_notes_nothing() -> None:
    house = House(world(ACME))
    await house.pool.start()
    house.pod("p1")
    handle, ear = await house.attach()
    await handle.say(Said(message="hi"))
    assert ear.of(ResponseDone)[0].trace_id == ""
    await house.service.stop(0)
    await house.pool.stop()


async def test_tools_and_servers_outside_are_named_as_the_platform_knows_them() -> None:
    trace = TurnTrace()
    trace.tool(1.0, 2.0, "weather__today", "")
    trace.fetched(2.0, 3.0, "https://zebra.weather.org/?q=zebra", ["http:*.weather.org"], "http_timeout")
    trace.fetched(3.0, 4.0, "https://zebra.org/zebra", [], "http_denied")
    trace.ended = (0.0, 5.0, (), "")
    _, tool, granted, denied = trace.told(10**18, 0.0)
    assert (tool.name, tool.kind, dict(tool.attributes)) == (
        "tool.call", Kind.CLIENT, {spans.OPERATION: "execute_tool", spans.TOOL_NAME: "weather__today"},
    )  # fmt: skip
    assert dict(granted.attributes) == {spans.ADDRESS: "*.weather.org", spans.CODE: "http_timeout"}
    assert (granted.error, dict(denied.attributes)) == ("http_timeout", {spans.CODE: "http_denied"})
    assert "zebra" not in repr((tool, granted, denied))


async def test_a_pods_own_word_for_a_tool_is_no_word_of_a_trace(house: House) -> None:
    role = house.tables.roles.get("acme", "cat")
    assert role is not None
    revision = house.tables.revisions.get("acme", role.stable)
    assert revision is not None
    work = Toolwork(NoToolbox(), role, revision, "k", house.sink, lambda code, tool: None)
    work._declared = frozenset({"the_user_said_zebra"})
    assert work.named("the_user_said_zebra") == "other"


async def test_a_pod_that_speaks_piece_by_piece_is_waited_for_once() -> None:
    trace = TurnTrace()
    for number in range(200):
        trace.hooks(number, number + 1)
    trace.step("recall", 200, 201)
    trace.hooks(201, 202, "pod_lost")
    trace.hooks(202, 203)
    assert [(step[0], step[2], step[3], step[5]) for step in trace.steps] == [
        ("hooks", 0, 200, ""), ("recall", 200, 201, ""), ("hooks", 201, 202, "pod_lost"), ("hooks", 202, 203, ""),
    ]  # fmt: skip

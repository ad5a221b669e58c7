"""gRPC over a real port with a real client, made of the published file: talking, coming back, being refused, moving."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.support.pacing import STORY, WORDS, Paced
from tests.support.rooms import ACME, EVIL
from tests.support.rpc import Client, ClientEvent, bare, client, ending, opened, said
from tests.support.talking import KEYS, Talkers
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from rolehost_api.identity import key_hash
from rolehost_api.wire import MAX_FRAME_BYTES, SUBPROTOCOL
from rolehost_runtime.gateway.edge import outbox
from rolehost_runtime.gateway.edge.grpc import call, codec, converse
from rolehost_runtime.gateway.tables import KeyEntry, Scope

KEY = KEYS[ACME]


@pytest.fixture
async def model() -> Paced:
    return Paced()


@pytest.fixture
async def house(model: Paced) -> AsyncIterator[Talkers]:
    async with Talkers(model=model, grpc=True) as running:
        yield running


@pytest.fixture
async def acme(house: Talkers) -> AsyncIterator[Client]:
    async with client(house.grpc.port, KEY) as made:
        yield made


async def until(true: Any) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


# ── talking ─────────────────────────────────────────────────────────────────────────


async def test_a_message_is_answered_as_it_happens_and_then_the_call_ends_well(acme: Client, model: Paced) -> None:
    talking = acme.converse(opened(session_id="s"), said("hi", client_msg_id="c1"))
    model.allow(1)
    assert (await talking.until("response.output_text.delta"))["delta"] == WORDS[0]
    model.allow()
    events = await talking.rest()
    assert [event["type"] for event in events] == [
        "session.created", "response.created", *["response.output_text.delta"] * len(WORDS), "role.state.delta",
        "response.done",
    ]  # fmt: skip
    assert [event.get("seq") for event in events[-3:]] == [None, 1, 2]
    assert (events[-1]["message"], events[-1]["client_msg_id"]) == (STORY, "c1")
    assert await talking.ending() == ("OK", "")


async def test_a_stream_is_talked_on_for_long_and_a_session_needs_no_name(acme: Client, model: Paced) -> None:
    talking = acme.converse()
    await talking.send(opened(), said("hi"))
    model.allow()
    first = await talking.until("response.done")
    await talking.send(said("again"), ClientEvent(ping={"t": 17}))
    assert (await talking.until("pong"))["t"] == 17
    model.allow()
    second = await talking.until("response.done")
    assert first["session_id"] == second["session_id"]
    assert (first["seq"], second["seq"]) == (2, 4)
    await talking.call.done_writing()
    assert (await talking.rest(), await talking.ending()) == (talking.events, ("OK", ""))


async def test_who_comes_back_is_told_what_it_missed(acme: Client, house: Talkers, model: Paced) -> None:
    model.allow(3 * len(WORDS))
    await house.say("s", "one", "two", "three")
    talking = acme.converse(opened(session_id="s", after_seq=2))
    events = await talking.rest()
    assert [event["type"] for event in events][:2] == ["session.created", "session.resumed"]
    assert [event["seq"] for event in events if "seq" in event] == [3, 4, 5, 6]
    assert [event["replay"] for event in events if event["type"] == "response.done"] == [True, True]
    again = acme.converse(opened(), ClientEvent(session_resume={"session_id": "s", "after_seq": 5}))
    assert [event["seq"] for event in await again.rest() if "seq" in event] == [6]


async def test_two_sessions_on_one_stream_do_not_wait_for_each_other(acme: Client, model: Paced) -> None:
    talking = acme.converse()
    await talking.send(opened(), said("hi", session_id="a"), said("hi", session_id="b"))
    started = {(await talking.until("response.created"))["session_id"] for _ in range(2)}
    model.allow(2 * len(WORDS))
    ended = [await talking.until("response.done") for _ in range(2)]
    assert started == {event["session_id"] for event in ended} == {"a", "b"}
    assert [event["seq"] for event in ended] == [2, 2]
    talking.call.cancel()


async def test_without_streaming_only_the_end_is_told(acme: Client, model: Paced) -> None:
    model.allow()
    talking = acme.converse(opened(session_id="s", stream=False), said("hi"))
    assert [event["type"] for event in await talking.rest()] == ["response.done"]


async def test_what_is_wrong_with_an_event_is_told_and_the_stream_goes_on(acme: Client, model: Paced) -> None:
    talking = acme.converse()
    wrong: list[tuple[Any, str]] = [
        (b"\xff\xff\xff", "malformed_protobuf"),
        (b"\x12\x04\x0a\x02\xc3\x28", "malformed_protobuf"),  # not UTF-8
        (ClientEvent(), "unknown_type"),
        (b"\xf2\x3f\x02\x08\x01", "unknown_type"),  # field 1022: a frame of tomorrow's
        (opened("other"), "already_open"),
        (said("hi", deadline_ms=0), "invalid_frame"),
        (said("hi", session_id="\n"), "invalid_session_id"),
        (said("x" * 32_769), "invalid_frame"),
    ]
    await talking.send(opened())
    for event, code in wrong:
        await talking.send(event)
        told = await talking.until("error")
        assert told["error"]["code"] == code, event
        assert "seq" not in told
    model.allow()
    # An unknown field beside known ones is ignored.
    await talking.send(said("hi", session_id="s").SerializeToString() + b"\xfa\x3f\x03abc")
    assert (await talking.until("response.done"))["message"] == STORY
    talking.call.cancel()


# ── one log, whatever carries it ────────────────────────────────────────────────────


async def test_a_socket_and_a_call_hear_the_same(acme: Client, house: Talkers, model: Paced) -> None:
    """Live, and from the log: frame by frame, field by field."""
    headers = {"Authorization": f"Bearer {KEY}"}
    async with connect(
        f"{house.ws}/role/cat?session_id=s", additional_headers=headers, subprotocols=[Subprotocol(SUBPROTOCOL)]
    ) as socket:
        created = json.loads(await socket.recv())
        talking = acme.converse()
        await talking.send(opened(session_id="s"))
        assert await talking.next() == bare(created)
        talking.events.clear()

        async def both(upto: int) -> tuple[list[Any], list[Any]]:
            heard: list[Any] = []
            while not heard or heard[-1].get("seq") != upto:
                heard.append(bare(json.loads(await socket.recv())))
            while not talking.events or talking.events[-1].get("seq") != upto:
                await talking.next()
            events, talking.events = talking.events, []
            return heard, events

        for turn in (1, 2):
            model.allow()
            await house.say("s", "hi", client_msg_id=f"c{turn}")
            heard, events = await both(2 * turn)
            assert events == heard
            assert {event["type"] for event in events} >= {"response.output_text.delta", "role.state.delta"}
        await socket.send(json.dumps({"type": "session.resume", "session_id": "s", "after_seq": 0}))
        await talking.send(ClientEvent(session_resume={"session_id": "s"}))
        heard, events = await both(4)
        assert events == heard
        assert [event["seq"] for event in events if "seq" in event] == [1, 2, 3, 4]
        talking.call.cancel()


# ── who calls ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("metadata", "role", "told"),
    [
        pytest.param([], "cat", ("UNAUTHENTICATED", "unauthorized"), id="no-key"),
        pytest.param([("authorization", "Bearer nonsense")], "cat", ("UNAUTHENTICATED", "unauthorized"), id="bad-key"),
        pytest.param([("authorization", "Basic eA==")], "cat", ("UNAUTHENTICATED", "unauthorized"), id="no-bearer"),
        pytest.param([("sec-websocket-protocol", f"bearer.{KEY}")], "cat", ("UNAUTHENTICATED", "unauthorized"), id="as-a-browser"),
        pytest.param([("x-api-key", KEY), ("x-user-id", "admin")], "cat", ("UNAUTHENTICATED", "unauthorized"), id="elsewhere"),
        pytest.param([("authorization", "Bearer rh_4_push")], "cat", ("PERMISSION_DENIED", "forbidden"), id="no-scope"),
        pytest.param(None, "nobody", ("NOT_FOUND", "role_not_found"), id="no-role"),
        pytest.param(None, "evil/cat", ("NOT_FOUND", "role_not_found"), id="anothers-role"),
        pytest.param(None, "a/b/c", ("INVALID_ARGUMENT", "invalid_role_name"), id="no-address"),
    ],
)  # fmt: skip
async def test_a_call_that_may_not_be_has_a_status_and_our_code(
    acme: Client, house: Talkers, metadata: Any, role: str, told: tuple[str, str]
) -> None:
    push = KeyEntry("4", key_hash("rh_4_push"), ACME, frozenset({Scope.PUSH}))
    house.tables.keys.put((push.sha256,), push)
    talking = acme.converse(metadata=metadata)
    if metadata is None:  # else there is nothing to wait for: this client would fail its own write
        await talking.send(opened(role, session_id="s"))
    assert await talking.rest() == []
    assert await talking.ending() == told
    await until(lambda: house.hub.sockets == house.hub.connections == 0)


async def test_only_the_key_says_who_it_is(house: Talkers, acme: Client, model: Paced) -> None:
    model.allow(2 * len(WORDS))
    await house.say("s", "hi")
    async with client(house.grpc.port, KEYS[EVIL]) as evil:
        smuggled = [("authorization", f"Bearer {KEYS[EVIL]}"), ("x-user-id", "u"), ("x-tenant", "acme")]
        talking = evil.converse(opened(session_id="s", after_seq=0), metadata=smuggled)
        assert [event["type"] for event in await talking.rest()] == ["session.created", "session.resumed"]
        assert await ending(evil.watch("t")) == ("NOT_FOUND", "session_not_found")


async def test_the_first_event_names_the_role(acme: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await acme.converse(said("hi")).ending() == ("INVALID_ARGUMENT", "open_expected")
    assert await acme.converse(b"\xff").ending() == ("INVALID_ARGUMENT", "malformed_protobuf")
    empty = acme.converse()
    await empty.call.done_writing()
    assert await empty.ending() == ("INVALID_ARGUMENT", "open_expected")
    monkeypatch.setattr(converse, "OPEN_SECONDS", 0.05)
    assert await acme.converse().ending() == ("DEADLINE_EXCEEDED", "open_timeout")


async def test_a_key_that_is_revoked_ends_its_calls(house: Talkers, acme: Client, model: Paced) -> None:
    model.allow()
    await house.say("s", "hi")
    talking, watching = acme.converse(), acme.watch("s")
    await talking.send(opened(session_id="s"))
    await talking.until("session.created")
    await changes(watching, 1)
    house.tables.keys.drop((key_hash(KEY),))
    assert (await talking.until("error"))["error"]["code"] == "key_revoked"
    assert await talking.ending() == ("UNAUTHENTICATED", "key_revoked")
    assert await ending(watching) == ("UNAUTHENTICATED", "key_revoked")


async def test_a_key_that_is_revoked_while_a_call_begins_is_none(house: Talkers, acme: Client) -> None:
    """Between the metadata and the first event there may be seconds."""
    talking = acme.converse()
    await until(lambda: house.hub.connections == 1)
    house.tables.keys.drop((key_hash(KEY),))
    await talking.send(opened(session_id="s"))
    assert (await talking.rest(), await talking.ending()) == ([], ("UNAUTHENTICATED", "unauthorized"))


async def test_a_bug_of_ours_tells_nothing_of_itself(
    house: Talkers, acme: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError("what somebody said")

    monkeypatch.setattr("rolehost_runtime.gateway.edge.grpc.server.converse", broken)
    talking = acme.converse(opened())
    assert await talking.ending() == ("INTERNAL", "internal")
    details = await talking.call.details()
    assert "somebody" not in details
    assert "Traceback" not in details
    assert "ValueError" not in details


@pytest.mark.parametrize("function", ["read_frame", "_fill"])
async def test_a_bug_in_the_middle_of_a_call_ends_it(
    acme: Client, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """It is not left open with nobody who hears, or says, anything."""

    def broken(*_: Any) -> None:
        raise ValueError("what somebody said")

    talking = acme.converse()
    await talking.send(opened(session_id="s"))
    await talking.until("session.created")
    monkeypatch.setattr(codec, function, broken)
    await talking.send(ClientEvent(ping={"t": 1}))
    await talking.rest()
    assert await talking.ending() == ("INTERNAL", "internal")
    assert "somebody" not in await talking.call.details()


# ── the state ───────────────────────────────────────────────────────────────────────


async def changes(watching: Any, count: int) -> list[tuple[int, Any]]:
    async with asyncio.timeout(10):
        updates = [await watching.read() for _ in range(count)]
    return [(update.version, json.loads(update.patch)) for update in updates]


ONE_MORE = [{"op": "incr", "path": "/turns", "value": 1}]


async def test_a_state_is_told_whole_and_then_as_it_changes(house: Talkers, acme: Client, model: Paced) -> None:
    model.allow(3 * len(WORDS))
    await house.say("s", "one")
    watching = acme.watch("s")
    assert await changes(watching, 1) == [(1, [{"op": "replace", "path": "", "value": {"turns": 1}}])]
    await house.say("s", "two", "three")
    assert await changes(watching, 2) == [(2, ONE_MORE), (3, ONE_MORE)]
    watching.cancel()
    await until(lambda: house.hub.sockets == 0)


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_who_has_a_version_is_told_what_came_after_it(
    house: Talkers, acme: Client, model: Paced, after: int
) -> None:
    model.allow(4 * len(WORDS))
    await house.say("s", "1", "2", "3")
    watching = acme.watch("s", after)
    seen = await changes(watching, 3 - after)
    await house.say("s", "4")
    assert [*seen, *await changes(watching, 1)] == [(version, ONE_MORE) for version in range(after + 1, 5)]
    watching.cancel()


@pytest.mark.parametrize("after", [0, 99])
async def test_who_has_a_version_too_old_or_lost_is_told_the_whole(
    house: Talkers, acme: Client, model: Paced, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.edge.grpc.watch.RECENT_EVENTS", 2)
    model.allow(3 * len(WORDS))
    await house.say("s", "1", "2", "3")
    watching = acme.watch("s", after)
    assert await changes(watching, 1) == [(3, [{"op": "replace", "path": "", "value": {"turns": 3}}])]
    watching.cancel()


async def test_watching_makes_no_session(acme: Client, house: Talkers) -> None:
    assert await ending(acme.watch("nowhere")) == ("NOT_FOUND", "session_not_found")
    assert house.store.shelf.logs == {}


# ── going and staying ───────────────────────────────────────────────────────────────


async def test_a_call_that_is_cancelled_does_not_cancel_its_turn(acme: Client, house: Talkers, model: Paced) -> None:
    talking = acme.converse(opened(session_id="s"), said("hi"))
    model.allow(2)
    await talking.until("response.output_text.delta")
    talking.call.cancel()
    await until(lambda: house.hub.sockets == 0)
    model.allow()
    await until(lambda: house.store.shelf.logs)
    again = acme.converse(opened(session_id="s", after_seq=0))
    assert [event["message"] for event in await again.rest() if event["type"] == "response.done"] == [STORY]


async def test_a_deadline_ends_the_call_and_not_the_turn(acme: Client, house: Talkers, model: Paced) -> None:
    talking = acme.converse(opened(session_id="s"), said("hi"), timeout=0.3)
    assert await talking.ending() == ("DEADLINE_EXCEEDED", "")
    await until(lambda: house.hub.connections == 0)
    model.allow()
    await until(lambda: house.store.shelf.logs)


async def test_clients_are_asked_to_move_before_the_gateway_goes(acme: Client, house: Talkers, model: Paced) -> None:
    """One that is in a turn hears it to its end first."""
    idle, busy = acme.converse(), acme.converse(opened(session_id="busy"), said("hi"))
    await idle.send(opened(session_id="idle"))
    await idle.until("session.created")
    await busy.until("response.created")
    house.grpc.stop_accepting(20)
    draining = asyncio.ensure_future(house.hub.drain(0, 20))
    assert (await idle.until("session.migrate"))["reason"] == "drain"
    assert await idle.ending() == ("UNAVAILABLE", "draining")
    model.allow()
    events = await busy.rest()
    assert [event["type"] for event in events][-2:] == ["response.done", "session.migrate"]
    assert await busy.ending() == ("UNAVAILABLE", "draining")
    await draining


async def test_a_state_that_is_followed_moves_too(acme: Client, house: Talkers, model: Paced) -> None:
    model.allow()
    await house.say("s", "hi")
    watching = acme.watch("s")
    await changes(watching, 1)
    await house.hub.drain(0, 1)
    assert await ending(watching) == ("UNAVAILABLE", "draining")


async def test_who_comes_while_it_goes_is_sent_on(acme: Client, house: Talkers) -> None:
    house.hub.draining = True
    assert await acme.converse(opened()).ending() == ("UNAVAILABLE", "draining")
    assert await ending(acme.watch("s")) == ("UNAVAILABLE", "draining")


async def test_a_gateway_that_is_full_says_so(acme: Client, house: Talkers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(house.grpc, "_full", lambda: True)
    assert await acme.converse(opened()).ending() == ("UNAVAILABLE", "overloaded")


# ── bounds ──────────────────────────────────────────────────────────────────────────


async def test_who_does_not_read_is_let_go_of_and_its_turn_is_kept(
    house: Talkers, model: Paced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status comes behind what was sent, whenever it is read."""
    monkeypatch.setattr(outbox, "MAX_HELD_BYTES", 1 << 18)
    monkeypatch.setattr(outbox, "ROOM_SECONDS", 0.3)
    monkeypatch.setattr(call, "PAUSE_BYTES", 1 << 14)
    model.words = ["x" * 8_000] * 30
    small = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
    async with client(house.grpc.port, KEY, small) as slow:
        talking = slow.converse()
        await talking.send(opened(session_id="s"), said("hi"))
        await talking.until("response.created")
        while house.hub.sockets:
            model.allow(1)
            await asyncio.sleep(0.005)
        model.allow(len(model.words))
        assert house.hub.connections == 1, "it is counted until it is gone"
        await until(lambda: house.store.shelf.logs)
        await talking.rest()
        assert await talking.ending() == ("RESOURCE_EXHAUSTED", "slow_client")
    await until(lambda: house.hub.connections == 0)


async def test_who_does_not_read_does_not_hold_up_the_end(model: Paced, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last message is still in flight, and its status behind it, when the gateway goes."""
    monkeypatch.setattr(call, "WRITE_SECONDS", 0.1)
    model.words = ["x" * 200_000]
    model.allow()
    small = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
    async with AsyncExitStack() as held:
        async with asyncio.timeout(20), Talkers(model=model, grpc=True) as house:
            slow = await held.enter_async_context(client(house.grpc.port, KEY, small))
            talking = slow.converse()
            await talking.send(opened(session_id="s"), said("hi"))
            await until(lambda: house.grpc._flights.bytes_of(ACME.uid) > 200_000 and house.hub.sockets == 0)
        assert house.grpc._flights.bytes_of(ACME.uid) == 0


async def test_who_takes_too_long_for_one_message_is_let_go_of(
    house: Talkers, model: Paced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "WRITE_SECONDS", 0.2)
    model.words = ["x" * 8_000] * 20
    small = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
    async with client(house.grpc.port, KEY, small) as slow:
        talking = slow.converse()
        await talking.send(opened(session_id="s"), said("hi"))
        await talking.until("response.created")
        model.allow(len(model.words))
        await until(lambda: house.hub.sockets == 0)
        talking.call.cancel()
    await until(lambda: house.hub.connections == 0)


async def test_who_does_not_read_takes_the_room_of_its_own_tenant_only(
    house: Talkers, model: Paced, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits in the library for clients that do not read is bounded; others wait for it, and have it when they go."""
    monkeypatch.setattr(house.grpc._flights, "_most", 100_000)
    model.words = ["x" * 60_000]
    model.allow()
    await house.say("s", "hi")
    small = [("grpc.http2.lookahead_bytes", 1 << 16), ("grpc.http2.bdp_probe", 0)]
    async with client(house.grpc.port, KEY) as acme, client(house.grpc.port, KEYS[EVIL]) as evil:
        async with client(house.grpc.port, KEY, small) as slow:
            for _ in range(3):
                stuck = slow.converse()
                await stuck.send(opened(session_id="s"), *[ClientEvent(session_resume={"session_id": "s"})] * 4)
            await until(lambda: house.grpc._flights.bytes_of(ACME.uid) > 50_000)
            waits = acme.converse(opened(session_id="s", after_seq=0))
            model.allow()
            assert (await evil.converse(opened(), said("hi")).rest())[-1]["status"] == "completed"
            assert house.grpc._flights.bytes_of(ACME.uid) <= 100_000
        assert (await waits.rest())[-1]["message"] == "x" * 60_000
    await until(lambda: house.grpc._flights.bytes_of(ACME.uid) == house.grpc._flights.bytes_of(EVIL.uid) == 0)


async def test_a_message_that_is_too_large_ends_its_call_only(acme: Client, house: Talkers, model: Paced) -> None:
    quiet, loud = acme.converse(), acme.converse()
    await quiet.send(opened(session_id="s"))
    await loud.send(opened(session_id="t"), said("hi"))
    await loud.until("response.created")
    await loud.send(b"\0" * (MAX_FRAME_BYTES + 1))
    assert (await loud.ending())[0] == "RESOURCE_EXHAUSTED"
    await until(lambda: house.hub.sockets == 1)
    model.allow(2 * len(WORDS))
    await until(lambda: house.store.shelf.logs)
    await quiet.send(said("hi"))
    assert (await quiet.until("response.done"))["message"] == STORY
    quiet.call.cancel()

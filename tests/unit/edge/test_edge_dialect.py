"""One socket's conversation without a socket: what is held for a slow client, whose turn it is, what is let go of."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.edge import ACME, NOW_MS, EchoSessions, done, tables_with_storyteller

from rolehost_api import wire
from rolehost_api.errors import Unavailable
from rolehost_runtime.core.heartbeat import bounded
from rolehost_runtime.gateway.edge.dialect import MAX_PENDING, MAX_SESSIONS, Conversation, Gate
from rolehost_runtime.gateway.edge.handshake import Address, Dialect, Opening
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Principal


class Wire:
    """Implements dialect.Paced."""

    def __init__(self) -> None:
        self.paused = False
        self.urgent = False
        self.sent: list[dict[str, Any]] = []
        self.closed: int | None = None

    def send(self, event: wire.ServerFrame) -> None:
        self.sent.append(json.loads(wire.encode(event)))

    def close(self, code: int, reason: str = "") -> None:
        self.closed = code

    def hurry(self, urgent: bool) -> None:
        self.urgent = urgent

    def pace(self, heartbeat_ms: int) -> int:
        return bounded(heartbeat_ms)

    def types(self) -> list[str]:
        return [event["type"] for event in self.sent]

    def errors(self) -> list[str]:
        return [event["error"]["code"] for event in self.sent if event["type"] == "error"]


class Talk:
    def __init__(self, who: Principal | None = None, **opening: Any) -> None:
        who = who or Principal(ACME, "svc:uid-acme", frozenset())
        tables = tables_with_storyteller()
        self.wire, self.sessions, self.hub = Wire(), EchoSessions(), Hub(tables.keys)
        gate = Gate(tables=tables, sessions=self.sessions, hub=self.hub, metrics=Metrics(), now_ms=lambda: NOW_MS)
        asked = Opening(Address("storyteller"), **({"dialect": Dialect.ROLE_V1} | opening))
        self.conversation = Conversation(gate, self.wire, who, asked)
        self.conversation.start()

    def say(self, message: str, **more: Any) -> None:
        self.conversation.on_text(json.dumps({"message": message, **more}).encode())

    async def quiet(self) -> None:
        """Until nothing runs."""
        while self.hub._work:
            await asyncio.wait(tuple(self.hub._work))


def delta(text: str, offset: int, response: str = "r1") -> wire.TextDelta:
    return wire.TextDelta(session_id="s", seq=None, ts=NOW_MS, response_id=response, offset=offset, delta=text)


async def test_neighbouring_deltas_for_a_slow_client_become_one() -> None:
    talk = Talk()
    talk.wire.paused = True
    for event in (delta("从", 0), delta("前", 1), delta("x", 0, "r2"), delta("，", 2), done("s", "从前，")):
        talk.conversation.emit(event)
    assert talk.wire.sent == []
    talk.wire.paused = False
    talk.conversation.on_writable()
    assert [(event.get("offset"), event.get("delta")) for event in talk.wire.sent] == [
        (0, "从前"),
        (0, "x"),
        (2, "，"),
        (None, None),
    ]


async def test_what_came_while_others_wait_is_not_sent_before_them() -> None:
    talk = Talk()
    talk.wire.paused = True
    talk.conversation.emit(delta("a", 0))
    talk.wire.paused = False
    talk.conversation.emit(delta("b", 1))
    talk.conversation.on_writable()
    assert [event["delta"] for event in talk.wire.sent] == ["ab"]


def too_much(talk: Talk) -> None:
    for number in range(50):
        talk.conversation.emit(delta("x" * 4096, number * 4096))


async def test_a_client_of_the_bare_dialect_that_does_not_read_is_let_go_of_at_the_bound() -> None:
    talk = Talk(dialect=Dialect.BARE)
    talk.wire.paused = True
    too_much(talk)
    assert talk.wire.closed == 1013
    assert len(talk.conversation._out) <= 50


async def test_a_client_that_falls_behind_is_told_the_whole_once_and_let_go_of_if_it_falls_behind_again() -> None:
    talk = Talk(session_id="s")
    await talk.quiet()
    talk.wire.paused = True
    too_much(talk)
    assert talk.wire.closed is None
    ear = talk.sessions.channels["s"]
    ear.send(delta("not told", 0))
    ear.send(snapshot("s", at_seq=4))
    await talk.quiet()
    assert talk.sessions.resumed == [("s", 0, True)]
    talk.wire.paused = False
    talk.conversation.on_writable()
    ear.send(delta("told", 0))
    assert talk.wire.types()[-2:] == ["session.snapshot", "response.output_text.delta"]
    assert "not told" not in str(talk.wire.sent)
    talk.wire.paused = True
    too_much(talk)
    assert talk.wire.closed == 1013


async def test_a_socket_hurries_while_any_of_its_sessions_is_urgent() -> None:
    talk = Talk(session_id="a")
    talk.say("hi", session_id="b")
    await talk.quiet()
    for session, urgent, then in (("a", True, True), ("b", True, True), ("a", False, True), ("b", False, False)):
        talk.sessions.channels[session].send(
            wire.Urgent(
                session_id=session, seq=None, ts=NOW_MS, version=1, is_urgent=urgent, heartbeat_ms=500, reason="state"
            )
        )
        assert talk.wire.urgent is then


async def test_who_is_not_told_of_urgency_keeps_its_own_pace() -> None:
    talk = Talk(dialect=Dialect.BARE, session_id="a")
    await talk.quiet()
    talk.sessions.channels["a"].send(
        wire.Urgent(session_id="a", seq=None, ts=NOW_MS, version=1, is_urgent=True, heartbeat_ms=500, reason="state")
    )
    assert (talk.wire.urgent, "channel.urgent" in talk.wire.types()) == (False, False)


@pytest.mark.parametrize(("wish", "taken"), [(2_000, 2_000), (1, 500), (60_000, 10_000)])
async def test_a_client_chooses_its_heartbeat_within_bounds_and_is_told_what_was_taken(wish: int, taken: int) -> None:
    talk = Talk()
    talk.conversation.on_text(b'{"type": "session.update", "session": {"heartbeat_ms": %d, "emotion": true}}' % wish)
    assert talk.wire.sent[-1]["type"] == "session.updated"
    assert talk.wire.sent[-1]["heartbeat_ms"] == taken


def snapshot(session_id: str, at_seq: int) -> wire.Snapshot:
    return wire.Snapshot(session_id=session_id, seq=None, ts=NOW_MS, at_seq=at_seq, version=1, state={})


async def test_who_has_much_to_say_waits_until_nothing_is_held_back() -> None:
    talk = Talk()
    assert await talk.conversation.room()
    talk.wire.paused = True
    talk.conversation.emit(delta("a", 0))
    waiting = [asyncio.create_task(talk.conversation.room()) for _ in range(2)]
    await asyncio.sleep(0)
    talk.wire.paused = False
    assert not any(task.done() for task in waiting)
    talk.conversation.on_writable()
    assert await asyncio.gather(*waiting) == [True, True]
    assert [event["delta"] for event in talk.wire.sent] == ["a"]


async def test_there_is_no_room_where_the_buffer_filled_again_at_once() -> None:
    talk = Talk()
    talk.wire.paused = True
    talk.conversation.emit(delta("a", 0))
    waiting = asyncio.create_task(talk.conversation.room())
    await asyncio.sleep(0)
    talk.wire.paused = False
    talk.conversation.on_writable()
    talk.wire.paused = True
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    talk.conversation.on_gone()
    assert await waiting is False


async def test_who_makes_no_room_in_time_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolehost_runtime.gateway.edge.outbox.ROOM_SECONDS", 0)
    talk = Talk()
    assert await talk.conversation.room()
    talk.wire.paused = True
    assert await talk.conversation.room() is False
    assert talk.wire.closed == 1013


async def test_after_the_last_word_of_a_session_the_socket_is_closed_as_it_says() -> None:
    for code, closes in (("session_forgotten", 4404), ("revision_withdrawn", 1012), ("busy", None)):
        talk = Talk()
        error = wire.ErrorBody(code=code, message="no")
        talk.conversation.emit(wire.Error(session_id="s", seq=None, ts=NOW_MS, error=error))
        assert (talk.wire.errors(), talk.wire.closed) == ([code], closes)


async def test_bare_hears_no_more_than_it_knows_but_a_lost_history_is_said() -> None:
    talk = Talk(dialect=Dialect.BARE)
    base: dict[str, Any] = {"session_id": "s", "seq": None, "ts": NOW_MS}
    talk.conversation.emit(wire.RevisionChanged(**base, from_="@r1", to="@r2", reason="follow"))
    talk.conversation.emit(wire.Resumed(**base, from_seq=1, to_seq=2))
    talk.conversation.emit(wire.Resumed(**base, from_seq=1, to_seq=2, gap=True, code="resume_lost"))
    assert (talk.wire.types(), talk.wire.errors()) == (["error"], ["resume_lost"])


async def test_the_first_session_of_a_socket_takes_the_frames_without_a_name() -> None:
    talk = Talk()
    talk.say("one", session_id="s1")
    talk.say("two")
    await talk.quiet()
    assert talk.sessions.said == [("s1", "one"), ("s1", "two")]


async def test_a_session_that_got_its_name_from_us_is_found_by_it() -> None:
    talk = Talk()
    talk.say("one")
    await talk.quiet()
    (named,) = {event["session_id"] for event in talk.wire.sent}
    talk.say("two", session_id=named)
    talk.say("three")
    await talk.quiet()
    assert talk.sessions.said == [(named, text) for text in ("one", "two", "three")]
    assert len(talk.sessions.opened) == 1


async def test_pending_frames_are_bounded_and_the_bound_frees_itself() -> None:
    talk = Talk()
    for _ in range(MAX_PENDING + 3):
        talk.say("wait", session_id="s")
    assert talk.wire.errors() == ["busy"] * 3
    talk.sessions.gate.set()
    await talk.quiet()
    talk.say("again", session_id="s")
    await talk.quiet()
    assert talk.sessions.said[-1] == ("s", "again")


async def test_sessions_on_one_socket_are_bounded_by_letting_the_quietest_go() -> None:
    talk = Talk()
    for number in range(MAX_SESSIONS + 2):
        talk.say("x", session_id=f"s{number}")
        await talk.quiet()
    detached = [sid for (_, _, sid), handle in talk.sessions.opened.items() if handle.detached]
    assert detached == ["s0", "s1"]
    talk.say("y", session_id="s0")
    await talk.quiet()
    assert talk.sessions.said[-1] == ("s0", "y")


async def test_a_session_that_could_not_be_opened_is_tried_again() -> None:
    talk = Talk(session_id="s")
    talk.sessions.refuses = Unavailable("no", code="no_ready_revision")
    await talk.quiet()
    talk.sessions.refuses = None
    talk.say("x")
    await talk.quiet()
    assert talk.wire.errors() == ["no_ready_revision"]
    assert talk.sessions.said == [("s", "x")]


class Failing(EchoSessions):
    """Tells channels of a failed turn, as sessions do once `response.created` went out, and raises."""

    cause: Exception = Unavailable("late", code="model_timeout")

    async def attach(self, *arguments: Any, **more: Any) -> Any:
        handle = await super().attach(*arguments, **more)

        async def say(said: wire.Said) -> None:
            body = wire.ErrorBody(code=getattr(self.cause, "code", "internal"), message="late")
            failed: dict[str, Any] = {"response_id": "r", "status": "failed", "message": "", "error": body}
            handle.channel.send(wire.ResponseDone(session_id="s", seq=None, ts=NOW_MS, **failed))
            raise self.cause

        handle.say = say  # type: ignore[method-assign]
        return handle


@pytest.mark.parametrize("cause", [Unavailable("late", code="model_timeout"), ValueError("a bug")])
async def test_a_turn_that_failed_aloud_is_not_told_twice(cause: Exception) -> None:
    talk, sessions = Talk(), Failing()
    sessions.cause = cause
    talk.conversation._gate = replace(talk.conversation._gate, sessions=sessions)
    talk.say("x", session_id="s")
    await talk.quiet()
    assert talk.wire.types() == ["session.created", "response.done"]


class Deaf(EchoSessions):
    """While a frame runs, the turn of somebody else fails aloud; then the frame fails by the same cause."""

    async def attach(self, *arguments: Any, **more: Any) -> Any:
        handle = await super().attach(*arguments, **more)

        async def run(frame: Any) -> None:
            body = wire.ErrorBody(code="state_unavailable", message="away")
            failed: dict[str, Any] = {"response_id": "theirs", "status": "failed", "message": "", "error": body}
            handle.channel.send(
                wire.ResponseDone(session_id="s", seq=None, ts=NOW_MS, client_msg_id="theirs", **failed)
            )
            raise Unavailable("away", code="state_unavailable")

        handle.say = handle.resume = run  # type: ignore[method-assign,assignment]
        return handle


@pytest.mark.parametrize(
    "frame",
    [
        b'{"type": "session.resume", "session_id": "s", "after_seq": 0}',
        b'{"message": "x", "session_id": "s", "client_msg_id": "ours"}',
    ],
)
async def test_a_failure_of_somebody_elses_turn_stands_for_no_failure_of_ours(frame: bytes) -> None:
    """A resume that fails without a word leaves a gap before the next event, a message no answer."""
    talk = Talk()
    talk.conversation._gate = replace(talk.conversation._gate, sessions=Deaf())
    talk.conversation.on_text(frame)
    await talk.quiet()
    assert talk.wire.types() == ["session.created", "response.done", "error"]
    assert talk.wire.errors() == ["state_unavailable"]


async def test_a_cancel_does_not_wait_for_the_turn_that_it_is_about() -> None:
    talk = Talk()
    talk.say("wait", session_id="s")
    talk.say("more", session_id="s")
    talk.conversation.on_text(
        b'{"type": "response.cancel", "session_id": "s", "response_id": "r1", "heard": {"chars": 3}}'
    )
    talk.conversation.on_text(b'{"type": "response.cancel", "response_id": "unknown"}')
    for _ in range(9):
        await asyncio.sleep(0)
    assert talk.sessions.cancelled == [("s", "r1", wire.HeardPart(chars=3))]
    assert talk.wire.errors() == ["response_not_found"]
    assert talk.sessions.said == []
    talk.sessions.gate.set()
    await talk.quiet()
    assert [text for _, text in talk.sessions.said] == ["wait", "more"]


@pytest.mark.parametrize("policy", ["reject", "interrupt", "steer"])
async def test_a_message_that_is_not_to_be_queued_overtakes_those_that_are(policy: str) -> None:
    talk = Talk()
    talk.say("wait", session_id="s")
    talk.say("more", session_id="s", busy_policy="queue")
    talk.say("now", session_id="s", busy_policy=policy)
    for _ in range(9):
        await asyncio.sleep(0)
    assert talk.sessions.said == [("s", "now")]
    talk.say("now too", busy_policy=policy)
    for _ in range(9):
        await asyncio.sleep(0)
    talk.sessions.gate.set()
    await talk.quiet()
    assert [text for _, text in talk.sessions.said] == ["now", "now too", "wait", "more"]


async def test_an_error_says_which_message_or_response_it_is_about() -> None:
    talk = Talk()
    talk.say("fail", session_id="s", client_msg_id="c1")
    talk.conversation.on_text(b'{"type": "response.cancel", "session_id": "s", "response_id": "unknown"}')
    talk.say("fail", session_id="s")
    await talk.quiet()
    about = {(event["client_msg_id"], event["response_id"]) for event in talk.wire.sent if event["type"] == "error"}
    assert about == {("c1", None), (None, "unknown"), (None, None)}


async def test_a_cancel_for_a_session_that_is_not_open_here_opens_it() -> None:
    talk = Talk()
    talk.conversation.on_text(b'{"type": "response.cancel", "session_id": "s", "response_id": "r1"}')
    await talk.quiet()
    assert talk.sessions.cancelled == [("s", "r1", None)]
    assert talk.wire.types() == ["session.created"]


async def test_what_runs_beside_counts_as_pending_and_keeps_its_session() -> None:
    talk = Talk()
    talk.say("x", session_id="s")
    await talk.quiet()
    for _ in range(MAX_PENDING + 2):
        talk.say("wait", session_id="s", busy_policy="interrupt")
    assert talk.wire.errors() == ["busy"] * 2
    talk.conversation.on_gone()
    (handle,) = talk.sessions.opened.values()
    await asyncio.sleep(0)
    assert not handle.detached
    talk.sessions.gate.set()
    await talk.quiet()
    assert handle.detached


async def test_while_its_gateway_leaves_a_client_may_still_cancel() -> None:
    talk = Talk()
    talk.say("wait", session_id="s")
    await asyncio.sleep(0)
    talk.conversation.migrate()
    talk.say("more")
    talk.conversation.on_text(b'{"type": "response.cancel", "response_id": "r1"}')
    for _ in range(9):
        await asyncio.sleep(0)
    assert (talk.wire.errors(), talk.sessions.cancelled) == (["draining"], [("s", "r1", None)])
    assert talk.wire.closed is None
    talk.sessions.gate.set()
    await talk.quiet()
    assert talk.wire.closed == 1012


async def test_after_the_client_is_gone_what_it_said_still_runs_unheard() -> None:
    talk = Talk()
    talk.say("wait", session_id="s")
    talk.say("more", session_id="s")
    await asyncio.sleep(0)
    heard = len(talk.wire.sent)
    talk.conversation.on_gone()
    talk.sessions.gate.set()
    await talk.quiet()
    assert [text for _, text in talk.sessions.said] == ["wait", "more"]
    assert len(talk.wire.sent) == heard
    (handle,) = talk.sessions.opened.values()
    assert handle.detached


@pytest.mark.parametrize(("frame", "code"), [(b"{}", "invalid_frame"), (b'{"type":"x"}', "unknown_type")])
async def test_bad_frames_are_counted_by_code(frame: bytes, code: str) -> None:
    talk = Talk()
    talk.conversation.on_text(frame)
    assert talk.wire.errors() == [code]
    assert talk.conversation._gate.metrics.errors.labels(code)._value.get() == 1


async def test_who_says_no_more_is_closed_once_all_was_answered() -> None:
    talk = Talk()
    for session in ("a", "b"):
        talk.say("wait", session_id=session)
    talk.conversation.finish()
    await asyncio.sleep(0)
    assert talk.wire.closed is None
    talk.sessions.gate.set()
    await talk.quiet()
    assert talk.wire.types().count("response.done") == 2
    assert talk.wire.closed == 1000


async def test_who_says_nothing_is_closed_at_once() -> None:
    talk = Talk()
    talk.conversation.finish()
    assert talk.wire.closed == 1000

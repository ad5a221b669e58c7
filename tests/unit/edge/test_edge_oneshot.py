"""One message, one answer: its own, whoever else speaks in the session."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.support.edge import ACME, NOW_MS, EchoSessions, done, tables_with_storyteller

from rolehost_api import wire
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.handshake import Address
from rolehost_runtime.gateway.edge.hub import Hub
from rolehost_runtime.gateway.edge.oneshot import one_reply
from rolehost_runtime.gateway.metrics import Metrics
from rolehost_runtime.gateway.ports import Principal


class Crowded(EchoSessions):
    """Another client's turn ends right after ours, before ours is over for who waits for it."""

    async def attach(self, *arguments: Any, **more: Any) -> Any:
        handle = await super().attach(*arguments, **more)
        say = handle.say

        async def crowded(said: wire.Said) -> None:
            await say(said)
            handle.channel.send(replace(done("s", "another's", 2), client_msg_id="c2"))

        handle.say = crowded  # type: ignore[method-assign]
        return handle


class Joined(EchoSessions):
    """The message joins the turn of another one: just now, or it did so before and is told of it again."""

    replay = False

    async def attach(self, *arguments: Any, **more: Any) -> Any:
        handle = await super().attach(*arguments, **more)

        async def joined(said: wire.Said) -> None:
            begun = wire.ResponseCreated(session_id="s", seq=None, ts=NOW_MS, response_id="r1", client_msg_id="c1")
            if not self.replay:
                handle.channel.send(begun)
                handle.channel.send(replace(begun, client_msg_id=said.client_msg_id))
            both = replace(done("s", "both", 2), response_id="r1", client_msg_id="c1", replay=self.replay)
            handle.channel.send(both)
            handle.channel.send(replace(done("s", "a later one's", 3), response_id="r2", client_msg_id="c3"))

        handle.say = joined  # type: ignore[method-assign]
        return handle


@pytest.mark.parametrize("replay", [False, True])
async def test_a_message_that_joined_another_ones_turn_is_answered_by_its_end(replay: bool) -> None:
    tables, sessions = tables_with_storyteller(), Joined()
    sessions.replay = replay
    gate = Gate(tables=tables, sessions=sessions, hub=Hub(tables.keys), metrics=Metrics(), now_ms=lambda: NOW_MS)
    said = wire.Said(message="and more", session_id="s", client_msg_id="c2", busy_policy="steer")
    reply = await one_reply(gate, Principal(ACME, "svc:uid-acme", frozenset()), Address("storyteller"), said)
    assert reply.message == "both"


@pytest.mark.parametrize(("message_id", "answer"), [("c1", "mine"), (None, "another's")])
async def test_an_answer_is_known_by_its_message(message_id: str | None, answer: str) -> None:
    """A message without an id has the newest answer there is."""
    tables = tables_with_storyteller()
    gate = Gate(tables=tables, sessions=Crowded(), hub=Hub(tables.keys), metrics=Metrics(), now_ms=lambda: NOW_MS)
    said = wire.Said(message="mine", session_id="s", client_msg_id=message_id)
    reply = await one_reply(gate, Principal(ACME, "svc:uid-acme", frozenset()), Address("storyteller"), said)
    assert reply.message == answer

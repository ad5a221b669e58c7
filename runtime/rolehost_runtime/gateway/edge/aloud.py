"""A turn, or a whole session, told event by event over HTTP."""

import logging
import random

from msgspec.structs import replace
from starlette.requests import Request
from starlette.responses import Response

from rolehost_api import identity, wire
from rolehost_api.errors import Unavailable
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.handshake import Address, find_role
from rolehost_runtime.gateway.edge.sse import Heard, Lines, Rest
from rolehost_runtime.gateway.edge.stream import Stream, StreamAnswer
from rolehost_runtime.gateway.edge.telling import Telling
from rolehost_runtime.gateway.ports import Principal, SessionHandle

log = logging.getLogger(__name__)


class _Ear:
    """Implements ports.Channel: what the session tells goes to the stream, but for what its client has."""

    def __init__(self, stream: Stream, last: Heard | None, telling: Telling | None = None) -> None:
        self._stream, self._rest, self._telling = stream, Rest(last), telling
        self._last: wire.ServerFrame | None = None

    def send(self, event: wire.ServerFrame) -> None:
        self._last = event
        for told in self._rest.heard(event):
            if self._telling is not None:
                self._telling.hear(told)
            self._stream.put(told)

    async def room(self) -> bool:
        return await self._stream.room()

    def caught_up(self) -> None:
        """Everything was told that is known: a response that was still awaited is lost."""
        if self._last is not None:
            for told in self._rest.lost(self._last):
                self._stream.put(told)


async def turn_aloud(
    gate: Gate, principal: Principal, at: Address, said: wire.Said, last: Heard | None, request: Request
) -> Response:
    """Run a turn and tell all that happens in its session until it is over. Raises what keeps it from beginning.

    The turn goes on if the client goes. One that says the same again (by client_msg_id) with its Last-Event-ID
    hears the answer from there on.
    """
    session_id = None if said.session_id is None else identity.session_id(said.session_id)
    role = find_role(gate.tables.roles, principal, at)
    stream = Stream(gate, principal, Lines(last, random.random), request)
    telling = Telling(said.client_msg_id)
    ear = _Ear(stream, last, telling)
    with gate.asking(principal, at.name):
        handle = await gate.sessions.attach(principal, role, session_id, ear, revision=at.revision)
    stream.open()
    gate.hub.start(_turn(handle, replace(said, session_id=handle.session_id), stream, telling))
    return StreamAnswer(stream)


async def _turn(handle: SessionHandle, said: wire.Said, stream: Stream, telling: Telling) -> None:
    try:
        await handle.say(said)
    except Exception as error:
        told = faults.told(log, "running a turn", error)
        if telling.code != told.code:
            stream.tell(handle.session_id, told, said.client_msg_id)
    finally:
        handle.detach()
        stream.finish()


async def session_aloud(
    gate: Gate, principal: Principal, at: Address, session_id: str, last: Heard | None, request: Request
) -> Response:
    """Tell what happens in a session until its client goes, after what it missed since `last`.

    Raises NotFound for a session that is not there: listening makes none.
    """
    role = find_role(gate.tables.roles, principal, at)
    if gate.hub.draining:
        raise Unavailable("the gateway restarts", hint="Connect again", code="draining")
    await gate.sessions.standing(principal, role, session_id)
    stream = Stream(gate, principal, Lines(last, random.random), request, follows=session_id)
    ear = _Ear(stream, last)
    handle = await gate.sessions.attach(principal, role, session_id, ear, revision=at.revision)
    stream.left = handle.detach
    stream.open()
    if last is not None:
        gate.hub.start(_resume(handle, last.seq, stream, ear))
    return StreamAnswer(stream)


async def _resume(handle: SessionHandle, after_seq: int, stream: Stream, ear: _Ear) -> None:
    try:
        await handle.resume(after_seq)
        ear.caught_up()
    except Exception as error:
        stream.tell(handle.session_id, faults.told(log, "resuming a session", error))
        stream.finish()

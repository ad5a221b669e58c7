"""One message, one answer: a turn for a client that keeps no socket."""

import asyncio

from msgspec.structs import replace

from rolehost_api import identity, wire
from rolehost_api.errors import RolehostError
from rolehost_runtime.core.prompt import Told
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.handshake import Address, find_role
from rolehost_runtime.gateway.ports import Principal


class LastDone:
    """Implements ports.Channel: keeps the newest end of a turn, of this message's where it has an id, and drops the
    rest. A message that joined another's turn is answered by that one's end."""

    def __init__(self, client_msg_id: str | None) -> None:
        self._done: wire.ResponseDone | None = None
        self._told_again: wire.ResponseDone | None = None
        self._client_msg_id = client_msg_id
        self._response_id = ""

    @property
    def done(self) -> wire.ResponseDone | None:
        """Of one that joined a turn of the log nothing says whose it is: it is what was told again last."""
        return self._done or self._told_again

    def send(self, event: wire.ServerFrame) -> None:
        match event:
            case wire.ResponseCreated() if event.client_msg_id == self._client_msg_id:
                self._response_id = event.response_id
            case wire.ResponseDone() if self._client_msg_id in (None, event.client_msg_id):
                self._done = event
            case wire.ResponseDone() if event.response_id == self._response_id:
                self._done = event
            case wire.ResponseDone() if event.replay:
                self._told_again = event

    async def room(self) -> bool:
        return True


async def one_reply(
    gate: Gate, principal: Principal, at: Address, said: wire.Said, told: Told | None = None
) -> wire.ResponseDone:
    """Raises what the turn raises. The turn goes on if the caller is cancelled.

    With `told`, a turn of a session that nobody keeps: that is its past.
    """
    answer: asyncio.Future[wire.ResponseDone] = asyncio.get_running_loop().create_future()

    async def turn() -> None:
        try:
            done = await _reply(gate, principal, at, said, told)
            if not answer.done():
                answer.set_result(done)
        except BaseException as error:
            if not answer.done():
                answer.set_exception(error)
            if not isinstance(error, Exception):
                raise

    gate.hub.start(turn())
    return await answer


async def _reply(
    gate: Gate, principal: Principal, at: Address, said: wire.Said, told: Told | None
) -> wire.ResponseDone:
    ear = LastDone(said.client_msg_id)
    session_id = None if said.session_id is None else identity.session_id(said.session_id)
    role = find_role(gate.tables.roles, principal, at)
    with gate.asking(principal, at.name):
        handle = await gate.sessions.attach(principal, role, session_id, ear, revision=at.revision, told=told)
    try:
        await handle.say(replace(said, session_id=handle.session_id))
    finally:
        handle.detach()
    if ear.done is None:
        raise RolehostError("the turn ended without an answer", code="no_answer")
    return ear.done

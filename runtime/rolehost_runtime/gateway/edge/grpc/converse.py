"""RoleSession.Converse: a conversation as on a WebSocket of role.v1."""

import asyncio

from grpc.aio import EOF

from rolehost_api import identity
from rolehost_api.errors import BadRequest, RolehostError
from rolehost_api.proto.calls import Open
from rolehost_runtime.gateway.edge.dialect import Conversation
from rolehost_runtime.gateway.edge.grpc import codec
from rolehost_runtime.gateway.edge.grpc.call import Call, Caller, Context
from rolehost_runtime.gateway.edge.handshake import Dialect, Opening, address, find_role

OPEN_SECONDS = 10.0
"""From the call to its first event."""


class _TooSlow(RolehostError):
    code = "open_timeout"
    status = 408


async def converse(caller: Caller) -> None:
    """Raises what the call ends with, where that is not well."""
    asked = opening(await _first(caller.context))
    find_role(caller.gate.tables.roles, caller.principal, asked.address)
    call = Call(caller, codec.event)
    conversation = Conversation(caller.gate, call, caller.principal, asked)
    await call.run(conversation, lambda: _hear(caller.context, conversation))


async def _first(context: Context) -> Open:
    try:
        async with asyncio.timeout(OPEN_SECONDS):
            data = await context.read()
    except TimeoutError:
        raise _TooSlow("no event came", hint="Send ClientEvent{open: {role: …}}") from None
    if data is EOF:
        raise BadRequest("the stream ended before it began", code="open_expected")
    return codec.read_open(data)


def opening(asked: Open) -> Opening:
    """Raises BadRequest."""
    return Opening(
        address=address(asked.role),
        dialect=Dialect.ROLE_V1,
        session_id=None if asked.session_id is None else identity.session_id(asked.session_id),
        after_seq=asked.after_seq,
        stream=asked.stream,
    )


async def _hear(context: Context, conversation: Conversation) -> None:
    conversation.start()
    while (data := await context.read()) is not EOF:
        conversation.on_frame(codec.read_frame, data)
    conversation.finish()

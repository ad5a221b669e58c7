"""Routes by which something is said to a Role, or heard of it, without a socket."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from rolehost_api import identity, wire
from rolehost_api.errors import BadRequest
from rolehost_runtime.gateway.edge.aloud import session_aloud, turn_aloud
from rolehost_runtime.gateway.edge.auth import acting
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.oneshot import one_reply
from rolehost_runtime.gateway.edge.rooms import MAX_SEQ, Json, Rooms
from rolehost_runtime.gateway.edge.sse import Heard, heard, wants_stream
from rolehost_runtime.gateway.edge.views import answers, streams, takes
from rolehost_runtime.gateway.tables import Scope

LAST_EVENT_ID = "last-event-id"


class NotAcceptable(BadRequest):
    code = "not_acceptable"
    status = 406


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate = rooms.gate

    @app.post(
        "/role/{at:path}",
        responses=streams(answers(wire.ResponseDone)),
        openapi_extra=takes(wire.Said),
        response_class=Json,
    )
    async def talk(request: Request, at: str, user: str | None = None) -> Response:
        """Say one thing and wait for the whole answer; the same JSON as on the socket.

        With `Accept: text/event-stream` the turn's events come as they happen, to its `response.done`. The turn goes
        on if the client goes: the same message with the same `client_msg_id` and `Last-Event-ID` hears the rest.
        A key with scope `act-as-user` may say who the end user is, in the message or in the address.
        """
        principal = rooms.caller(request, Scope.CHAT)
        where = address(at)
        find_role(gate.tables.roles, principal, where)
        said = wire.read_frame(await request.body())
        if not isinstance(said, wire.Said):
            raise BadRequest("only a message can be posted", code="unknown_type")
        principal = acting(principal, said.user if said.user is not None else user)
        if wants_stream(request.headers.get("accept", "")):
            return await turn_aloud(gate, principal, where, said, _last(request, None, None), request)
        return Json(await one_reply(gate, principal, where, said))

    @app.get("/role/{at:path}", responses=streams(answers(wire.ResponseDone), only=True), response_class=Response)
    async def follow(
        request: Request,
        at: str,
        session_id: str | None = None,
        after_seq: int | None = None,
        last_event_id: str | None = None,
        user: str | None = None,
    ) -> Response:
        """Hear all that happens in a session, as an event stream, until you hang up. No session is made by it.

        `Last-Event-ID` (or `last_event_id`, or `after_seq` for a number) goes on after the event of that id, without a
        gap and without a word twice, also in the middle of an answer. Sockets come in at the same address.
        """
        principal = rooms.speaker(request, user)
        where = address(at)
        find_role(gate.tables.roles, principal, where)
        if not wants_stream(request.headers.get("accept", "")):
            raise NotAcceptable(
                "what is here is an event stream or a WebSocket", hint="Send 'Accept: text/event-stream'"
            )
        if session_id is None:
            raise BadRequest("which session is to be followed?", hint="Add ?session_id=", code="session_id_needed")
        last = _last(request, last_event_id, after_seq)
        return await session_aloud(gate, principal, where, identity.session_id(session_id), last, request)


def _last(request: Request, last_event_id: str | None, after_seq: int | None) -> Heard | None:
    """How far the client has heard. The header comes first: a browser that connects again sends it by itself, with
    the same URL as before. Raises BadRequest."""
    raw = request.headers.get(LAST_EVENT_ID) or last_event_id
    if raw:
        return heard(raw)
    if after_seq is None:
        return None
    if not 0 <= after_seq <= MAX_SEQ:
        raise BadRequest("after_seq is a number, 0 or more", code="invalid_after_seq")
    return Heard(after_seq)

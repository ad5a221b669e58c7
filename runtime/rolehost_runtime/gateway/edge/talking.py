"""Routes by which something is said to a Role without a socket."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from rolehost_api import wire
from rolehost_api.errors import BadRequest
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.oneshot import one_reply
from rolehost_runtime.gateway.edge.rooms import Json, Rooms
from rolehost_runtime.gateway.edge.views import answers, takes
from rolehost_runtime.gateway.tables import Scope


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate = rooms.gate

    @app.post(
        "/role/{at:path}", responses=answers(wire.ResponseDone), openapi_extra=takes(wire.Said), response_class=Json
    )
    async def talk(request: Request, at: str) -> Response:
        """Say one thing and wait for the whole answer; the same JSON as on the socket."""
        principal = rooms.caller(request, Scope.CHAT)
        where = address(at)
        find_role(gate.tables.roles, principal, where)
        said = wire.read_frame(await request.body())
        if not isinstance(said, wire.Said):
            raise BadRequest("only a message can be posted", code="unknown_type")
        return Json(await one_reply(gate, principal, where, said))

"""The route that looks into one turn from underneath. Nothing here begins a turn or makes a session.

Who may speak in a session sees what its own clients see: the state, where it stands in its graph, and the turn's events.
The prompt, what was recalled and the trace hold the persona, the logic's own words and every edge that was not taken: they
are for a key that may also push (`chat` and `push`; of an end user's session also `act-as-user`), never for a user's token.
"""

from fastapi import FastAPI, Request
from starlette.responses import Response

from rolehost_api import identity
from rolehost_api.errors import BadRequest, Forbidden
from rolehost_runtime.gateway.edge.auth import require
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.rooms import MAX_SEQ, Json, Rooms
from rolehost_runtime.gateway.edge.views import answers
from rolehost_runtime.gateway.inspected import CallView, InspectAnswer, RecallView, SegmentView
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import Scope

TYPES = (InspectAnswer, CallView, RecallView, SegmentView)
"""For OpenAPI."""


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate, inspecting = rooms.gate, rooms.inspecting
    if inspecting is None:
        return

    @app.get("/v1/roles/{name}/sessions/{sid}/inspect", responses=answers(InspectAnswer), response_class=Json)
    async def inspect_turn(request: Request, name: str, sid: str, turn: int = 0, user: str | None = None) -> Response:
        """A turn from underneath, the newest where none is named, with the state as it is now.

        `calls`, `recalls` and `trace` come for a key with scope `push` too, of the last 8 turns, for 15 minutes, from the
        gateway that answered; `underneath` says why they are not here. Prompts are kept nowhere else.
        """
        principal = rooms.speaker(request, user)
        role = find_role(gate.tables.roles, principal, address(name))
        if not 0 <= turn <= MAX_SEQ:
            raise BadRequest("turn is a number, 1 or more", code="invalid_turn")
        session_id = identity.session_id(sid)
        found = await inspecting.inspect(principal, role, session_id, turn, whole=sees_below(principal))
        below = found.below
        answer = Json(
            InspectAnswer(
                session_id=session_id,
                turn=found.turn,
                turns=found.turns,
                answered=found.answered,
                events=found.events,
                version=found.version,
                state=found.state,
                user_state=found.user_state,
                user_version=found.user_version,
                nodes=dict(found.nodes),
                underneath=below.underneath,
                calls=list(below.calls),
                recalls=list(below.recalls),
                trace=list(below.trace),
            )
        )
        answer.headers["cache-control"] = "no-store"
        return answer


def sees_below(principal: Principal) -> bool:
    """Whether this one may read the Role's own text: it could push it. An end user never may, whoever issued the token."""
    if principal.until_ms is not None:
        return False
    try:
        require(principal, Scope.PUSH)
    except Forbidden:
        return False
    return True

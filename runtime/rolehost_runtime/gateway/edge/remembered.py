"""Routes over what a Role remembers of somebody: look at it, correct it, and forget it.

Who may ask is who may speak there: a user with a token of their own, a key with scope `act-as-user` for any of its
tenant's users, and any key about a session that names no user (`session`), whose memory is its own.
"""

import msgspec
from fastapi import FastAPI, Request
from msgspec import Struct
from starlette.responses import Response

from rolehost_api import identity
from rolehost_api.errors import BadRequest, Forbidden
from rolehost_runtime.gateway.edge.audit import noted
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.rooms import Json, Rooms
from rolehost_runtime.gateway.edge.views import answers, takes
from rolehost_runtime.gateway.kept import Receipt, Whose
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.remembered import MemoryView

MAX_LIMIT, DEFAULT_LIMIT = 200, 50
MAX_ID, MAX_BODY = 32, 16_384


class MemoriesAnswer(Struct, frozen=True):
    memories: list[MemoryView]
    """Newest first."""
    after: str
    """Ask for the next page with it; empty: there is none."""


class MemoryRequest(Struct, frozen=True, forbid_unknown_fields=True):
    text: str


TYPES = (MemoriesAnswer, MemoryView, MemoryRequest)
"""For OpenAPI."""
_decode = msgspec.json.Decoder(MemoryRequest).decode


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate = rooms.gate
    kept = gate.sessions.kept

    def asked(request: Request, name: str, user: str | None, session: str | None) -> tuple[Principal, Whose, str]:
        """Who asks, whose memory it is, and of which session where it is a session's own."""
        principal = rooms.speaker(request, user)
        role = find_role(gate.tables.roles, principal, address(name))
        whose = Whose(role.tenant.uid, role.name, principal.user)
        if not whose.user and session is None:
            raise BadRequest(
                "whose memory is it? Of a session without an end user it is the session's own",
                hint="Add ?user=…, with a key of scope act-as-user, or ?session=…",
                code="whose_memory",
            )
        return principal, whose, "" if session is None else identity.session_id(session)

    @app.get("/v1/roles/{name}/memories", responses=answers(MemoriesAnswer), response_class=Json)
    async def list_memories(
        request: Request,
        name: str,
        user: str | None = None,
        session: str | None = None,
        query: str = "",
        after: str = "",
        limit: int = DEFAULT_LIMIT,
    ) -> Response:
        """What is remembered of a user, newest first, or (`query`) what has to do with that, best first.

        With `session` what that session's turns remembered.
        """
        _, whose, session_id = asked(request, name, user, session)
        if not 1 <= limit <= MAX_LIMIT:
            raise BadRequest(f"limit is a number from 1 to {MAX_LIMIT}", code="invalid_limit")
        found, then = await kept.memories(whose, session_id, query, after, limit)
        return _private(MemoriesAnswer(found, then))

    @app.post(
        "/v1/roles/{name}/memories/{id}",
        responses=answers(MemoryView),
        openapi_extra=takes(MemoryRequest),
        response_class=Json,
    )
    async def edit_memory(
        request: Request, name: str, id: str, user: str | None = None, session: str | None = None
    ) -> Response:
        """Another text in the place of one that is remembered, which is forgotten; it has another id.

        What a user says with a token of their own is `asserted`: it waits for the Role's logic to confirm it.
        """
        principal, whose, session_id = asked(request, name, user, session)
        with noted(gate, "edit_memory", principal):
            text = _read(await request.body()).text
            by_user = principal.until_ms is not None
            return _private(await kept.edit_memory(whose, session_id, id[:MAX_ID], text, asserted=by_user))

    @app.post("/v1/roles/{name}/memories/{id}/confirm", responses=answers(MemoryView), response_class=Json)
    async def confirm_memory(
        request: Request, name: str, id: str, user: str | None = None, session: str | None = None
    ) -> Response:
        """What a user asserted is told to the model from now on: the Role's tenant vouches for it, its user cannot."""
        principal, whose, session_id = asked(request, name, user, session)
        with noted(gate, "confirm_memory", principal):
            if principal.until_ms is not None:
                raise Forbidden(
                    "who asserts something does not vouch for it too",
                    hint="Ask with a key of the tenant",
                    code="confirm_not_allowed",
                )
            return _private(await kept.confirm_memory(whose, session_id, id[:MAX_ID]))

    @app.delete("/v1/roles/{name}/memories/{id}", responses=answers(Receipt), response_class=Json)
    async def forget_memory(
        request: Request, name: str, id: str, user: str | None = None, session: str | None = None
    ) -> Response:
        """Forget one thing, for good. What was said in the conversation stays in its session, until that is deleted."""
        principal, whose, session_id = asked(request, name, user, session)
        with noted(gate, "forget_memory", principal):
            return _private(await kept.forget_memory(whose, session_id, id[:MAX_ID]))


def _private(body: Struct) -> Response:
    answer = Json(body)
    answer.headers["cache-control"] = "no-store"
    return answer


def _read(body: bytes) -> MemoryRequest:
    if len(body) > MAX_BODY:
        raise BadRequest(f"the request is over {MAX_BODY} bytes", code="invalid_request")
    try:
        return _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the request is not valid", hint='Send {"text": "…"}', code="invalid_request") from None

"""Routes over all sessions that are kept: their list, where one stands, forks, exports, and forgetting.

Who may ask: whoever may speak in a session, about that session. Of a user's, that is the user with a token of their own,
or a key with scope `act-as-user`, which also sees all of its tenant's sessions in one list; any other key sees the
tenant's own. Another tenant's are not found.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import get_args

import msgspec
from fastapi import FastAPI, Request
from msgspec import Struct
from starlette.responses import Response, StreamingResponse

from rolehost_api import identity, wire
from rolehost_api.errors import BadRequest, Forbidden
from rolehost_runtime.core.export import ExportTurn, Line, encode_line
from rolehost_runtime.gateway.edge.audit import noted
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.rooms import MAX_SEQ, Json, Rooms
from rolehost_runtime.gateway.edge.views import EndAnswer, ForkAnswer, SessionsAnswer, answers, takes
from rolehost_runtime.gateway.keeping import SessionDetails
from rolehost_runtime.gateway.kept import Receipt, Whose
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry, Scope

MAX_LIMIT, DEFAULT_LIMIT = 200, 50
MAX_BODY = 4_096
NDJSON = "application/x-ndjson"
"""Who asked for what, in ids of keys and receipts: never a word of a conversation, nor whose it is."""


class ForkRequest(Struct, frozen=True, forbid_unknown_fields=True):
    at_seq: int | None = None
    """The last event that the new session has too; left out, the last one there is."""


TYPES = (ForkRequest, *get_args(Line))
"""For OpenAPI."""
_fork = msgspec.json.Decoder(ForkRequest)


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate = rooms.gate
    kept = gate.sessions.kept

    def asked(request: Request, name: str, user: str | None) -> tuple[Principal, RoleEntry, Whose]:
        principal = rooms.speaker(request, user)
        role = find_role(gate.tables.roles, principal, address(name))
        return principal, role, Whose(role.tenant.uid, role.name, principal.user)

    def of_user(request: Request, name: str, user: str) -> tuple[Principal, RoleEntry, Whose]:
        """Raises Forbidden `user_not_allowed` also where a user's token asks about another user."""
        principal, role, whose = asked(request, name, identity.user_id(user))
        if principal.user != user:
            raise Forbidden("a token is for its own user only", code="user_not_allowed")
        return principal, role, whose

    @app.get("/v1/roles/{name}/sessions", responses=answers(SessionsAnswer), response_class=Json)
    async def list_sessions(
        request: Request, name: str, user: str | None = None, after: str = "", limit: int = DEFAULT_LIMIT
    ) -> Response:
        """Sessions that had a turn, those that began last first: at most `limit` (200), then ask with the answer's `after`.

        With a key of scope `act-as-user` those of `user`, or all of the tenant's; with another key the tenant's own;
        with a user's token that user's.
        """
        principal, role, whose = asked(request, name, user)
        if not 1 <= limit <= MAX_LIMIT:
            raise BadRequest(f"limit is a number from 1 to {MAX_LIMIT}", code="invalid_limit")
        everybody = not principal.user and Scope.ACT_AS_USER in principal.scopes
        rows, then = await kept.sessions(whose.tenant_uid, role.name, None if everybody else whose.user, after, limit)
        return Json(SessionsAnswer(rows, then))

    @app.get("/v1/roles/{name}/sessions/{sid}", responses=answers(SessionDetails), response_class=Json)
    async def read_session(request: Request, name: str, sid: str, user: str | None = None) -> Response:
        """Where a session stands. No word of what was said in it."""
        _, _, whose = asked(request, name, user)
        return Json(await kept.details(whose, identity.session_id(sid)))

    @app.post(
        "/v1/roles/{name}/sessions/{sid}/fork",
        responses=answers(ForkAnswer),
        openapi_extra=takes(ForkRequest),
        response_class=Json,
    )
    async def fork_session(request: Request, name: str, sid: str, user: str | None = None) -> Response:
        """Begin a new session of the same principal as this one began, up to event `at_seq`, where a turn has to end.

        The old one stays as it is. The new one's `session.created` says what it was forked from.
        """
        principal, _, whose = asked(request, name, user)
        session_id = identity.session_id(sid)
        with noted(gate, "fork", principal):
            at_seq = _read(await _body(request)).at_seq
            if at_seq is not None and not 0 <= at_seq <= MAX_SEQ:
                raise BadRequest("at_seq is a number, 1 or more", code="invalid_at_seq")
            fresh = await kept.fork(whose, session_id, at_seq)
            origin = (await kept.details(whose, fresh)).forked_from
        return Json(ForkAnswer(fresh, origin or wire.ForkedFrom(session_id, at_seq or 0)))

    @app.post(
        "/v1/roles/{name}/sessions/{sid}/end",
        status_code=202,
        responses=answers(EndAnswer, status=202),
        response_class=Json,
    )
    async def end_session(request: Request, name: str, sid: str, user: str | None = None) -> Response:
        """The conversation is over: the Role has one turn more (`on_end`) within seconds, and its timers stop.

        Nothing is deleted, and what the user says after it goes on with the session.
        """
        principal, _, whose = asked(request, name, user)
        session_id = identity.session_id(sid)
        with noted(gate, "end", principal):
            await kept.end(whose, session_id)
        answer = Json(EndAnswer(session_id))
        answer.status_code = 202
        return answer

    @app.delete("/v1/roles/{name}/sessions/{sid}", responses=answers(Receipt), response_class=Json)
    async def forget_session(request: Request, name: str, sid: str, user: str | None = None) -> Response:
        """Delete all that is kept of a session, for good. Asked again, the answer is the same receipt.

        Whoever is connected to it hears the error `session_forgotten`, and is closed with 4404. The same session id
        begins a new session afterwards.
        """
        principal, _, whose = asked(request, name, user)
        with noted(gate, "forget", principal):
            return _receipt(await kept.forget(whose, identity.session_id(sid)))

    @app.delete("/v1/roles/{name}/users/{user:path}", responses=answers(Receipt), response_class=Json)
    async def forget_user(request: Request, name: str, user: str) -> Response:
        """Delete all that is kept of an end user with this Role: every session, and what outlives them."""
        principal, _, whose = of_user(request, name, user)
        with noted(gate, "forget_user", principal):
            return _receipt(await kept.forget_user(whose))

    @app.get("/v1/forgotten/{receipt}", responses=answers(Receipt), response_class=Json)
    async def read_receipt(request: Request, receipt: str) -> Response:
        """What was deleted, by the id in the answer to the deletion; for 90 days."""
        principal = rooms.caller(request, Scope.CHAT)
        return _receipt(await kept.receipt(principal.tenant.uid, receipt, principal.user))

    @app.get("/v1/roles/{name}/sessions/{sid}/export", responses=answers(ExportTurn, media=NDJSON))
    async def export_session(request: Request, name: str, sid: str, user: str | None = None) -> Response:
        """All that is kept of a session, as lines of JSON; the last one is of kind `end`, or the export is not whole."""
        principal, role, whose = asked(request, name, user)
        with noted(gate, "export", principal):
            return await _streamed(kept.export(role.tenant.name, whose, identity.session_id(sid)))

    @app.get("/v1/roles/{name}/users/{user:path}/export", responses=answers(ExportTurn, media=NDJSON))
    async def export_user(request: Request, name: str, user: str) -> Response:
        """All that is kept of an end user with this Role, as lines of JSON."""
        principal, role, whose = of_user(request, name, user)
        with noted(gate, "export_user", principal):
            return await _streamed(kept.export(role.tenant.name, whose, None))


def _receipt(receipt: Receipt) -> Response:
    answer = Json(receipt)
    answer.headers["cache-control"] = "no-store"
    return answer


async def _streamed(lines: AsyncIterator[Line]) -> Response:
    """The first line is taken before there is an answer, so that a refusal is still a status."""
    first = await anext(lines)

    async def pieces() -> AsyncIterator[bytes]:
        async with aclosing(lines):  # type: ignore[type-var]
            yield encode_line(first)
            async for line in lines:
                yield encode_line(line)

    return StreamingResponse(pieces(), media_type=NDJSON, headers={"cache-control": "no-store"})


async def _body(request: Request) -> bytes:
    body = await request.body()
    if len(body) > MAX_BODY:
        raise BadRequest(f"the request is over {MAX_BODY} bytes", code="invalid_request")
    return body or b"{}"


def _read(body: bytes) -> ForkRequest:
    try:
        return _fork.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "the request is not valid", hint='Send e.g. {"at_seq": 42}, or nothing', code="invalid_request"
        ) from None

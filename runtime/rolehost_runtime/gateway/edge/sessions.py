"""Routes that read a session: its events, its state. Nothing here begins a turn or makes a session."""

from fastapi import FastAPI, Request
from msgspec.structs import replace
from starlette.responses import Response

from rolehost_api import identity
from rolehost_api.errors import BadRequest
from rolehost_runtime.gateway.edge.handshake import address, find_role
from rolehost_runtime.gateway.edge.rooms import MAX_SEQ, Json, Rooms
from rolehost_runtime.gateway.edge.views import EventsAnswer, StateAnswer, answers
from rolehost_runtime.gateway.edge.waiting import grown, wait_seconds
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry


def routes(app: FastAPI, rooms: Rooms) -> None:
    gate = rooms.gate

    def asked(request: Request, name: str, user: str | None) -> tuple[Principal, RoleEntry]:
        principal = rooms.speaker(request, user)
        return principal, find_role(gate.tables.roles, principal, address(name))

    @app.get("/v1/roles/{name}/sessions/{sid}/events", responses=answers(EventsAnswer), response_class=Json)
    async def read_events(
        request: Request, name: str, sid: str, after_seq: int = 0, wait: float = 0, user: str | None = None
    ) -> Response:
        """What happened in a session after event `after_seq`: at most 1 MiB or 512 events.

        Where `more` is true, ask again with the answer's `last_seq`. With `wait` (seconds, at most 50) the answer
        comes as soon as there is an event, and empty after that time. `gap`: fewer events are there than
        `after_seq` says; a part of the history is lost, and what is there comes from its begin.
        Here and below `user` is whose session is meant, for a key with scope `act-as-user`.
        """
        principal, role = asked(request, name, user)
        session_id, seconds = identity.session_id(sid), wait_seconds(wait)
        if not 0 <= after_seq <= MAX_SEQ:
            raise BadRequest("after_seq is a number, 0 or more", code="invalid_after_seq")
        page = await gate.sessions.events(principal, role, session_id, after_seq)
        if not page.events and not page.gap and seconds:
            await grown(gate, principal, role, session_id, after_seq, seconds, request)
            page = await gate.sessions.events(principal, role, session_id, after_seq)
        return Json(EventsAnswer(session_id, page.events, page.last_seq, page.more, page.gap))

    @app.get(
        "/v1/roles/{name}/sessions/{sid}/state",
        responses=answers(StateAnswer) | {204: {"description": "The state is still the one of `after_version`"}},
        response_class=Json,
    )
    async def read_state(
        request: Request,
        name: str,
        sid: str,
        after_version: int | None = None,
        wait: float = 0,
        user: str | None = None,
    ) -> Response:
        """The session's state. With `after_version`, 204 without a body while it is still that version.

        With `wait` (seconds, at most 50) that answer is given only after this time; another version comes at once.
        A lower version than the one asked with is told too: a part of the history is lost then.
        """
        principal, role = asked(request, name, user)
        session_id, seconds = identity.session_id(sid), wait_seconds(wait)
        if after_version is not None and not 0 <= after_version <= MAX_SEQ:
            raise BadRequest("after_version is a number, 0 or more", code="invalid_after_version")
        at = await gate.sessions.standing(principal, role, session_id)
        until = gate.clock() + seconds
        while at.version == after_version and (left := until - gate.clock()) > 0 and not gate.hub.draining:
            await grown(gate, principal, role, session_id, at.seq, left, request)  # a turn may leave the state alone
            at = await gate.sessions.standing(principal, role, session_id)
        if at.version == after_version:
            return Response(status_code=204)
        seen = await gate.sessions.state(principal, role, session_id)
        answer = StateAnswer(
            session_id, seen.at.version, seen.at.seq, seen.state, seen.is_urgent, nodes=dict(seen.nodes)
        )
        if seen.user is not None:
            answer = replace(answer, user_state=seen.user.state, user_version=seen.user.version)
        return Json(answer)

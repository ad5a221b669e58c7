"""REST: Roles, sessions, one-shot replies, logs, pushes, health, and the page. FastAPI."""

import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp

from rolehost_api.errors import BadRequest, NotFound, RolehostError
from rolehost_api.link.messages import LogLine
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.edge import inspecting, keeping, minting, pages, remembered, sessions, talking
from rolehost_runtime.gateway.edge.bounds import Bounded
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.follow import follow_logs
from rolehost_runtime.gateway.edge.handshake import address, find_role, roles_of
from rolehost_runtime.gateway.edge.openai import routes as openai
from rolehost_runtime.gateway.edge.openai.errors import refusal
from rolehost_runtime.gateway.edge.platform import PlatformAnswer
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.rooms import MAX_SEQ, Json, Rooms
from rolehost_runtime.gateway.edge.uploads import Uploads
from rolehost_runtime.gateway.edge.views import (
    FindingsAnswer,
    HealthAnswer,
    PushedAnswer,
    RolesAnswer,
    RoleView,
    answers,
    components,
    takes_bytes,
    view,
)
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry, Scope, Tables
from rolehost_runtime.gateway.tracing.context import PARENT, of_headers

log = logging.getLogger(__name__)


def make_rest(rooms: Rooms, policy: Policy) -> ASGIApp:
    app = FastAPI(
        title="rolehost",
        summary="Talk to Roles, read their sessions, push their logic.",
        version="v1",
        docs_url=None,  # they load assets from elsewhere
        redoc_url=None,
        default_response_class=Json,
    )
    _errors(app)
    _health(app, rooms)
    _roles(app, rooms)
    sessions.routes(app, rooms)
    keeping.routes(app, rooms)
    remembered.routes(app, rooms)
    inspecting.routes(app, rooms)
    talking.routes(app, rooms)
    openai.routes(app, rooms)
    minting.routes(app, rooms)
    _pushes(app, rooms)
    _platform(app, rooms)
    pages.serve_library(app)
    if rooms.page:
        pages.serve(app)
    _described(app)
    return _shared(Bounded(_Counted(app, rooms.gate), policy), policy)


def _shared(app: ASGIApp, policy: Policy) -> ASGIApp:
    """The app, for pages of the allowed origins too: a browser hands them the answers, refusals among them.

    They may send any header, for nobody is known by one that a browser adds by itself.
    """
    return CORSMiddleware(
        app,
        allow_origins=policy.origins,
        allow_methods=("GET", "POST", "DELETE"),
        allow_headers=("*",),
        expose_headers=("retry-after", openai.DROPPED, openai.SESSION),
    )


def _health(app: FastAPI, rooms: Rooms) -> None:
    @app.get("/healthz", responses=answers(HealthAnswer), response_class=Json)
    async def healthz() -> Response:
        """The process runs."""
        return Json(HealthAnswer(ok=True))

    @app.get("/readyz", responses=answers(HealthAnswer), response_class=Json)
    async def readyz() -> Response:
        """Everything that a new session needs was seen, and Redis answers."""
        waiting = await rooms.waiting_for()
        answer = HealthAnswer(ok=not waiting, waiting_for=waiting, stale=rooms.gate.tables.stale)
        return Json(answer, 503 if waiting else 200)


def _roles(app: FastAPI, rooms: Rooms) -> None:
    tables: Tables = rooms.gate.tables

    def role_of(principal: Principal, name: str) -> RoleEntry:
        return find_role(tables.roles, principal, address(name))

    @app.get("/v1/roles", responses=answers(RolesAnswer), response_class=Json)
    async def list_roles(request: Request) -> Response:
        """The Roles of your key's tenant; with an end user's token those that it is for."""
        mine = roles_of(tables.roles, rooms.caller(request, Scope.CHAT))
        return Json(RolesAnswer([view(role, tables) for role in mine]))

    @app.get("/v1/roles/{name}", responses=answers(RoleView), response_class=Json)
    async def get_role(request: Request, name: str) -> Response:
        return Json(view(role_of(rooms.caller(request, Scope.CHAT), name), tables))

    @app.get("/v1/roles/{name}/logs", responses=answers(LogLine, media="application/x-ndjson"))
    async def read_logs(request: Request, name: str, after: int = 0, follow: bool = False) -> Response:
        """What the Role's logic printed, a line of JSON each; with `follow` also what it will print."""
        principal = rooms.caller(request, Scope.PUSH)
        if not 0 <= after <= MAX_SEQ:
            raise BadRequest("after is a number, 0 or more", code="invalid_after")
        lines = rooms.logs.follow(role_of(principal, name), after=after, follow=follow)
        body = await follow_logs(lines, lambda: rooms.caller(request, Scope.PUSH))  # a revoked key reads no more
        return StreamingResponse(body, media_type="application/x-ndjson")


def _pushes(app: FastAPI, rooms: Rooms) -> None:
    def uploads() -> Uploads:
        if rooms.uploads is None:
            raise NotFound(
                "nothing is pushed here", hint="`rolehost dev` reads your files as they are", code="no_uploads"
            )
        return rooms.uploads

    @app.put("/v1/bundles", responses=answers(PushedAnswer), openapi_extra=takes_bytes("application/gzip"))
    async def push_bundle(request: Request) -> Response:
        """Push role logic as `rolehost push` packs it (tar, gzip, at most 10 MiB); the digest names it from then on."""
        tenant = rooms.caller(request, Scope.PUSH).tenant
        status, body = await uploads().bundle(tenant, _stream(request))
        return Response(body, status, media_type="application/json")

    @app.post("/v1/roles:check", responses=answers(FindingsAnswer), openapi_extra=takes_bytes("application/yaml"))
    async def check_role(request: Request) -> Response:
        """Everything that is wrong with a manifest, at once. An empty list is a good manifest."""
        tenant = rooms.caller(request, Scope.PUSH).tenant
        status, body = await uploads().check(tenant, _stream(request))
        return Response(body, status, media_type="application/json")


def _platform(app: FastAPI, rooms: Rooms) -> None:
    @app.get("/v1/platform/health", responses=answers(PlatformAnswer), response_class=Json)
    async def platform_health(request: Request) -> Response:
        """Versions, the store's durability and memory, clocks: for a key with scope `admin`."""
        rooms.caller(request, Scope.ADMIN)
        return Json(await rooms.platform.answer())


async def _stream(request: Request) -> AsyncIterator[bytes]:
    async for chunk in request.stream():
        if chunk:
            yield chunk


def _errors(app: FastAPI) -> None:
    @app.exception_handler(RolehostError)
    async def ours(request: Request, error: RolehostError) -> Response:
        return refusal(request.url.path, error, close=error.status in (408, 413))

    @app.exception_handler(Exception)
    async def bug(request: Request, __: Exception) -> Response:
        return refusal(request.url.path, faults.OURS)  # `_Counted` logs it

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        where = ", ".join(sorted({".".join(map(str, fault["loc"])) for fault in error.errors()}))
        return refusal(request.url.path, BadRequest(f"not valid: {where}"[:512], code="invalid_request"))

    @app.exception_handler(HTTPException)
    async def routing(request: Request, error: HTTPException) -> Response:
        if error.status_code == 404:
            nothing = NotFound("there is nothing at this path", hint="GET /openapi.json", code="path_not_found")
            return refusal(request.url.path, nothing)
        refused = BadRequest("this cannot be done here", code="method_not_allowed")
        refused.status = error.status_code
        response = refusal(request.url.path, refused)
        response.headers.update(error.headers or {})
        return response


class _Counted:
    """Counts answers by route, and turns what nobody caught into an error of our shape."""

    def __init__(self, app: FastAPI, gate: Gate) -> None:
        self._app = app
        self._gate = gate

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status = 0
        PARENT.set(of_headers(scope.get("headers", ())))

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._gate.hub.draining:  # the next request of this connection belongs to another gateway
                    message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except RolehostError as error:
            if not status:
                await refusal(scope["path"], error, close=True)(scope, receive, noted)
        except Exception as error:
            told = faults.internal(log, "answering a request", error)
            if not status:
                await refusal(scope["path"], told, close=True)(scope, receive, noted)
        route = scope.get("route")
        self._gate.metrics.requests.labels(getattr(route, "path", "other"), str(status or 499)).inc()


def _described(app: FastAPI) -> None:
    """OpenAPI with the schemas of the types that are really sent."""
    bare = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = bare()
            described.setdefault("components", {}).setdefault("schemas", {}).update(
                components(*openai.TYPES, *minting.TYPES, *keeping.TYPES, *remembered.TYPES, *inspecting.TYPES)
            )
            described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            described["security"] = [{"key": []}]
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

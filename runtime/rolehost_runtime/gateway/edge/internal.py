"""Ports that only the platform reaches: the report for the operator, and metrics."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol, cast

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from rolehost_api import wire
from rolehost_api.errors import BadRequest, Forbidden, RolehostError, Unauthorized, Unavailable
from rolehost_runtime.gateway.edge.bodies import error_json
from rolehost_runtime.gateway.ports import Report

MAX_WAIT_SECONDS = 60.0
REVIEW_SECONDS = 600.0
MAX_REVIEWS = 256
MAX_TOKEN_CHARS = 16_384


class Reviewer(Protocol):
    async def user_of(self, token: str) -> str | None:
        """The Kubernetes user whose token for our audience this is; None: nobody's. Raises Unavailable."""


class OperatorOnly:
    """Lets in one ServiceAccount. A good token is asked about once in ten minutes, by its hash."""

    def __init__(self, reviewer: Reviewer, service_account: str, now: Callable[[], float] = time.monotonic) -> None:
        namespace, _, name = service_account.partition("/")
        self._user = f"system:serviceaccount:{namespace}:{name}"
        self._reviewer = reviewer
        self._now = now
        self._good: OrderedDict[bytes, float] = OrderedDict()

    async def admit(self, authorization: str) -> None:
        """Raises Unauthorized, Forbidden, or Unavailable where nobody can tell."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_CHARS:
            raise Unauthorized("a token is needed")
        digest = hashlib.sha256(token.encode()).digest()
        if self._good.get(digest, -REVIEW_SECONDS) + REVIEW_SECONDS > self._now():
            return
        user = await self._reviewer.user_of(token)
        if user is None:
            raise Unauthorized("the token is not valid for this audience")
        if user != self._user:
            raise Forbidden("only the operator may ask")
        self._good[digest] = self._now()
        while len(self._good) > MAX_REVIEWS:
            self._good.popitem(last=False)


def internal_app(report: Report, door: OperatorOnly) -> web.Application:
    async def observed(request: web.Request) -> web.Response:
        await door.admit(request.headers.get("authorization", ""))
        after, wait = _number(request, "after", -1), _number(request, "wait", 0)
        picture = await report.observed(after, min(float(wait), MAX_WAIT_SECONDS))
        return web.Response(body=msgspec.json.encode(picture), content_type="application/json")

    app = web.Application(middlewares=[_errors], client_max_size=1024)
    app.router.add_get("/internal/v1/observed", observed)
    return app


class _Taken:
    """What a registry said."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def metrics_app(registry: CollectorRegistry) -> web.Application:
    """In the form that the scraper asks for: exemplars are told in OpenMetrics only.

    The numbers are of one moment, and are written out beside the loop: with many Roles that takes longer than a turn
    may wait.
    """

    async def metrics(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        taken = cast("CollectorRegistry", _Taken(tuple(registry.collect())))
        return web.Response(body=await asyncio.to_thread(encode, taken), headers={"content-type": content_type})

    app = web.Application(client_max_size=1024)
    app.router.add_get("/metrics", metrics)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
    try:
        return await handler(request)  # type: ignore[misc, no-any-return]
    except RolehostError as error:
        body = error_json(wire.error_body(error))
        return web.Response(body=body, status=error.status, content_type="application/json")


def _number(request: web.Request, name: str, default: int) -> int:
    raw = request.query.get(name, str(default))
    if raw.removeprefix("-").isdigit() and len(raw) < 16:
        return int(raw)
    raise BadRequest(f"{name} is a number", code="invalid_query")


class SmallServer:
    """An aiohttp app on a port of its own."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        self._host, self._port = host, port

    @property
    def port(self) -> int:
        return int(self._runner.addresses[0][1])

    async def start(self) -> None:
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            raise Unavailable(f"port {self._port} cannot be used: {error.strerror}", code="port_taken") from None

    async def stop(self) -> None:
        await self._runner.cleanup()

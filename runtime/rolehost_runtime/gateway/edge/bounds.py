"""Bounds around the REST app, as plain ASGI: whose page, how large a body, how long it may take."""

import asyncio
from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rolehost_api.errors import BadRequest, RolehostError
from rolehost_runtime.gateway.edge.handshake import refuse_key_in_url
from rolehost_runtime.gateway.edge.openai.errors import refusal
from rolehost_runtime.gateway.edge.policy import Policy
from rolehost_runtime.gateway.edge.uploads import MAX_MANIFEST_BYTES, MAX_UPLOAD_BYTES

MAX_JSON_BYTES = 131_072
JSON_SECONDS = 10.0
UPLOAD_SECONDS = 60.0

LARGE: Mapping[str, int] = {
    "/v1/bundles": MAX_UPLOAD_BYTES,
    "/v1/roles:check": MAX_MANIFEST_BYTES,
    "/v1/chat/completions": 1 << 20,
}
"""Bodies that may have more bytes than others: two that pass through unread, and a whole conversation."""


class Bounded:
    """The app, for requests that may be answered at all, with bodies that end."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        limit = LARGE.get(scope["path"], MAX_JSON_BYTES)
        seconds = UPLOAD_SECONDS if scope["path"] in LARGE else JSON_SECONDS
        body = _Body(receive, limit, asyncio.get_running_loop().time() + seconds)
        try:
            self._policy.check(headers.get(b"host"), headers.get(b"origin"))
            refuse_key_in_url(scope["query_string"].decode("latin-1"))
            body.announced(headers.get(b"content-length", ""))
        except RolehostError as error:
            await refusal(scope["path"], error, close=True)(scope, receive, send)
            return
        await self._app(scope, body.receive, send)


class _Body:
    """A request's body, cut off where it is too large or too slow."""

    def __init__(self, receive: Receive, limit: int, deadline: float) -> None:
        self._receive = receive
        self._limit = limit
        self._deadline = deadline
        self._read = 0
        self._whole = False

    def announced(self, length: str) -> None:
        if length.isdigit() and int(length[:20]) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()  # waits for the client to go away
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise _TooSlow("the request's body did not arrive in time", code="body_too_slow") from None
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._whole = not message.get("more_body", False)
            if self._read > self._limit:
                raise self._too_large()
        return message

    def _too_large(self) -> RolehostError:
        return _TooLarge(f"the request's body is larger than {self._limit} bytes", code="body_too_large")


class _TooLarge(BadRequest):
    status = 413


class _TooSlow(BadRequest):
    status = 408

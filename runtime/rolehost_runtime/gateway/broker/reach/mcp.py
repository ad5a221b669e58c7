"""One conversation with a server of the Model Context Protocol, over the same client as all requests of logic.

No library: the protocol's own brings an HTTP client that resolves, redirects and pools by itself, and what is said here is
four messages. A server that gives out sessions gets one of its own for each call, so what it keeps of one is never another's.
"""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import rolehost_api
from rolehost_api.errors import RolehostError
from rolehost_api.link.tools import MAX_TOOLS, ToolSpec
from rolehost_runtime.core.reach import intent, mcp
from rolehost_runtime.core.reach.headers import Headers
from rolehost_runtime.core.reach.hops import Request
from rolehost_runtime.core.reach.urls import Target
from rolehost_runtime.gateway.broker.reach.client import Answer, Client, Traffic

MAX_ANSWER_BYTES = 1_048_576
"""Of one answer; what a model reads of it is cut later."""
LEAVE_SECONDS = 1.0
SESSION, VERSION = "Mcp-Session-Id", "MCP-Protocol-Version"
MAX_SESSION_CHARS = 1024


@dataclass(slots=True)
class Conversation:
    """`open`, `tools` or `call`, `close`. Whoever calls bounds the time."""

    client: Client
    tenant: str
    server: str
    """As the Role names it."""
    target: Target
    headers: Headers = field(repr=False)
    traffic: Traffic = field(default_factory=Traffic)
    _said: Headers = ()
    _numbers: Any = field(default_factory=lambda: count(1))

    async def open(self) -> None:
        """Raises RolehostError: a code of `failures`, `mcp_failed`, `mcp_version`."""
        number = next(self._numbers)
        params = mcp.hello(rolehost_api.__version__)
        async with self._post(mcp.request(number, "initialize", params)) as answer:
            result = await self._result(answer, number)
            session = answer.header(SESSION.lower())
        told = [(VERSION, mcp.version_of(result))]
        if session:
            if len(session) > MAX_SESSION_CHARS or not session.isascii() or not session.isprintable():
                raise mcp.broken()
            told.append((SESSION, session))
        self._said = tuple(told)
        async with self._post(mcp.notification("notifications/initialized")) as answer:
            if not 200 <= answer.status < 300:
                raise mcp.broken()

    async def tools(self) -> tuple[ToolSpec, ...]:
        """Those of its first pages, in its own order. Raises as `open`."""
        found: list[ToolSpec] = []
        cursor = ""
        for _ in range(mcp.MAX_PAGES):
            page = await self._ask("tools/list", {"cursor": cursor} if cursor else None)
            found += mcp.tools_in(self.server, page)
            cursor = mcp.next_page(page)
            if not cursor or len(found) >= MAX_TOOLS:
                break
        return tuple({one.name: one for one in found[:MAX_TOOLS]}.values())

    async def call(self, tool: str, arguments: Mapping[str, Any], key: str) -> str:
        """Raises as `open`."""
        return mcp.text_in(await self._ask("tools/call", {"name": tool, "arguments": arguments}, key))

    async def close(self) -> None:
        """Let the server forget the session, if it gave one out and has the time."""
        if any(name == SESSION for name, _ in self._said):
            with suppress(RolehostError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS), self._send(Request("DELETE", self.target, self._all())):
                    self._said = ()

    async def _ask(self, method: str, params: Mapping[str, Any] | None, key: str = "") -> dict[str, Any]:
        number = next(self._numbers)
        async with self._post(mcp.request(number, method, params), key) as answer:
            return await self._result(answer, number)

    async def _result(self, answer: Answer, number: int) -> dict[str, Any]:
        if answer.status != 200:
            raise mcp.broken()
        kind = answer.header("content-type").partition(";")[0].strip().lower()
        if kind == "application/json":
            result = mcp.answer_in(await answer.whole(), number)
            if result is None:
                raise mcp.broken()
            return result
        if kind != "text/event-stream":
            raise mcp.broken()
        events = mcp.Events()
        async with aclosing(answer.chunks()) as chunks:  # type: ignore[type-var]
            async for data in chunks:
                for event in events.feed(data):
                    if (result := mcp.answer_in(event, number)) is not None:
                        return result
        raise mcp.broken()

    def _all(self) -> Headers:
        return (*self.headers, *self._said)

    def _post(self, body: bytes, key: str = "") -> Any:
        told = (("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream"))
        again = ((intent.HEADER, key),) if key else ()
        return self._send(Request("POST", self.target, (*self._all(), *told, *again), body))

    def _send(self, request: Request) -> Any:
        """The keys in it are this server's: nowhere else is it sent on to."""
        may = lambda target: target.origin == self.target.origin  # noqa: E731
        return self.client.ask(request, self.tenant, may, self.traffic, MAX_ANSWER_BYTES)

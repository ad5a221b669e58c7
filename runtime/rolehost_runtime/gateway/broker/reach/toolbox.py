"""Tools of servers that Roles declare. Implements ports.Toolbox.

What a server offers is kept for a while, for the tenant that declared it and nobody else.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from rolehost_api.crd.role import ToolServer
from rolehost_api.errors import NotFound, RolehostError, Unavailable
from rolehost_api.link.tools import ToolSpec
from rolehost_runtime.core.reach import mcp
from rolehost_runtime.core.reach.headers import Headers, checked
from rolehost_runtime.core.reach.urls import parse
from rolehost_runtime.core.tooling import LATE, UNKNOWN, arguments_of
from rolehost_runtime.gateway import faults
from rolehost_runtime.gateway.broker.models.keys import KeyRing
from rolehost_runtime.gateway.broker.reach import failures
from rolehost_runtime.gateway.broker.reach.client import Client, Traffic
from rolehost_runtime.gateway.broker.reach.limits import Bounds
from rolehost_runtime.gateway.broker.reach.mcp import Conversation
from rolehost_runtime.gateway.broker.reach.metrics import NoReachSink, ReachSink
from rolehost_runtime.gateway.tables import RevisionEntry, RoleEntry

log = logging.getLogger(__name__)

LIST_SECONDS = 4.0
"""For one server to say what it offers."""
CALL_SECONDS = 25.0
KEEP_SECONDS, RETRY_SECONDS = 300.0, 15.0
"""How long what a server offers is believed, and how long one that failed is left alone."""
MAX_KEPT = 1024
"""Servers, over all tenants."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Listing:
    until: float
    tools: tuple[ToolSpec, ...] = ()
    error: RolehostError | None = None


@dataclass(slots=True)
class McpToolbox:
    client: Client
    bounds: Bounds
    keys: KeyRing
    now: Callable[[], float]
    sink: ReachSink = field(default_factory=NoReachSink)
    _kept: OrderedDict[tuple[str, bytes], _Listing] = field(default_factory=OrderedDict)
    _asking: dict[tuple[str, bytes], "asyncio.Task[_Listing]"] = field(default_factory=dict)

    async def offered(self, role: RoleEntry, revision: RevisionEntry) -> Sequence[ToolSpec]:
        servers = revision.spec.template.tools
        found = await asyncio.gather(*(self._listing(role, server) for server in servers))
        failed = [one.error for one in found if one.error is not None]
        if failed and len(failed) == len(found):
            raise failed[0]
        return [tool for one in found for tool in one.tools]

    async def call(self, role: RoleEntry, revision: RevisionEntry, name: str, arguments: str, key: str) -> str:
        server_name, tool = mcp.split(name)
        server = next((one for one in revision.spec.template.tools if one.name == server_name), None)
        given = arguments_of(arguments)
        if server is None or given is None:
            raise NotFound("there is no such tool", code=UNKNOWN)
        try:
            return await self._with(role, server, CALL_SECONDS, lambda open_: open_.call(tool, given, key))
        except RolehostError as error:
            if error.code == "http_timeout":
                raise NotFound("the tool took too long", code=LATE) from None
            raise

    async def _listing(self, role: RoleEntry, server: ToolServer) -> _Listing:
        """What the server offers; asked once, however many turns want to know."""
        key = (role.tenant.uid, _mark(server))
        kept = self._kept.get(key)
        if kept is not None and self.now() < kept.until:
            self._kept.move_to_end(key)
            return kept
        asking = self._asking.get(key)
        if asking is None:
            asking = self._asking[key] = asyncio.create_task(self._listed(role, server), name="tools of a server")
            asking.add_done_callback(lambda done: self._told(key, done))
        return await asyncio.shield(asking)

    async def _listed(self, role: RoleEntry, server: ToolServer) -> _Listing:
        try:
            tools = await self._with(role, server, LIST_SECONDS, lambda open_: open_.tools())
            return _Listing(self.now() + KEEP_SECONDS, tools)
        except RolehostError as error:
            return _Listing(self.now() + RETRY_SECONDS, error=error)

    def _told(self, key: tuple[str, bytes], done: "asyncio.Task[_Listing]") -> None:
        self._asking.pop(key, None)
        if not done.cancelled() and done.exception() is None:
            self._kept[key] = done.result()
            self._kept.move_to_end(key)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)

    async def close(self) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def _with(
        self, role: RoleEntry, server: ToolServer, seconds: float, use: Callable[[Conversation], Awaitable[T]]
    ) -> T:
        """One conversation, counted as one request of the Role. Raises RolehostError."""
        loop, tenant, traffic = asyncio.get_running_loop(), role.tenant, Traffic()
        began, outcome = loop.time(), mcp.broken().code
        try:
            self.bounds.pace(tenant.uid)
            target, headers = parse(server.mcp.url), self._headers(tenant.name, server)
            async with asyncio.timeout(seconds), self.bounds.room(tenant.uid, role.name):
                talk = Conversation(self.client, tenant.uid, server.name, target, headers, traffic)
                try:
                    await talk.open()
                    result = await use(talk)
                finally:
                    await talk.close()
            outcome = "2xx"
            return result
        except TimeoutError:
            outcome = failures.too_slow().code
            raise failures.too_slow() from None
        except RolehostError as error:
            outcome = error.code
            raise
        except Exception as error:
            faults.internal(log, "speaking with a tool server", error)
            raise mcp.broken() from None
        finally:
            self.sink.request(tenant.name, role.name, outcome, loop.time() - began, traffic.sent, traffic.received)

    def _headers(self, tenant: str, server: ToolServer) -> Headers:
        """Only entries of the tenant's own: a Role names no other's key."""
        found = []
        for header in server.mcp.headers:
            try:
                value = self.keys.get(f"{tenant}.{header.key}")
            except RolehostError:
                raise Unavailable(
                    "a key that this Role's tool server takes is not there",
                    hint="Add the entry <namespace>.<key> to the Secret rolehost-tool-keys",
                    code="tool_key_missing",
                ) from None
            found.append((header.name, f"{header.prefix} {value}".strip()))
        return checked(found)


def _mark(server: ToolServer) -> bytes:
    return msgspec.msgpack.encode(server)

"""What stands behind the routes of REST, and what they have in common."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import Response

from rolehost_api import wire
from rolehost_runtime.gateway.edge.auth import Authenticator, acting, require
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.handshake import presented_key
from rolehost_runtime.gateway.edge.platform import PlatformHealth
from rolehost_runtime.gateway.edge.uploads import Uploads
from rolehost_runtime.gateway.ports import Inspecting, Logs, Principal
from rolehost_runtime.gateway.tables import Scope

MAX_SEQ = 1 << 53


@dataclass(frozen=True, slots=True)
class Rooms:
    gate: Gate
    auth: Authenticator
    logs: Logs
    uploads: Uploads | None
    store_answers: Callable[[], Awaitable[bool]]
    settled: Callable[[], bool]
    """Every other gateway was heard of; before that one might be taken for dead."""
    page: bool
    platform: PlatformHealth
    inspecting: Inspecting | None = None
    """None: nobody looks underneath here."""

    async def waiting_for(self) -> list[str]:
        """What a new session needs and was not seen yet; empty: this gateway is ready."""
        waiting = self.gate.tables.unfilled
        if self.gate.hub.draining:
            waiting.append("draining")
        if not self.settled():
            waiting.append("peers")
        if not await self.store_answers():
            waiting.append("state")
        return waiting

    def caller(self, request: Request, scope: Scope) -> Principal:
        """Who asks. Raises Unauthorized, or Forbidden where the key lacks the scope."""
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
        principal = self.auth.principal(presented_key(headers))
        require(principal, scope)
        return principal

    def speaker(self, request: Request, user: str | None) -> Principal:
        """Who talks or reads, `user` where the caller may act for them. Raises as `caller` does, and as `acting`."""
        return acting(self.caller(request, Scope.CHAT), user)


class Json(Response):
    """An answer of ours as JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return wire.encode(content)

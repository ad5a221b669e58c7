"""Waiting for something to happen in a session: how a client that only asks hears of it at once."""

import asyncio

from starlette.requests import Request

from rolehost_api import wire
from rolehost_api.errors import BadRequest, RolehostError
from rolehost_runtime.gateway.edge.dialect import Gate
from rolehost_runtime.gateway.edge.outbox import last_word
from rolehost_runtime.gateway.ports import Principal
from rolehost_runtime.gateway.tables import RoleEntry

MAX_WAIT_SECONDS = 50.0
"""Load balancers hang up on an answer that does not begin within a minute."""


def wait_seconds(raw: float) -> float:
    """Raises BadRequest `invalid_wait`."""
    if 0 <= raw <= MAX_WAIT_SECONDS:
        return raw
    raise BadRequest(f"wait is a number of seconds, 0 to {MAX_WAIT_SECONDS:.0f}", code="invalid_wait")


class Bell:
    """A place at a session that rings when its log grew past `after`. Implements ports.Channel and hub.Live."""

    def __init__(self, key_sha256: str, after: int) -> None:
        self.key_sha256 = key_sha256
        self.rung = asyncio.Event()
        self.refused: RolehostError | None = None
        self._after = after

    def send(self, event: wire.ServerFrame) -> None:
        seq = event.head if isinstance(event, wire.SessionCreated) else event.seq
        if (seq is not None and seq > self._after) or last_word(event):
            self.rung.set()

    async def room(self) -> bool:
        return True

    def refuse(self, error: RolehostError) -> None:
        self.refused = error
        self.rung.set()

    def migrate(self) -> None:
        """Whoever waits is answered now, and asks again elsewhere."""
        self.rung.set()

    def close(self, code: int, reason: str = "") -> None:
        self.rung.set()


async def grown(
    gate: Gate, principal: Principal, role: RoleEntry, session_id: str, after: int, seconds: float, request: Request
) -> None:
    """Until the log has an event after `after`, wherever it is written; at most so long, and not for a client that
    is gone or a gateway that leaves. No turn is opened. Raises Unauthorized where the key is revoked, or
    the token expires, meanwhile.
    """
    if seconds <= 0 or gate.hub.draining:
        return
    bell = Bell(principal.key_sha256, after)
    handle = await gate.sessions.attach(principal, role, session_id, bell)
    gate.admit(bell, principal)
    over = [asyncio.ensure_future(bell.rung.wait()), asyncio.ensure_future(gone(request))]
    try:
        await asyncio.wait(over, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gate.hub.remove(bell)
        handle.detach()
        for waiting in over:
            waiting.cancel()
        await asyncio.gather(*over, return_exceptions=True)
    if bell.refused is not None:
        raise bell.refused


async def gone(request: Request) -> None:
    """Until the client hangs up; its body was read, or there is none."""
    while (await request.receive())["type"] != "http.disconnect":
        pass

"""What one turn may ask of servers outside: how often, for how long, and known by which key."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from rolehost_api.crd.role import RoleTemplate
from rolehost_api.errors import BadRequest
from rolehost_api.link.messages import Fetch, Fetched
from rolehost_runtime.core.reach import intent
from rolehost_runtime.core.reach.hops import SAFE
from rolehost_runtime.core.reach.urls import parse
from rolehost_runtime.core.session import OpenTurn
from rolehost_runtime.gateway.ports import Web
from rolehost_runtime.gateway.tables import RoleEntry

MAX_FETCHES = 16
MAX_SECONDS = 60.0
"""Of one turn, for all of its requests."""


@dataclass(slots=True)
class Reaching:
    """Of one turn, however often it runs.

    A request that changes something is sent only when the store knows that the turn is open: whoever gives the turn anew
    sends it with the same key. Nothing more is noted, for the turn's own note is all that makes the same request again.
    """

    web: Web
    role: RoleEntry
    template: RoleTemplate
    log_id: str
    opened: OpenTurn
    noted: Callable[[OpenTurn], Awaitable[bool]]
    """Whether the store knows that this turn is open."""
    _fetches: int = 0
    _seconds: float = 0.0

    async def fetch(self, asked: Fetch) -> Fetched:
        """Its failure is an answer too: the logic may handle it."""
        loop = asyncio.get_running_loop()
        self._fetches += 1
        left_ms = int(1000 * (MAX_SECONDS - self._seconds))
        if self._fetches > MAX_FETCHES or left_ms <= 0:
            return Fetched(index=asked.index, error="too_many_effects")
        key = "" if asked.method in SAFE else intent.of_effect(self.key, asked.index)
        began = loop.time()
        try:
            if key and not await self.known():
                return Fetched(index=asked.index, error="state_unavailable")
            bounded = replace(asked, timeout_ms=min(asked.timeout_ms, left_ms))
            return await self.web.fetch(self.role, self.template.permissions, bounded, key)
        finally:
            self._seconds += loop.time() - began

    async def known(self) -> bool:
        """Whether the store knows that the turn is open: what it changes outside may be changed."""
        return await self.noted(self.opened)

    @property
    def key(self) -> str:
        """Of the turn."""
        opened = self.opened
        return intent.of_turn(self.log_id, opened.turn, opened.client_msg_id or opened.response_id)


def shown(asked: Fetch, answer: Fetched) -> str:
    """A request as the turn's record shows it: never its path, its query or a body.

    >>> shown(Fetch(index=0, method="POST", url="https://api.acme.com/v1?key=x"), Fetched(index=0, status=201))
    'POST api.acme.com 201'
    >>> shown(Fetch(index=0, url="https://api.acme.com/"), Fetched(index=0, error="http_timeout"))
    'GET api.acme.com'
    """
    try:
        host = parse(asked.url).host
    except BadRequest:
        host = "?"
    return f"{asked.method} {host} {answer.status or ''}".rstrip()

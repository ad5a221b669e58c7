"""The tables' last good rows in Redis: one hash, per kind its place and its body.

One server-side function keeps a body and refuses an older one, so a gateway that lags
never overwrites what another knows better. The key ends by itself when nobody confirmed
it for a day. What is in the bodies is `watch.lastgood`'s business.
"""

from dataclasses import replace
from typing import Any

from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.ports import OUTLIVED_MS, Place

KEY = "rh:tables:1"
"""Ends in the encoding's version: gateways of two versions do not overwrite each other's."""
SLOT = KEY.encode()
KEEP_SECONDS = 86_400
OPERATION_SECONDS = 10.0
"""Bodies have megabytes; nobody's turn waits for them."""

KEEP = """
local at = redis.call('HGET', KEYS[1], ARGV[1] .. '.place')
if at then
  local own, tenants, as_of = string.match(at, '^(%d+) (%d+) (%d+)$')
  if own then
    local mine, mine_tenants = tonumber(ARGV[2]), tonumber(ARGV[3])
    local later = tonumber(ARGV[4]) - tonumber(as_of)
    local older = mine < tonumber(own) or mine_tenants < tonumber(tenants)
    local same = mine == tonumber(own) and mine_tenants == tonumber(tenants)
    if (older or (same and later < 0)) and later < tonumber(ARGV[6]) then return 0 end
  end
end
redis.call('HSET', KEYS[1], ARGV[1] .. '.place', ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4], ARGV[1] .. '.body', ARGV[5])
redis.call('EXPIRE', KEYS[1], ARGV[7])
return 1
"""
"""KEYS tables. ARGV kind, own, tenants, as of (ms), body, ms that outlive any number, seconds to keep."""
KEEP_SCRIPT = Script(KEEP)


class RedisLastGood:
    """Implements ports.LastGoodStore."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, url: str, password: str | None = None) -> "RedisLastGood":
        """On a URL as RedisSessionStore's, with connections of its own: sessions never wait for them.

        No replica is waited for: what is lost here is read from the apiserver again.
        """
        target = replace(parse(url), replicas=0)
        scripts = (KEEP_SCRIPT,)
        return cls(
            Client(target, password=password or "", name="rolehost-tables", scripts=scripts, seconds=OPERATION_SECONDS)
        )

    async def close(self) -> None:
        await self._redis.close()

    async def places(self) -> dict[str, Place]:
        names: list[Any] = await self._redis.run("HKEYS", KEY, key=SLOT)
        fields = [name.decode() for name in names if name.endswith(b".place")]
        values: list[Any] = await self._redis.run("HMGET", KEY, *fields, key=SLOT) if fields else []
        found = {name.removesuffix(".place"): _place(raw) for name, raw in zip(fields, values, strict=True)}
        return {kind: place for kind, place in found.items() if place is not None}

    async def keep(self, kind: str, place: Place, body: bytes) -> bool:
        arguments: list[Word] = [kind, place.own, place.tenants, place.as_of_ms, body, OUTLIVED_MS, KEEP_SECONDS]
        return bool(await self._redis.call(KEEP_SCRIPT, (KEY,), arguments, line=SLOT))

    async def read(self, kind: str) -> tuple[Place, bytes] | None:
        raw: bytes | None
        body: bytes | None
        raw, body = await self._redis.run("HMGET", KEY, f"{kind}.place", f"{kind}.body", key=SLOT)
        place = _place(raw)
        return None if place is None or body is None else (place, body)


def _place(raw: bytes | None) -> Place | None:
    """
    >>> _place(b"7 3 1000"), _place(b"7"), _place(None)
    (Place(own=7, tenants=3, as_of_ms=1000), None, None)
    """
    words = (raw or b"").split()
    return Place(*map(int, words)) if len(words) == 3 and all(word.isdigit() for word in words) else None

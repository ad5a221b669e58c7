"""Gateways' leases in Redis: one key each, which ends by itself. Nobody's clock but Redis' own counts."""

from dataclasses import replace

from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.ports import LEASE_SECONDS

OPERATION_SECONDS = 1.0

RENEW = """
local lapsed = redis.call('HSET', KEYS[1], 'held', 1)
redis.call('EXPIRE', KEYS[1], ARGV[1])
return lapsed
"""
"""KEYS lease. ARGV seconds. 1: it had ended, or never was."""
HELD = "return redis.call('HGET', KEYS[1], 'held')"
"""KEYS lease. A script, so that it goes over the connection that renews: that one stands when it is needed."""
RENEW_SCRIPT, HELD_SCRIPT = Script(RENEW), Script(HELD)


class RedisLeases:
    """Implements ports.Leases."""

    def __init__(self, redis: Client) -> None:
        self._redis = redis

    @classmethod
    def connect(cls, url: str, password: str | None = None) -> "RedisLeases":
        """On a URL as RedisSessionStore's, with a connection of its own: what is on its way there delays no lease.

        No replica is waited for: a lease that a failover forgot is held again within a second.
        """
        target = replace(parse(url), replicas=0)
        return cls(
            Client(
                target,
                password=password or "",
                name="rolehost-leases",
                scripts=(RENEW_SCRIPT, HELD_SCRIPT),
                seconds=OPERATION_SECONDS,
            )
        )

    async def close(self) -> None:
        await self._redis.close()

    async def renew(self, gateway: str) -> bool:
        key = _key(gateway)
        return not await self._redis.call(RENEW_SCRIPT, (key,), (LEASE_SECONDS,), line=key.encode())

    async def held(self, gateway: str) -> bool:
        key = _key(gateway)
        return await self._redis.call(HELD_SCRIPT, (key,), (), line=key.encode()) is not None


def _key(gateway: str) -> str:
    """
    >>> _key("gw-1/0123")
    'rh:gw:gw-1/0123'
    """
    return f"rh:gw:{gateway}"

"""Connections to Redis, bounded in number and time, for whichever store asks."""

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError


def connect(url: str, password: str | None, *, connections: int, seconds: float) -> Redis:
    """A client on `redis://host:port/db`, `rediss://…` or `unix:///path`. Connects when first used.

    At most so many connections, and so many seconds for one answer. A lost connection is tried once more.
    """
    keepalive = {} if url.startswith("unix:") else {"socket_keepalive": True}
    pool = BlockingConnectionPool.from_url(
        url,
        password=password or None,
        max_connections=connections,
        timeout=1.0,
        socket_timeout=seconds,
        socket_connect_timeout=1.0,
        retry=Retry(NoBackoff(), 1),
        retry_on_error=[RedisConnectionError],
        **keepalive,
    )
    return Redis(connection_pool=pool)


async def close(redis: Redis) -> None:
    """Let go of every connection of `connect`'s client: the pool is its own."""
    await redis.aclose()
    await redis.connection_pool.disconnect()

"""What Redis says of itself: whether what it acknowledged will be there tomorrow."""

from collections.abc import Mapping
from typing import Any

from rolehost_runtime.gateway.ports import StoreFacts

WORD = 64
"""Longest word of Redis that is passed on."""


def store_facts(info: Mapping[str, Any], fsync: str | None, time: tuple[int, int]) -> StoreFacts:
    """The facts in the answers of INFO, CONFIG GET appendfsync and TIME (seconds, microseconds).

    Redis of a cloud may refuse CONFIG; then `fsync` is None, and the fact is an empty word.

    >>> info = {"redis_version": "7.2.4", "aof_enabled": 1, "aof_last_write_status": "ok",
    ...         "maxmemory_policy": "noeviction", "used_memory": 1_500_000, "maxmemory": 256_000_000}
    >>> facts = store_facts(info, "always", (1_730_000_000, 250_000))
    >>> facts.version, facts.aof, facts.appendfsync, facts.eviction, facts.now_ms
    ('7.2.4', True, 'always', 'noeviction', 1730000000250)
    >>> store_facts({}, None, (0, 0)).appendfsync
    ''
    """
    return StoreFacts(
        version=_word(info, "redis_version"),
        aof=_number(info, "aof_enabled") == 1,
        aof_writes=_word(info, "aof_last_write_status"),
        appendfsync=(fsync or "")[:WORD],
        eviction=_word(info, "maxmemory_policy"),
        used_bytes=_number(info, "used_memory"),
        max_bytes=_number(info, "maxmemory"),
        now_ms=time[0] * 1000 + time[1] // 1000,
    )


def _word(info: Mapping[str, Any], name: str) -> str:
    return str(info.get(name, ""))[:WORD]


def _number(info: Mapping[str, Any], name: str) -> int:
    found = info.get(name, 0)
    return found if isinstance(found, int) else 0

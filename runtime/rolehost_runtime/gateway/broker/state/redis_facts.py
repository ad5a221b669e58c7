"""What Redis says of itself: whether what it acknowledged will be there tomorrow."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from rolehost_runtime.gateway.ports import StoreFacts

WORD = 64
"""Longest word of Redis that is passed on."""
SYNCED = ("no", "everysec", "", "always")
"""From the weakest; one that is not told stands before the best."""
DENIALS = ("NOPERM", "NOAUTH", "WRONGPASS")
"""Errors that Redis counts for whoever is not allowed what it tries."""
_COUNT = re.compile(r"count=(\d{1,18})", re.ASCII)


def parse_info(text: bytes) -> dict[str, str | int]:
    """The answer to INFO.

    >>> parse_info(b"# Server\\r\\nredis_version:7.0.15\\r\\n\\r\\nmaxmemory:0\\r\\n")
    {'redis_version': '7.0.15', 'maxmemory': 0}
    """
    found: dict[str, str | int] = {}
    for line in text.decode(errors="replace").splitlines():
        name, colon, value = line.partition(":")
        if colon and not name.startswith("#"):
            found[name] = int(value) if value.isascii() and value.isdigit() and len(value) < 20 else value
    return found


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
    >>> store_facts({"errorstat_NOPERM": "count=2", "errorstat_ERR": "count=7"}, None, (0, 0)).denied
    2
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
        denied=sum(_counted(info, word) for word in DENIALS),
    )


def memory_of(info: Mapping[str, Any]) -> tuple[int, int]:
    """Bytes used, and bytes that may be (0: no bound), out of INFO memory.

    >>> memory_of({"used_memory": 5, "maxmemory": 10}), memory_of({})
    ((5, 10), (0, 0))
    """
    return _number(info, "used_memory"), _number(info, "maxmemory")


def fullest(servers: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Of a cluster's primaries the one that is nearest to its bound; one without a bound is as good as empty.

    >>> fullest([(5, 10), (8, 10), (99, 0)]), fullest([(99, 0)]), fullest([])
    ((8, 10), (99, 0), (0, 0))
    """
    return max(servers, key=lambda one: one[0] / one[1] if one[1] else 0.0, default=(0, 0))


def weakest(facts: Sequence[StoreFacts]) -> StoreFacts:
    """Of a cluster's primaries: each fact is the worst of them, memory that of the fullest. At least one.

    >>> a = StoreFacts(version="7.0.15", aof=True, aof_writes="ok", appendfsync="always", eviction="noeviction",
    ...                used_bytes=5, max_bytes=10)
    >>> b = StoreFacts(version="7.0.15", aof=False, aof_writes="ok", appendfsync="everysec", eviction="allkeys-lru",
    ...                used_bytes=1, max_bytes=10)
    >>> found = weakest([a, b])
    >>> found.aof, found.appendfsync, found.eviction, found.used_bytes
    (False, 'everysec', 'allkeys-lru', 5)
    """
    fullest = max(facts, key=lambda one: one.used_bytes / one.max_bytes if one.max_bytes else 0.0)
    return replace(
        fullest,
        version=min(one.version for one in facts),
        aof=all(one.aof for one in facts),
        aof_writes=next((one.aof_writes for one in facts if one.aof_writes != "ok"), "ok"),
        appendfsync=min((one.appendfsync for one in facts), key=_strength),
        eviction=next((one.eviction for one in facts if one.eviction != "noeviction"), "noeviction"),
        denied=sum(one.denied for one in facts),
    )


def _strength(fsync: str) -> int:
    return SYNCED.index(fsync) if fsync in SYNCED else 0


def _word(info: Mapping[str, Any], name: str) -> str:
    return str(info.get(name, ""))[:WORD]


def _counted(info: Mapping[str, Any], error: str) -> int:
    found = _COUNT.fullmatch(str(info.get(f"errorstat_{error}", "")))
    return int(found[1]) if found else 0


def _number(info: Mapping[str, Any], name: str) -> int:
    found = info.get(name, 0)
    return found if isinstance(found, int) else 0

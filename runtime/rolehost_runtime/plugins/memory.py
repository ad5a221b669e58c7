"""What an author of a MemoryStore needs.

    class Shelf:
        rolehost_protocol = 1

        def __init__(self) -> None: ...

        async def memories(self, key: str, known: Stored) -> Stored: ...
        async def change_memories(self, key, changes, keep_seconds=RETENTION_SECONDS, *, renew=False) -> int: ...
        async def drop_memories(self, key: str) -> int: ...

It is named in the group `rolehost.memory_stores`, and chosen by ROLEHOST_MEMORY_STORE for the whole installation. What a
turn remembers is durable in Redis with the turn, and moves to this store behind its back (`core.memory.uniting`): a store
that is away fails no turn. `kept` is the law of `change_memories`, as a pure function over what is stored. `close()`,
where there is one, is awaited at the end. Conformance: `rolehost_runtime.conformance.memory`.
"""

from rolehost_api.errors import Unavailable
from rolehost_api.identity import tag_of as partition_of
from rolehost_runtime.core.memory.atoms import (
    Atom,
    Changes,
    MemoryFull,
    Stored,
    atoms_of,
    kept,
    mark_of,
    marked,
    version_of,
)
from rolehost_runtime.gateway.kept import RETENTION_SECONDS
from rolehost_runtime.gateway.memories import MemoryStore

__all__ = [
    "RETENTION_SECONDS",
    "Atom",
    "Changes",
    "MemoryFull",
    "MemoryStore",
    "Stored",
    "Unavailable",
    "atoms_of",
    "kept",
    "mark_of",
    "marked",
    "partition_of",
    "version_of",
]

"""The fake of what is remembered: the same rules in this process's memory, with the same bytes kept."""

import secrets
from typing import TYPE_CHECKING

from rolehost_runtime.core.memory.atoms import Changes, Stored, kept, mark_of, version_of
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.scripts import MARGIN_SECONDS
from rolehost_runtime.gateway.kept import RETENTION_SECONDS

if TYPE_CHECKING:
    from rolehost_runtime.gateway.broker.state.memory_store import Shelf


class MemoryMemories:
    """Implements memories.MemoryStore."""

    @property
    def shelf(self) -> "Shelf":
        """As it is now."""
        raise NotImplementedError

    async def memories(self, key: str, known: Stored) -> Stored:
        there = self.shelf.memories.get(keys.memories(key), {})
        return known if (version_of(there), mark_of(there)) == (version_of(known), mark_of(known)) else dict(there)

    async def change_memories(
        self, key: str, changes: Changes, keep_seconds: int = RETENTION_SECONDS, *, renew: bool = False
    ) -> int:
        where = keys.memories(key)
        there = self.shelf.memories.get(where, {})
        self.shelf.memories[where] = kept(there, changes, secrets.token_hex(8))
        if renew or where not in self.shelf.until:
            self.shelf.last(where, keep_seconds + MARGIN_SECONDS)
        names = {*changes.forgotten, *changes.dropped}
        return sum(b"a" + name.encode() in there for name in names)

    async def drop_memories(self, key: str) -> int:
        where = keys.memories(key)
        self.shelf.until.pop(where, None)
        return held(self.shelf.memories.pop(where, {}))


def held(stored: Stored) -> int:
    """How many atoms there are."""
    return sum(name[:1] == b"a" for name in stored)

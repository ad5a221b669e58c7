"""What is remembered of whom, as a store has it. The contract that any store of memory passes:
rolehost_runtime/conformance/memory.py.

A partition is one person's with one Role; of a session that names no end user it is the session's own. What a turn
remembers is written by its commit (ports.SessionStore), in the same step as its record.
"""

from typing import Protocol

from rolehost_runtime.core.memory.atoms import Changes, Stored
from rolehost_runtime.gateway.kept import RETENTION_SECONDS


class MemoryStore(Protocol):
    """`key` is that of any session of the person's. Every method: Unavailable `state_unavailable` in ≤2 s where the
    store is away."""

    async def memories(self, key: str, known: Stored) -> Stored:
        """The partition as it is kept, `known` itself while it is the newest; empty where there is none."""

    async def change_memories(
        self, key: str, changes: Changes, keep_seconds: int = RETENTION_SECONDS, *, renew: bool = False
    ) -> int:
        """What no turn does: forget, confirm, take out what is too much; in one step. How many atoms went.

        A partition that was not there is kept for `keep_seconds` from now on, or until a turn of the person's says
        otherwise; any other goes when it would have gone.

        Raises MemoryFull where it would grow past its bounds; nothing is changed then.
        """

    async def drop_memories(self, key: str) -> int:
        """Delete the whole partition; how many atoms it held."""

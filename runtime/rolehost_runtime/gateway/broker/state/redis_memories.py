"""Redis' part of `memories`: `rh:{<tag>}:mem`, or `rh:{<tag>}:<session>:mem` where no end user is named."""

import secrets

from rolehost_runtime.core.memory.atoms import (
    MOST_BYTES,
    MOST_FIELDS,
    Changes,
    MemoryFull,
    Stored,
    mark_of,
    version_of,
)
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.broker.state.scripts import DROP_MEMORIES, MARGIN_SECONDS, MEMORIES, REMEMBER
from rolehost_runtime.gateway.kept import RETENTION_SECONDS

MEMORIES_SCRIPT, REMEMBER_SCRIPT, DROP_SCRIPT = Script(MEMORIES), Script(REMEMBER), Script(DROP_MEMORIES)
MEMORY_SCRIPTS = (MEMORIES_SCRIPT, REMEMBER_SCRIPT, DROP_SCRIPT)


class RedisMemories:
    """Implements memories.MemoryStore."""

    _redis: Client

    async def memories(self, key: str, known: Stored) -> Stored:
        found = await self._redis.ask(MEMORIES_SCRIPT, (keys.memories(key),), (version_of(known), mark_of(known)))
        return known if found == b"same" else dict(zip(found[::2], found[1::2], strict=True))

    async def change_memories(
        self, key: str, changes: Changes, keep_seconds: int = RETENTION_SECONDS, *, renew: bool = False
    ) -> int:
        keep = keep_seconds + MARGIN_SECONDS
        arguments = [-keep if renew else keep, *memory_words(changes, secrets.token_hex(8))]
        outcome = await self._redis.call(REMEMBER_SCRIPT, (keys.memories(key),), arguments)
        if not isinstance(outcome, list):
            raise memory_full()
        return int(outcome[2])

    async def drop_memories(self, key: str) -> int:
        return int(await self._redis.call(DROP_SCRIPT, (keys.memories(key),), ()))


def memory_words(changes: Changes, mark: str) -> list[Word]:
    """What the script MEMORIZE takes."""
    words: list[Word] = [mark, MOST_FIELDS, MOST_BYTES]
    for kind, name, what in changes.facts():
        words += (kind, name, what)
    return words


def memory_full() -> MemoryFull:
    return MemoryFull(
        "more is remembered than there is room for", hint="Send the message again: memory is tidied meanwhile"
    )

"""The fake of logs whose begin goes away: the same rules, on the shelf of a MemorySessionStore."""

from collections.abc import Sequence
from dataclasses import replace

from rolehost_runtime.core.record import Position, decode
from rolehost_runtime.core.segment import Entry, Shelved, entry
from rolehost_runtime.gateway.broker.state.memory_store import Shelf
from rolehost_runtime.gateway.ports import Superseded


class MemoryShortenedLog:
    """Implements ports.ShortenedLog."""

    def __init__(self, shelf: Shelf, owner: str) -> None:
        self._there, self._owner = shelf, owner

    @property
    def _shelf(self) -> Shelf:
        self._there.lapse()
        return self._there

    async def entries(self, key: str, start: Position, count: int) -> Sequence[Entry]:
        log = [entry(decode(fields).position, fields) for fields in self._shelf.logs.get(key, [])]
        return [one for one in log if one.position >= start][:count]

    async def shelved(self, key: str, position: Position) -> Shelved | None:
        return next((one for one in self._shelf.segments.get(key, []) if one.last >= position), None)

    async def shorten(self, key: str, log_id: str, epoch: int, first: Position, last: Position, name: str) -> bool:
        """As ports.ShortenedLog has it."""
        head = self._shelf.heads.get(key)
        if head is None or (head.log_id, head.epoch) != (log_id, epoch) or self._shelf.owners[key] != self._owner:
            raise Superseded()
        if head.turn <= last[0]:
            raise Superseded()
        log = self._shelf.logs.get(key, [])
        places = [decode(fields).position for fields in log]
        if not places or places[0] != first or last not in places:
            return False
        if name:
            self._shelf.segments.setdefault(key, []).append(Shelved.of(name))
        gone = places.index(last) + 1
        left = head.log_bytes - sum(len(fields[b"body"]) for fields in log[:gone])
        self._shelf.heads[key] = replace(head, log_bytes=left)
        del log[:gone]
        return True

"""The store's fake: the same rules in this process's memory, with the same bytes kept."""

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from rolehost_api.errors import Conflict
from rolehost_runtime.core.record import TurnRecord, decode, encode
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.gateway.ports import Head, HeldElsewhere


@dataclass
class Shelf:
    """What Redis would hold; several stores on one shelf are several gateways on one Redis."""

    heads: dict[str, Head] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    logs: dict[str, list[dict[bytes, bytes]]] = field(default_factory=dict)


class MemorySessionStore:
    """Implements ports.SessionStore."""

    def __init__(self, shelf: Shelf | None = None, owner: str = "") -> None:
        self.shelf = shelf or Shelf()
        self._owner = owner or secrets.token_hex(16)

    async def open(self, key: str, yield_to: Collection[str] = ()) -> tuple[Head, list[TurnRecord]]:
        """As ports.SessionStore has it."""
        if (holder := self.shelf.owners.get(key, "")) in yield_to:
            raise HeldElsewhere(holder)
        head = self.shelf.heads.get(key) or Head(secrets.token_hex(16), 0, 0, 0, 0, "")
        head = self.shelf.heads[key] = replace(head, epoch=head.epoch + 1)
        self.shelf.owners[key] = self._owner
        return head, await self.read(key)

    async def read(self, key: str) -> list[TurnRecord]:
        return [decode(fields) for fields in self.shelf.logs.get(key, [])]

    async def page(self, key: str, after_turn: int, count: int) -> list[TurnRecord]:
        return [decode(fields) for fields in self.shelf.logs.get(key, [])[after_turn : after_turn + count]]

    async def last_seq(self, key: str) -> int:
        head = self.shelf.heads.get(key)
        return head.seq if head else 0

    async def fence(self, key: str) -> Fence | None:
        head = self.shelf.heads.get(key)
        return None if head is None else Fence(head.log_id, head.epoch, self.shelf.owners[key] == self._owner, head.turn)

    async def rename(self, key: str, head: Head) -> Head:
        there = self.shelf.heads.get(key)
        ours = there is not None and (there.log_id, there.epoch) == (head.log_id, head.epoch)
        if there is None or not ours or self.shelf.owners[key] != self._owner:
            raise _superseded()
        self.shelf.heads[key] = replace(there, log_id=secrets.token_hex(16))
        return replace(head, log_id=self.shelf.heads[key].log_id)

    async def commit(self, key: str, record: TurnRecord) -> None:
        head, log = self.shelf.heads.get(key), self.shelf.logs.setdefault(key, [])
        fields = {name.encode(): value for name, value in encode(record).items()}
        ours = head is not None and (head.log_id, head.epoch) == (record.log_id, record.epoch)
        if head is None or not ours or self.shelf.owners[key] != self._owner:
            raise _superseded()
        if head.turn == record.turn and log[-1] == fields:
            return
        if head.turn != record.turn - 1:
            raise _superseded()
        log.append(fields)
        self.shelf.heads[key] = replace(
            head,
            turn=record.turn,
            seq=record.seq_first + record.seq_count - 1,
            version=record.version,
            revision=record.revision,
            last_at_ms=record.at_ms,
        )


def _superseded() -> Conflict:
    return Conflict(
        "another gateway took this session over in mid-turn",
        hint="Send the message again",
        code="superseded",
        retryable=True,
    )

"""Sessions' logs in Redis: `rh:{<key>}:head` (a hash) and `rh:{<key>}:wal` (a stream of turns).

Who may write is decided by epoch and owner in the same server-side call that appends; the
stream's ids are the turns' numbers, so Redis itself refuses doubles and disorder.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from rolehost_api.errors import Conflict, Unavailable
from rolehost_runtime.core.record import CorruptRecord, TurnRecord, decode, encode
from rolehost_runtime.gateway.broker.state import redis_pool
from rolehost_runtime.gateway.broker.state.redis_facts import store_facts
from rolehost_runtime.gateway.broker.state.scripts import COMMIT, OPEN
from rolehost_runtime.gateway.ports import Head, HeldElsewhere, StoreFacts

OPERATION_SECONDS = 2.0
SOCKET_SECONDS = 1.5
PAGE = 32
"""Records read with one command, and decoded before the others have their turn: each may be over 1 MiB."""
MAX_CONNECTIONS = 64
HEAD = ("log_id", "epoch", "turn", "seq", "version", "revision", "at_ms")
"""Fields of a session's head, as the script OPEN gives them too."""
UNSPOKEN_SECONDS = 86_400
"""How long a session that never had a turn is remembered: its id came from a client and cost nothing."""


class RedisSessionStore:
    """Implements ports.SessionStore. One per process: its owner's name is what fences another one."""

    def __init__(self, redis: Redis, owner: str = "") -> None:
        self._redis = redis
        self._owner = owner or secrets.token_hex(16)
        self._open = redis.register_script(OPEN)
        self._commit = redis.register_script(COMMIT)

    @classmethod
    def connect(cls, url: str, password: str | None = None, owner: str = "") -> "RedisSessionStore":
        """A store on `redis://host:port/db`, `rediss://…` or `unix:///path`. Connects when first used.

        `owner` is the process's own name, never used by another one; by default a random one.
        """
        redis = redis_pool.connect(url, password, connections=MAX_CONNECTIONS, seconds=SOCKET_SECONDS)
        return cls(redis, owner)

    async def close(self) -> None:
        await redis_pool.close(self._redis)

    async def answers(self) -> bool:
        """Redis is there and writable, for readiness."""
        try:
            await self._bounded(lambda: self._redis.ping())
        except Unavailable:
            return False
        return True

    async def open(self, key: str, yield_to: Collection[str] = ()) -> tuple[Head, list[TurnRecord]]:
        """Take the session over: raise its epoch, so that whoever held it is fenced; read it whole.

        Raises HeldElsewhere where its last owner is one of `yield_to`: looked at and decided in the same step.
        """
        arguments: list[str | int] = [self._owner, secrets.token_hex(16), UNSPOKEN_SECONDS, *yield_to]
        found = await self._bounded(lambda: self._open(keys=[_head(key)], args=tuple(arguments)))
        outcome, *values = found
        if outcome == b"held":
            raise HeldElsewhere(values[0].decode())
        head = _read_head(values)
        return head, await self.read(key) if head.turn else []

    async def read(self, key: str) -> list[TurnRecord]:
        """The whole log without taking it over; empty where there is none."""
        records: list[TurnRecord] = []
        while True:
            page = await self.page(key, records[-1].turn if records else 0, PAGE)
            records += page
            if len(page) < PAGE:
                return records

    async def page(self, key: str, after_turn: int, count: int) -> list[TurnRecord]:
        """At most `count` records after that turn; fewer only where the log ends."""
        records: list[TurnRecord] = []
        after = f"({after_turn}-0"
        for entry_id, fields in await self._bounded(lambda: self._redis.xrange(_wal(key), min=after, count=count)):
            record = decode(fields)
            if entry_id != f"{record.turn}-0".encode():
                raise CorruptRecord("a record is not where its number says")
            records.append(record)
        return records

    async def head(self, key: str) -> Head | None:
        """Where the session stands, without taking it over; None where there is none."""
        found = await self._bounded(lambda: self._redis.hmget(_head(key), *HEAD))
        return None if found[0] is None else _read_head(found)

    async def commit(self, key: str, record: TurnRecord) -> None:
        """Append one turn, if epoch, owner and turn are still right; the same record again is accepted."""
        fields = encode(record)
        arguments: list[str | int | bytes] = [
            record.log_id,
            self._owner,
            record.epoch,
            record.turn,
            record.seq_first + record.seq_count - 1,
            record.version,
            record.revision,
            record.at_ms,
            fields["v"],
            fields["crc32"],
            fields["body"],
        ]
        outcome = await self._bounded(lambda: self._commit(keys=[_head(key), _wal(key)], args=tuple(arguments)))
        if outcome != b"ok":
            raise Conflict(
                "another gateway took this session over in mid-turn",
                hint="Send the message again",
                code="superseded",
                retryable=True,
            )

    async def facts(self) -> StoreFacts:
        """What Redis says of its durability, memory and clock. CONFIG may be forbidden; that is no failure."""
        info = await self._bounded(lambda: self._redis.info())
        time = await self._bounded(lambda: self._redis.time())
        return store_facts(info, await self._fsync(), time)

    async def _fsync(self) -> str | None:
        async def ask() -> Any:
            try:
                return await self._redis.config_get("appendfsync")
            except ResponseError:
                return {}

        found = await self._bounded(ask)
        word = found.get("appendfsync")
        return word if isinstance(word, str) else None

    async def _bounded(self, operation: Callable[[], Any]) -> Any:
        """One operation, over in OPERATION_SECONDS. A lost connection is tried once more by the client itself:
        both scripts may run twice."""
        try:
            async with asyncio.timeout(OPERATION_SECONDS):
                return await operation()
        except (RedisError, OSError, TimeoutError):
            raise Unavailable(
                "the store of sessions does not answer",
                hint="Try again, with the same client_msg_id: what was kept after all is not answered twice",
                code="state_unavailable",
            ) from None


def _read_head(values: Sequence[bytes]) -> Head:
    """The fields HEAD. Raises CorruptRecord."""
    try:
        log_id, epoch, turn, seq, version, revision, at_ms = (value.decode() for value in values)
        return Head(log_id, int(epoch), int(turn), int(seq), int(version), revision, int(at_ms))
    except (AttributeError, UnicodeDecodeError, ValueError):
        raise CorruptRecord("a session's head cannot be read") from None


def _head(key: str) -> str:
    return f"rh:{{{key}}}:head"


def _wal(key: str) -> str:
    return f"rh:{{{key}}}:wal"

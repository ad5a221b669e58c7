"""Sessions' logs in Redis: `rh:{<key>}:head` (a hash) and `rh:{<key>}:wal` (a stream of turns).

Who may write is decided by epoch and owner in the same server-side call that appends; the
stream's ids are the turns' numbers, so Redis itself refuses doubles and disorder.
"""

import secrets
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from rolehost_api.errors import Conflict, RolehostError
from rolehost_runtime.core.record import CorruptRecord, TurnRecord, decode, encode
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.gateway.broker.state.redis_facts import parse_info, store_facts, weakest
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.broker.state.resp.refusals import told
from rolehost_runtime.gateway.broker.state.scripts import COMMIT, OPEN, RENAME
from rolehost_runtime.gateway.ports import Head, HeldElsewhere, StoreFacts

PAGE = 32
"""Records read with one command, and decoded before the others have their turn: each may be over 1 MiB."""
UNSPOKEN_SECONDS = 86_400
"""How long a session that never had a turn is remembered: its id came from a client and cost nothing."""
OPEN_SCRIPT, RENAME_SCRIPT, COMMIT_SCRIPT = Script(OPEN), Script(RENAME), Script(COMMIT)


class RedisSessionStore:
    """Implements ports.SessionStore. One per process: its owner's name is what fences another one."""

    def __init__(self, redis: Client, owner: str = "") -> None:
        self._redis = redis
        self._owner = owner or secrets.token_hex(16)

    @classmethod
    def connect(cls, url: str, password: str | None = None, owner: str = "") -> "RedisSessionStore":
        """A store on a URL as `resp.address.parse` takes it. Connects when first used. Raises BadRequest.

        `owner` is the process's own name, never used by another one; by default a random one.
        """
        scripts = (OPEN_SCRIPT, RENAME_SCRIPT, COMMIT_SCRIPT)
        return cls(Client(parse(url), password=password or "", name="rolehost-sessions", scripts=scripts), owner)

    @property
    def durability(self) -> str:
        """What an acknowledged turn has survived, as `session.created` says it."""
        return self._redis.target.durability

    async def close(self) -> None:
        await self._redis.close()

    async def answers(self) -> bool:
        """Redis is there, for readiness; of a cluster, a part of it: the others' sessions are served."""
        return b"PONG" in await self._redis.everywhere("PING")

    async def open(self, key: str, yield_to: Collection[str] = ()) -> tuple[Head, list[TurnRecord]]:
        """Take the session over: raise its epoch, so that whoever held it is fenced; read it whole.

        Raises HeldElsewhere where its last owner is one of `yield_to`: looked at and decided in the same step.
        """
        arguments: list[Word] = [self._owner, secrets.token_hex(16), UNSPOKEN_SECONDS, *yield_to]
        found = await self._redis.call(OPEN_SCRIPT, (_head(key),), arguments, line=key.encode())
        try:
            outcome, *values = (value.decode() for value in found)
            if outcome == "held":
                raise HeldElsewhere(values[0])
            log_id, epoch, turn, seq, version, revision, at_ms = values
            head = Head(log_id, int(epoch), int(turn), int(seq), int(version), revision, int(at_ms))
        except (AttributeError, UnicodeDecodeError, ValueError):
            raise CorruptRecord("a session's head cannot be read") from None
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
        wal = _wal(key)
        for entry_id, flat in await self._redis.run("XRANGE", wal, after, "+", "COUNT", count, key=wal.encode()):
            record = decode(dict(zip(flat[::2], flat[1::2], strict=True)))
            if entry_id != f"{record.turn}-0".encode():
                raise CorruptRecord("a record is not where its number says")
            records.append(record)
        return records

    async def last_seq(self, key: str) -> int:
        """Of the last event in the log; 0 where there is none."""
        head = _head(key)
        found = await self._redis.run("HGET", head, "seq", key=head.encode())
        try:
            return int(found or 0)
        except ValueError:
            raise CorruptRecord("a session's head cannot be read") from None

    async def fence(self, key: str) -> Fence | None:
        """Who may write there now, without a change; None where there is no such session."""
        head = _head(key)
        words = await self._redis.run("HMGET", head, "log_id", "epoch", "owner", "turn", key=head.encode())
        if words[0] is None:
            return None
        try:
            log_id, epoch, owner, turn = (word.decode() for word in words)
            return Fence(log_id, int(epoch), owner == self._owner, int(turn))
        except (AttributeError, UnicodeDecodeError, ValueError):
            raise CorruptRecord("a session's head cannot be read") from None

    async def rename(self, key: str, head: Head) -> Head:
        """Give the log that this owner holds, at that head, a new id. Raises Conflict `superseded` as `commit` does."""
        named = replace(head, log_id=secrets.token_hex(16))
        arguments = (head.log_id, self._owner, head.epoch, named.log_id)
        if await self._redis.call(RENAME_SCRIPT, (_head(key),), arguments, line=key.encode()) != b"ok":
            raise _superseded()
        return named

    async def commit(self, key: str, record: TurnRecord) -> None:
        """Append one turn, if epoch, owner and turn are still right; the same record again is accepted."""
        fields = encode(record)
        arguments: list[Word] = [
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
        keys = (_head(key), _wal(key))
        outcome = await self._redis.call(COMMIT_SCRIPT, keys, arguments, line=key.encode())
        if outcome != b"ok":
            raise _superseded()

    async def facts(self) -> StoreFacts:
        """What Redis says of its durability, memory and clock. CONFIG may be forbidden; that is no failure."""
        infos = await self._redis.everywhere("INFO")
        times = await self._redis.everywhere("TIME")
        settings = await self._redis.everywhere("CONFIG", "GET", "appendfsync")
        if not len(infos) == len(times) == len(settings):
            raise told(None)  # it was changed in between
        return weakest([_facts(*one) for one in zip(infos, times, settings, strict=True)])


def _superseded() -> Conflict:
    return Conflict(
        "another gateway took this session over in mid-turn",
        hint="Send the message again",
        code="superseded",
        retryable=True,
    )


def _facts(info: Any, time: Any, setting: Any) -> StoreFacts:
    for answer in (info, time):
        if isinstance(answer, BaseException):
            raise answer
    fsync = "" if isinstance(setting, RolehostError) or len(setting) != 2 else setting[1].decode()
    return store_facts(parse_info(info), fsync, (int(time[0]), int(time[1])))


def _head(key: str) -> str:
    return f"rh:{{{key}}}:head"


def _wal(key: str) -> str:
    return f"rh:{{{key}}}:wal"

"""Sessions' logs in Redis: `rh:{<key>}:head` (a hash) and `rh:{<key>}:wal` (a stream of records).

Who may write is decided by epoch and owner in the same server-side call that appends; the
stream's ids are the records' places, `<turn>-0` for a turn and `<turn>-<number>` for an
amend after it, so Redis itself refuses doubles and disorder.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from rolehost_api.errors import RolehostError
from rolehost_runtime.core.record import Amend, CorruptRecord, Position, Record, decode, encode, following, last_seq
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.session import OpenTurn, decode_open, encode_open
from rolehost_runtime.gateway.broker.state.redis_facts import parse_info, store_facts, weakest
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.broker.state.resp.refusals import told
from rolehost_runtime.gateway.broker.state.scripts import COMMIT, NOTE, OPEN, RENAME
from rolehost_runtime.gateway.ports import RAISE_MS, Head, HeldElsewhere, Moving, StoreFacts, Superseded

PAGE = 32
"""Records read with one command, and decoded before the others have their turn: each may be over 1 MiB."""
HEAD = ("log_id", "epoch", "turn", "seq", "version", "revision", "at_ms", "amends", "deaths", "open")
"""Fields of a session's head, as the script OPEN gives them too."""
OPEN_TRIES = 3
"""Of who may not take a session over yet, because another one just did."""
UNSPOKEN_SECONDS = 86_400
"""How long a session that never had a turn is remembered: its id came from a client and cost nothing."""
OPEN_SCRIPT, RENAME_SCRIPT, COMMIT_SCRIPT, NOTE_SCRIPT = Script(OPEN), Script(RENAME), Script(COMMIT), Script(NOTE)


class RedisSessionStore:
    """Implements ports.SessionStore. One per process: its owner's name is what fences another one."""

    def __init__(self, redis: Client, owner: str = "") -> None:
        self._redis = redis
        self._owner = owner or secrets.token_hex(16)

    @classmethod
    def connect(
        cls,
        url: str,
        password: str | None = None,
        owner: str = "",
        noticed: Callable[[str], None] = lambda what: None,
    ) -> "RedisSessionStore":
        """A store on a URL as `resp.address.parse` takes it. Connects when first used. Raises BadRequest.

        `owner` is the process's own name, never used by another one; by default a random one.
        `noticed` is told in a word of everything that Redis refuses or does not answer.
        """
        scripts = (OPEN_SCRIPT, RENAME_SCRIPT, COMMIT_SCRIPT, NOTE_SCRIPT)
        redis = Client(parse(url), password=password or "", name="rolehost-sessions", scripts=scripts)
        redis.noticed = noticed
        return cls(redis, owner)

    @property
    def durability(self) -> str:
        """What an acknowledged turn has survived, as `session.created` says it."""
        return self._redis.target.durability

    async def close(self) -> None:
        await self._redis.close()

    async def answers(self) -> bool:
        """Redis is there, for readiness; of a cluster, a part of it: the others' sessions are served."""
        return b"PONG" in await self._redis.everywhere("PING")

    async def open(
        self, key: str, yield_to: Collection[str] = (), given: Collection[str] = ()
    ) -> tuple[Head, list[Record]]:
        """As ports.SessionStore has it: looked at and decided in one step."""
        arguments: list[Word] = [self._owner, secrets.token_hex(16), UNSPOKEN_SECONDS, RAISE_MS, len(yield_to)]
        arguments += [*yield_to, *given]
        for _ in range(OPEN_TRIES):
            outcome, *values = await self._redis.call(OPEN_SCRIPT, (_head(key),), arguments, line=key.encode())
            if outcome == b"held":
                raise HeldElsewhere(values[0].decode(), int(values[1]))
            if outcome != b"raised":
                head = replace(_read_head(values), how=outcome.decode())
                return head, await self.read(key) if head.turn else []
            await asyncio.sleep(int(values[0]) / 1000)
        raise Moving()

    async def read(self, key: str) -> list[Record]:
        """The whole log without taking it over; empty where there is none."""
        records: list[Record] = []
        while True:
            page = await self.page(key, following(records[-1]) if records else (1, 0), PAGE)
            records += page
            if len(page) < PAGE:
                return records

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        """At most `count` records from that place on; fewer only where the log ends."""
        records: list[Record] = []
        wal, first = _wal(key), "{}-{}".format(*start)
        for entry_id, flat in await self._redis.run("XRANGE", wal, first, "+", "COUNT", count, key=wal.encode()):
            record = decode(dict(zip(flat[::2], flat[1::2], strict=True)))
            if entry_id != "{}-{}".format(*record.position).encode():
                raise CorruptRecord("a record is not where its number says")
            records.append(record)
        return records

    async def head(self, key: str) -> Head | None:
        """Where the session stands, without taking it over; None where there is none."""
        head = _head(key)
        found = await self._redis.run("HMGET", head, *HEAD, key=head.encode())
        return None if found[0] is None else _read_head(found)

    async def fence(self, key: str) -> Fence | None:
        """Who may write there now, without a change; None where there is no such session."""
        head = _head(key)
        words = await self._redis.run("HMGET", head, "log_id", "epoch", "owner", "seq", key=head.encode())
        if words[0] is None:
            return None
        try:
            log_id, epoch, owner, seq = (word.decode() for word in words)
            return Fence(log_id, int(epoch), owner == self._owner, int(seq))
        except (AttributeError, UnicodeDecodeError, ValueError):
            raise CorruptRecord("a session's head cannot be read") from None

    async def rename(self, key: str, head: Head) -> Head:
        """Give the log that this owner holds, at that head, a new id. Raises Conflict `superseded` as `commit` does."""
        named = replace(head, log_id=secrets.token_hex(16))
        arguments = (head.log_id, self._owner, head.epoch, named.log_id)
        if await self._redis.call(RENAME_SCRIPT, (_head(key),), arguments, line=key.encode()) != b"ok":
            raise Superseded()
        return named

    async def commit(self, key: str, record: Record) -> None:
        """Append one record, if epoch, owner and place are still right; the same record again is accepted."""
        fields = encode(record)
        version, revision = (0, "") if isinstance(record, Amend) else (record.version, record.revision)
        arguments: list[Word] = [
            record.log_id,
            self._owner,
            record.epoch,
            *record.position,
            record.seq_first,
            last_seq(record),
            version,
            revision,
            record.at_ms,
            fields["v"],
            fields["crc32"],
            fields["body"],
        ]
        keys = (_head(key), _wal(key))
        outcome = await self._redis.call(COMMIT_SCRIPT, keys, arguments, line=key.encode())
        if outcome != b"ok":
            raise Superseded()

    async def note(self, key: str, log_id: str, epoch: int, turn: int, opened: OpenTurn | None) -> None:
        """Note that this turn is open, or given up; nothing where epoch, owner or turn are not right any more."""
        body = encode_open(opened) if opened is not None else b""
        arguments: list[Word] = [log_id, self._owner, epoch, turn, body]
        await self._redis.call(NOTE_SCRIPT, (_head(key),), arguments, line=key.encode())

    async def facts(self) -> StoreFacts:
        """What Redis says of its durability, memory and clock. CONFIG may be forbidden; that is no failure."""
        infos = await self._redis.everywhere("INFO")
        times = await self._redis.everywhere("TIME")
        settings = await self._redis.everywhere("CONFIG", "GET", "appendfsync")
        if not len(infos) == len(times) == len(settings):
            raise told(None)  # it was changed in between
        return weakest([_facts(*one) for one in zip(infos, times, settings, strict=True)])


def _facts(info: Any, time: Any, setting: Any) -> StoreFacts:
    for answer in (info, time):
        if isinstance(answer, BaseException):
            raise answer
    fsync = "" if isinstance(setting, RolehostError) or len(setting) != 2 else setting[1].decode()
    return store_facts(parse_info(info), fsync, (int(time[0]), int(time[1])))


def _read_head(values: Sequence[bytes | None]) -> Head:
    """The fields HEAD. Raises CorruptRecord."""
    try:
        *known, amends, deaths, note = values
        log_id, epoch, turn, seq, version, revision, at_ms = (value.decode() for value in known if value is not None)
        opened = decode_open(note) if note else None
        return Head(
            log_id, int(epoch), int(turn), int(seq), int(version), revision, int(at_ms),
            amends=int(amends or 0), open=opened, deaths=int(deaths or 0),
        )  # fmt: skip
    except (AttributeError, UnicodeDecodeError, ValueError):
        raise CorruptRecord("a session's head cannot be read") from None


def _head(key: str) -> str:
    return f"rh:{{{key}}}:head"


def _wal(key: str) -> str:
    return f"rh:{{{key}}}:wal"

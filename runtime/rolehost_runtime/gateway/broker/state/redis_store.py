"""Sessions' logs in Redis: `rh:{<tag>}:<session>:head` (a hash), `…:wal` (a stream of records), `…:snap` (a hash of the
newest two snapshots by seq) and, where something was corrupt, copies of it in `…:quarantine`. Beside them is what a
person's sessions share: `rh:{<tag>}:user` (a hash, `core.merge`) and `rh:{<tag>}:user:comp` (a stream), and what is
remembered of them, `rh:{<tag>}:mem` (a hash, `core.memory.atoms`).

Who may write is decided by epoch and owner in the same server-side call that appends; the
stream's ids are the records' places, `<turn>-0` for a turn and `<turn>-<number>` for an
amend after it, so Redis itself refuses doubles and disorder.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rolehost_api.errors import RolehostError
from rolehost_api.identity import tag_of
from rolehost_runtime.core.merge import Stored, mark_of, version_of
from rolehost_runtime.core.record import (
    Amend,
    CorruptRecord,
    Position,
    Record,
    TurnRecord,
    decode,
    encode,
    following,
    last_seq,
)
from rolehost_runtime.core.rewind import Fence
from rolehost_runtime.core.session import OpenTurn, decode_open, encode_open
from rolehost_runtime.core.snapshot import Snapshot
from rolehost_runtime.core.snapshot import encode as encode_snapshot
from rolehost_runtime.gateway.broker.state import keys, snapshots
from rolehost_runtime.gateway.broker.state.redis_facts import fullest, memory_of, parse_info, store_facts, weakest
from rolehost_runtime.gateway.broker.state.redis_library import LIBRARY_SCRIPTS, RedisLibrary
from rolehost_runtime.gateway.broker.state.redis_memories import MEMORY_SCRIPTS, RedisMemories, memory_words
from rolehost_runtime.gateway.broker.state.redis_shortened import SHORTEN_SCRIPT, RedisShortenedLog
from rolehost_runtime.gateway.broker.state.redis_timers import TIMER_SCRIPTS, RedisTimers
from rolehost_runtime.gateway.broker.state.resp.address import parse
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.broker.state.resp.refusals import told
from rolehost_runtime.gateway.broker.state.scripts import (
    COMMIT,
    HEAD,
    KEEP,
    MARGIN_SECONDS,
    NOTE,
    OPEN,
    QUARANTINE,
    RENAME,
    USER,
)
from rolehost_runtime.gateway.broker.state.shared import compensation, refused, shared_words
from rolehost_runtime.gateway.broker.state.snapshots import Doubt, Found
from rolehost_runtime.gateway.kept import RETENTION_SECONDS, decode_origin
from rolehost_runtime.gateway.ports import (
    NEWEST_BYTES,
    NOBODY,
    RAISE_MS,
    USER_BYTES,
    Compensation,
    Head,
    HeldElsewhere,
    Kept,
    Moving,
    Shared,
    StoreFacts,
    Superseded,
)

PAGE = 32
"""Records read with one command, and decoded before the others have their turn: each may be over 1 MiB."""
OPEN_TRIES = 3
"""Of who may not take a session over yet, because another one just did."""
UNSPOKEN_SECONDS = 86_400
"""How long a session that never had a turn is remembered: its id came from a client and cost nothing."""
OPEN_SCRIPT, RENAME_SCRIPT, COMMIT_SCRIPT, NOTE_SCRIPT = Script(OPEN), Script(RENAME), Script(COMMIT), Script(NOTE)
KEEP_SCRIPT, QUARANTINE_SCRIPT, USER_SCRIPT = Script(KEEP), Script(QUARANTINE), Script(USER)


class RedisSessionStore(RedisLibrary, RedisMemories, RedisTimers):
    """Implements ports.SessionStore. One per process: its owner's name is what fences another one."""

    user_bytes = USER_BYTES

    def __init__(self, redis: Client, owner: str = "") -> None:
        self._redis = redis
        self._owner = owner or secrets.token_hex(16)
        self.doubted: Callable[[str], None] = lambda why: None
        """Told in a word of everything that is set aside, for it is corrupt: a Doubt."""

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
        scripts = (
            OPEN_SCRIPT, RENAME_SCRIPT, COMMIT_SCRIPT, NOTE_SCRIPT, KEEP_SCRIPT, QUARANTINE_SCRIPT, SHORTEN_SCRIPT,
            USER_SCRIPT, *LIBRARY_SCRIPTS, *MEMORY_SCRIPTS, *TIMER_SCRIPTS,
        )  # fmt: skip
        redis = Client(parse(url), password=password or "", name="rolehost-sessions", scripts=scripts)
        redis.noticed = noticed
        return cls(redis, owner)

    @property
    def durability(self) -> str:
        """What an acknowledged turn has survived, as `session.created` says it."""
        return self._redis.target.durability

    @property
    def shortened(self) -> RedisShortenedLog:
        """The same logs, as whoever takes their begin away sees them."""
        return RedisShortenedLog(self._redis, self._owner)

    async def close(self) -> None:
        await self._redis.close()

    async def answers(self) -> bool:
        """Redis is there, for readiness; of a cluster, a part of it: the others' sessions are served."""
        return b"PONG" in await self._redis.everywhere("PING")

    async def open(
        self,
        key: str,
        yield_to: Collection[str] = (),
        given: Mapping[str, int] = NOBODY,
        newest: int = 0,
        mine: int = 0,
    ) -> tuple[Head, list[Record]]:
        """As ports.SessionStore has it: looked at and decided in one step."""
        arguments: list[Word] = [self._owner, secrets.token_hex(16), UNSPOKEN_SECONDS, RAISE_MS, newest, NEWEST_BYTES]
        arguments += [mine, len(yield_to), *yield_to]
        for owner, epoch in given.items():
            arguments += [owner, epoch]
        where = (keys.head(key), keys.snap(key), keys.wal(key), keys.segments(key), keys.memories_alone(key))
        for _ in range(OPEN_TRIES):
            outcome, *values = await self._redis.call(OPEN_SCRIPT, where, arguments, line=key.encode())
            if outcome == b"held":
                raise HeldElsewhere(values[0].decode(), int(values[1]))
            if outcome != b"raised":
                *values, seq, data, entries = values
                head = _read_head(values, outcome.decode(), unread=bool(entries))
                if entries:
                    return head, [await self._record(key, *entry) for entry in reversed(entries)]
                found = Found(seq, data) if data is not None else None
                return await snapshots.restore(self, key, head, found) if head.turn else (head, [])
            await asyncio.sleep(int(values[0]) / 1000)
        raise Moving()

    async def read(self, key: str, start: Position = (1, 0)) -> list[Record]:
        """The log from that place on, without taking it over; empty where there is none."""
        records: list[Record] = []
        while True:
            page = await self.page(key, following(records[-1]) if records else start, PAGE)
            records += page
            if len(page) < PAGE:
                return records

    async def page(self, key: str, start: Position, count: int) -> list[Record]:
        """At most `count` records from that place on; fewer only where the log ends."""
        wal, first = keys.wal(key), "{}-{}".format(*start)
        entries = await self._redis.run("XRANGE", wal, first, "+", "COUNT", count, key=wal.encode())
        return [await self._record(key, *entry) for entry in entries]

    async def _record(self, key: str, entry_id: bytes, flat: list[bytes]) -> Record:
        """An entry of the log; a corrupt one is set aside. Raises CorruptRecord."""
        try:
            record = decode(dict(zip(flat[::2], flat[1::2], strict=True)))
        except CorruptRecord as error:
            await self._set_aside(key, f"wal:{entry_id.decode()}", b" ".join(flat[1::2]), snapshots.of_record(error))
            raise
        if entry_id != b"%d-%d" % record.position:
            raise CorruptRecord("a record is not where its number says")
        return record

    async def head(self, key: str) -> Head | None:
        """Where the session stands, without taking it over; None where there is none."""
        head = keys.head(key)
        found = await self._redis.run("HMGET", head, *HEAD, key=head.encode())
        return None if found[0] is None else _read_head(found)

    async def log_bytes(self, key: str) -> int:
        """As ports.SessionStore has it."""
        head = keys.head(key)
        size: bytes | None = await self._redis.run("HGET", head, "bytes", key=head.encode())
        return int(size) if size is not None and size.isdigit() else 0

    async def fence(self, key: str) -> Fence | None:
        """Who may write there now, without a change; None where there is no such session."""
        head = keys.head(key)
        words = await self._redis.run("HMGET", head, "log_id", "epoch", "owner", "seq", key=head.encode())
        if words[0] is None:
            return None
        try:
            log_id, epoch, owner, seq = (word.decode() for word in words)
            return Fence(log_id, int(epoch), owner == self._owner, int(seq), owner)
        except (AttributeError, UnicodeDecodeError, ValueError):
            raise CorruptRecord("a session's head cannot be read") from None

    async def rename(self, key: str, head: Head) -> Head:
        """Give the log that this owner holds, at that head, a new id. Raises Conflict `superseded` as `commit` does."""
        named = replace(head, log_id=secrets.token_hex(16))
        arguments = (head.log_id, self._owner, head.epoch, named.log_id)
        if await self._redis.call(RENAME_SCRIPT, (keys.head(key),), arguments, line=key.encode()) != b"ok":
            raise Superseded()
        return named

    async def commit(self, key: str, record: Record, keep_seconds: int = RETENTION_SECONDS) -> Shared | None:
        """Append one record, if epoch, owner and place are still right; the same record again is accepted."""
        fields = encode(record)
        version, revision = (0, "") if isinstance(record, Amend) else (record.version, record.revision)
        of_its_own = isinstance(record, TurnRecord) and record.occasion is not None
        arguments: list[Word] = [
            record.log_id,
            self._owner,
            record.epoch,
            *record.position,
            record.seq_first,
            last_seq(record),
            version,
            revision,
            "" if of_its_own else record.at_ms,
            fields["v"],
            fields["crc32"],
            fields["body"],
            keep_seconds,
        ]
        words: list[Word] = []
        if isinstance(record, TurnRecord) and record.memory:
            words = memory_words(record.memory, record.mark)
        arguments += [len(words), *words]
        where: tuple[str, ...] = (keys.head(key), keys.wal(key), keys.snap(key), keys.segments(key))
        if isinstance(record, TurnRecord) and record.user_patch:
            where += (keys.user(tag_of(key)), keys.compensations(tag_of(key)))
            arguments += shared_words(key, record, self.user_bytes)
        where += (keys.memories(key),)
        outcome = await self._redis.call(COMMIT_SCRIPT, where, arguments, line=key.encode())
        if isinstance(outcome, list):
            return Shared(int(outcome[1]), int(outcome[2]), int(outcome[3]) if len(outcome) > 3 else 0)
        if outcome != b"ok":
            raise refused(outcome.decode())
        return None

    async def user(self, tag: str, known: Stored, keep_seconds: int = 0) -> Stored:
        """As ports.SessionStore has it."""
        key, until = keys.user(tag), keep_seconds + MARGIN_SECONDS if keep_seconds else 0
        found = await self._redis.ask(
            USER_SCRIPT, (key, keys.compensations(tag)), (version_of(known), mark_of(known), until)
        )
        return known if found == b"same" else dict(zip(found[::2], found[1::2], strict=True))

    async def compensations(self, tag: str, count: int) -> list[Compensation]:
        """Values that turns overrode without having seen them, newest first; the store keeps the last 1,024."""
        key = keys.compensations(tag)
        found = await self._redis.run("XREVRANGE", key, "+", "-", "COUNT", count, key=key.encode())
        return [compensation(entry_id, dict(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in found]

    async def note(self, key: str, log_id: str, epoch: int, turn: int, opened: OpenTurn | None) -> bool:
        """Note that this turn is open, or given up; False where epoch, owner or turn are not right any more."""
        body = encode_open(opened) if opened is not None else b""
        arguments: list[Word] = [log_id, self._owner, epoch, turn, body]
        return bool(await self._redis.call(NOTE_SCRIPT, (keys.head(key),), arguments, line=key.encode()) == b"ok")

    # ── snapshots ───────────────────────────────────────────────────────────────────

    async def keep(self, key: str, snapshot: Snapshot) -> int:
        """Keep it beside the one before it; the bytes it takes. Raises Conflict `superseded` as `commit` does."""
        data = encode_snapshot(snapshot)
        arguments: list[Word] = [snapshot.log_id, self._owner, snapshot.epoch, snapshot.seq, data]
        if await self._redis.call(KEEP_SCRIPT, (keys.head(key), keys.snap(key)), arguments) != b"ok":
            raise Superseded()
        return len(data)

    async def kept(self, key: str) -> Kept | None:
        """The newest good one, without taking the session over."""
        return await snapshots.newest(self, key)

    async def covered(self, key: str) -> Snapshot | None:
        """The older one of two good ones; None where there are not two."""
        return await snapshots.older_of_two(self, key)

    async def snapshots(self, key: str) -> list[bytes]:
        """The seqs of whatever stands there, the newest first."""
        snap = keys.snap(key)
        seqs: list[bytes] = await self._redis.run("HKEYS", snap, key=snap.encode())
        return sorted(seqs, key=int, reverse=True)

    async def snapshot(self, key: str, seq: bytes) -> Found | None:
        """What stands there; None where it went meanwhile."""
        snap = keys.snap(key)
        data = await self._redis.run("HGET", snap, seq, key=snap.encode())
        return None if data is None else Found(seq, data)

    async def doubt(self, key: str, found: Found, why: Doubt) -> None:
        """Set a snapshot aside, and say so."""
        gone = None if why is Doubt.UNKNOWN_SNAPSHOT else found
        await self._set_aside(key, f"snap:{found.seq.decode()}", found.data, why, gone)

    async def _set_aside(self, key: str, name: str, data: bytes, why: Doubt, gone: Found | None = None) -> None:
        self.doubted(why)
        arguments: list[Word] = [
            name,
            data[: snapshots.MAX_COPY_BYTES],
            snapshots.MAX_COPIES,
            snapshots.COPIES_SECONDS,
            *(gone or (b"", b"")),
        ]
        where = (keys.quarantine(key), keys.snap(key), keys.head(key))
        try:
            kept = await self._redis.call(QUARANTINE_SCRIPT, where, arguments)
            snapshots.said(key, name, why, "kept" if kept == b"ok" else "not kept: there are enough")
        except RolehostError as error:  # whoever reads meets the same store
            snapshots.said(key, name, why, f"not kept: {error.code}")

    async def memory(self) -> tuple[int, int]:
        """Bytes that the fullest of the servers which take writes uses, and may use (0: no bound)."""
        infos = await self._redis.everywhere("INFO", "memory")
        for info in infos:
            if isinstance(info, BaseException):
                raise info
        return fullest([memory_of(parse_info(info)) for info in infos])

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


def _read_head(values: Sequence[bytes | None], how: str = "", *, unread: bool = False) -> Head:
    """The fields HEAD. Raises CorruptRecord."""
    try:
        *known, amends, deaths, forgotten, origin, size, note = values
        log_id, epoch, turn, seq, version, revision, at_ms = (value.decode() for value in known if value is not None)
        opened = decode_open(note) if note else None
        return Head(
            log_id, int(epoch), int(turn), int(seq), int(version), revision, int(at_ms),
            amends=int(amends or 0), open=opened, deaths=int(deaths or 0),
            forgotten=int(forgotten or 0), origin=decode_origin(origin), log_bytes=int(size or 0), how=how,
            unread=unread,
        )  # fmt: skip
    except (AttributeError, UnicodeDecodeError, ValueError):
        raise CorruptRecord("a session's head cannot be read") from None

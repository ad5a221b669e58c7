"""Redis' part of `kept`: the register, copied logs, forgetting.

rh:{<tag of tenant and Role>}:rows             every session of the Role, by when it began
rh:{<tag of tenant and Role>}:rows:<principal> those of one principal
rh:{<tag of tenant and Role>}:active           of each row: when somebody spoke last, and how long it is kept after that
rh:{<tag of tenant and Role>}:swept            who is sweeping the register: `claim`
rh:{<tag>}:<session>:…                         a session's own keys: SESSION_KEYS
rh:{<receipt>}:receipt                         what was deleted, for RECEIPT_SECONDS
"""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from rolehost_runtime.core.lapse import Active
from rolehost_runtime.core.record import Amend, Record, encode
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.library_scripts import DELIST, DRAFT, ENLIST, FORGET, FOUND, KEEP_RECEIPT
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.kept import (
    DRAFT_SECONDS,
    FORGOTTEN_SECONDS,
    MAX_KEPT,
    MAX_OF_USER,
    RECEIPT_SECONDS,
    RETENTION_SECONDS,
    ROWS_SECONDS,
    Beginning,
    Gone,
    Row,
    Whose,
    encode_origin,
    too_many_kept,
    too_many_of_tenant,
)
from rolehost_runtime.gateway.ports import Superseded

SESSION_KEYS = {
    keys.wal: "records",
    keys.snap: "snapshots",
    keys.quarantine: "quarantined",
    keys.segments: "segment_names",
    keys.memories_alone: "memories",
}
"""Keys of a session beside its head, and what a receipt counts them as. All go in one step."""
ENLIST_SCRIPT, DELIST_SCRIPT, DRAFT_SCRIPT = Script(ENLIST), Script(DELIST), Script(DRAFT)
FOUND_SCRIPT, FORGET_SCRIPT, RECEIPT_SCRIPT = Script(FOUND), Script(FORGET), Script(KEEP_RECEIPT)
LIBRARY_SCRIPTS = (ENLIST_SCRIPT, DELIST_SCRIPT, DRAFT_SCRIPT, FOUND_SCRIPT, FORGET_SCRIPT, RECEIPT_SCRIPT)


class RedisLibrary:
    """Implements kept.Library."""

    _redis: Client
    most_kept = MAX_KEPT
    """Sessions of one Role. Whoever counts over all Roles of a tenant does so before."""

    # ── the register ────────────────────────────────────────────────────────────────

    async def enlist(
        self, whose: Whose, session_id: str, began_ms: int, active: Active | None = None, *, promised: bool = True
    ) -> None:
        """As kept.Register has it."""
        member, of_user = Row(whose.user, session_id, began_ms).member, MAX_OF_USER if whose.user else 0
        said = active.words if active is not None else ""
        arguments: list[Word] = [member, began_ms, self.most_kept, of_user, ROWS_SECONDS, said, "1" if promised else ""]
        outcome = await self._redis.call(ENLIST_SCRIPT, _registers(whose), arguments)
        if outcome == b"full 1":
            raise too_many_of_tenant(self.most_kept)
        if outcome != b"ok":
            raise too_many_kept()

    async def activity(self, tenant_uid: str, role: str, rows: Sequence[Row]) -> Sequence[Active | None]:
        key = _registers(Whose(tenant_uid, role))[-1]
        words = ("HMGET", key, *(row.member for row in rows))
        return [Active.of(said) for said in (await self._redis.run(*words, key=key.encode()) if rows else ())]

    async def delist(self, whose: Whose, session_id: str) -> None:
        member = Row(whose.user, session_id, 0).member
        tag = hashed(whose.tenant_uid, whose.role)
        await self._redis.call(
            DELIST_SCRIPT, (*_registers(whose), f"rh:{{{tag}}}:due", f"rh:{{{tag}}}:timers"), (member,)
        )

    async def sample(self, tenant_uid: str, role: str, count: int) -> tuple[int, Sequence[Row]]:
        key, *_ = _registers(Whose(tenant_uid, role))
        many = int(await self._redis.run("ZCARD", key, key=key.encode()))
        if not many or not count:
            return many, ()
        found: list[bytes] = await self._redis.run("ZRANDMEMBER", key, count, key=key.encode())
        return many, [Row.of(member.decode(), 0) for member in found]

    async def rows(self, tenant_uid: str, role: str, user: str | None, after: Row | None, count: int) -> Sequence[Row]:
        """As kept.Register has it. Rows of one millisecond are read again with each page that begins among them."""
        everybodys, one, _ = _registers(Whose(tenant_uid, role, user or ""))
        key = everybodys if user is None else one
        highest = "+inf" if after is None else after.began_ms
        found: list[Row] = []
        offset = 0
        while len(found) < count:
            words = ("ZREVRANGEBYSCORE", key, highest, "-inf", "WITHSCORES", "LIMIT", offset, count)
            flat: list[bytes] = await self._redis.run(*words, key=key.encode())
            page = [Row.of(member.decode(), int(float(at))) for member, at in zip(flat[::2], flat[1::2], strict=True)]
            found += [row for row in page if row.after(after)]
            offset += len(page)
            if len(page) < count:
                break
        return found[:count]

    async def claim(self, tenant_uid: str, role: str, seconds: int) -> bool:
        key = f"rh:{{{hashed(tenant_uid, role)}}}:swept"
        return await self._redis.run("SET", key, 1, "NX", "EX", seconds, key=key.encode()) is not None

    async def claim_unit(self, unit: str, seconds: int) -> bool:
        key = f"rh:{{{hashed(unit)}}}:unit"
        return await self._redis.run("SET", key, 1, "NX", "EX", seconds, key=key.encode()) is not None

    # ── copied logs ─────────────────────────────────────────────────────────────────

    async def draft(self, key: str, records: Sequence[Record]) -> None:
        """As kept.Copies has it."""
        arguments: list[Word] = [DRAFT_SECONDS]
        for record in records:
            fields = encode(record)
            shared = 0 if isinstance(record, Amend) else record.user_version
            arguments += ["{}-{}".format(*record.position), fields["v"], fields["crc32"], fields["body"], shared]
        await self._copied(DRAFT_SCRIPT, key, arguments)

    async def found(self, key: str, beginning: Beginning, keep_seconds: int = RETENTION_SECONDS) -> None:
        await self._copied(
            FOUND_SCRIPT,
            key,
            [
                beginning.log_id,
                beginning.epoch,
                beginning.turn,
                beginning.seq,
                beginning.version,
                beginning.revision,
                beginning.at_ms,
                beginning.amends,
                encode_origin(beginning.origin),
                beginning.log_bytes,
                keep_seconds,
            ],
        )

    async def _copied(self, script: Script, key: str, arguments: list[Word]) -> None:
        where = (keys.head(key), keys.wal(key))
        if await self._redis.call(script, where, arguments, line=key.encode()) != b"ok":
            raise Superseded("there is such a session already, or its copying took too long")

    # ── forgetting ──────────────────────────────────────────────────────────────────

    async def forget(self, key: str, receipt: str) -> Gone | None:
        """As kept.Erasing has it: the head and all of SESSION_KEYS in one step."""
        where = [name(key) for name in (keys.head, *SESSION_KEYS)]
        arguments: list[Word] = [secrets.token_hex(16), receipt, FORGOTTEN_SECONDS]
        outcome, *told = await self._redis.call(FORGET_SCRIPT, where, arguments, line=key.encode())
        if outcome != b"forgotten":
            return None
        counted = [int(count) for count in told[1].split()]
        counts = {kind: count for kind, count in zip(SESSION_KEYS.values(), counted, strict=False) if count}
        return Gone(told[0].decode(), counts, tuple(where))

    async def forget_user(self, tag: str) -> int:
        """As kept.Erasing has it."""
        where = (keys.user(tag), keys.compensations(tag))
        return int(await self._redis.run("UNLINK", *where, key=where[0].encode()))

    async def keep_receipt(self, receipt: str, body: bytes) -> None:
        await self._redis.call(RECEIPT_SCRIPT, (_receipt(receipt),), (body, RECEIPT_SECONDS))

    async def receipt(self, receipt: str) -> bytes | None:
        key = _receipt(receipt)
        found: Any = await self._redis.run("GET", key, key=key.encode())
        return found if isinstance(found, bytes) else None


@lru_cache(maxsize=4096)
def _registers(whose: Whose) -> tuple[str, str, str]:
    """Of everybody, of one principal, and who was active when: one slot, so that one step writes all."""
    tag = hashed(whose.tenant_uid, whose.role)
    return f"rh:{{{tag}}}:rows", f"rh:{{{tag}}}:rows:{hashed(whose.principal)}", f"rh:{{{tag}}}:active"


def _receipt(receipt: str) -> str:
    return f"rh:{{{hashed(receipt)}}}:receipt"


def hashed(*words: str) -> str:
    """Words of tenants and users never stand in a key as they are."""
    digest = hashlib.blake2b(msgspec.msgpack.encode(["rows", *words]), digest_size=20).digest()
    return base64.b32encode(digest).decode().lower()

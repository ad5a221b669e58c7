"""Redis' part of `timers`.

rh:{<tag of tenant and Role>}:due     a Role's sessions, by when their timers are to be looked at
rh:{<tag of tenant and Role>}:timers  their schedules
rh:{timers}:roles                     Roles that have any, and when that was said last
"""

from collections.abc import Mapping, Sequence

from rolehost_runtime.gateway.broker.state.redis_library import hashed
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.broker.state.timer_scripts import CLAIM_TIMERS, DROP_TIMERS, SET_TIMERS
from rolehost_runtime.gateway.kept import ROWS_SECONDS, Row, Whose
from rolehost_runtime.gateway.timers import MAX_TIMED, Due, place_word, role_place, too_many_timers

SET_SCRIPT, CLAIM_SCRIPT, DROP_SCRIPT = Script(SET_TIMERS), Script(CLAIM_TIMERS), Script(DROP_TIMERS)
TIMER_SCRIPTS = (SET_SCRIPT, CLAIM_SCRIPT, DROP_SCRIPT)
ROLES = "rh:{timers}:roles"


class RedisTimers:
    """Implements timers.TimerStore."""

    _redis: Client

    async def timers(self, whose: Whose, session_id: str) -> bytes:
        key = timer_keys(whose)[1]
        found: bytes | None = await self._redis.run("HGET", key, _member(whose, session_id), key=key.encode())
        return found or b""

    async def set_timers(
        self, whose: Whose, session_id: str, before: bytes, body: bytes, at_ms: int | None, most: int = MAX_TIMED
    ) -> bool:
        at: Word = "" if at_ms is None else at_ms
        arguments: list[Word] = [_member(whose, session_id), before, body, at, most, ROWS_SECONDS]
        outcome = await self._redis.call(SET_SCRIPT, timer_keys(whose), arguments)
        if outcome == b"full":
            raise too_many_timers(most)
        return bool(outcome == b"ok")

    async def due_timers(self, tenant_uid: str, role: str, now_ms: int, count: int) -> Sequence[Due]:
        key = timer_keys(Whose(tenant_uid, role))[0]
        words = ("ZRANGEBYSCORE", key, "-inf", now_ms, "WITHSCORES", "LIMIT", 0, count)
        flat: list[bytes] = await self._redis.run(*words, key=key.encode())
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return [Due(Row.of(member.decode(), 0), int(float(at))) for member, at in pairs]

    async def claim_timers(self, whose: Whose, due: Due, until_ms: int) -> bool:
        arguments: list[Word] = [_member(whose, due.row.session_id), due.at_ms, until_ms]
        return bool(await self._redis.call(CLAIM_SCRIPT, timer_keys(whose)[:1], arguments) == b"ok")

    async def drop_timers(self, whose: Whose, session_id: str) -> bool:
        return bool(await self._redis.call(DROP_SCRIPT, timer_keys(whose), (_member(whose, session_id),)))

    async def timed_roles(self) -> Mapping[tuple[str, str], int]:
        flat: list[bytes] = await self._redis.run("HGETALL", ROLES, key=ROLES.encode())
        said = dict(zip(flat[::2], flat[1::2], strict=True))
        found = {role_place(word.decode()): int(at) for word, at in said.items() if at.isdigit()}
        return {place: at for place, at in found.items() if place is not None}

    async def note_timed(self, tenant_uid: str, role: str, now_ms: int) -> None:
        await self._redis.run("HSET", ROLES, place_word(tenant_uid, role), now_ms, key=ROLES.encode())


def timer_keys(whose: Whose) -> tuple[str, str]:
    """In the slot of the Role's register, so that leaving it and losing the timers is one step.

    >>> due, timers = timer_keys(Whose("uid-1", "cat"))
    >>> due[-4:], timers[-7:], timer_keys(Whose("uid-1", "cat", "ann")) == (due, timers)
    (':due', ':timers', True)
    """
    tag = hashed(whose.tenant_uid, whose.role)
    return f"rh:{{{tag}}}:due", f"rh:{{{tag}}}:timers"


def _member(whose: Whose, session_id: str) -> str:
    return Row(whose.user, session_id, 0).member

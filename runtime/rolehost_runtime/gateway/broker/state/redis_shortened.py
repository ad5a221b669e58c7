"""The begin of a session's log going away: `rh:{<tag>}:<session>:segs` is a stream of the segments' names that have it.

Each segment's id is the place of its last record. The names go by the same server-side call that takes the records
away, so that whatever Redis forgets in a failover it forgets both, and the log is whole again.
"""

from collections.abc import Sequence

from rolehost_runtime.core.record import CorruptRecord, Position
from rolehost_runtime.core.segment import Entry, Shelved, entry
from rolehost_runtime.gateway.broker.state import keys
from rolehost_runtime.gateway.broker.state.resp.call import Word
from rolehost_runtime.gateway.broker.state.resp.client import Client
from rolehost_runtime.gateway.broker.state.resp.greeting import Script
from rolehost_runtime.gateway.broker.state.scripts import LASTS
from rolehost_runtime.gateway.ports import Superseded

SHORTEN = (
    LASTS
    + """
local head = redis.call('HMGET', KEYS[1], 'log_id', 'owner', 'epoch', 'turn')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then
  return 'superseded'
end
if tonumber(head[4]) <= tonumber(ARGV[5]) then
  return 'superseded'
end
local first, last = ARGV[4], ARGV[5] .. '-' .. ARGV[6]
local there = redis.call('XRANGE', KEYS[2], '-', '+', 'COUNT', 1)[1]
if not there or there[1] ~= first or not redis.call('XRANGE', KEYS[2], last, last)[1] then
  return 'elsewhere'
end
if ARGV[7] ~= '' then
  redis.call('XADD', KEYS[3], last, 'name', ARGV[7])
  lasts_as_head(KEYS[3])
end
local gone = 0
for _, one in ipairs(redis.call('XRANGE', KEYS[2], '-', last)) do
  for field = 1, #one[2], 2 do
    if one[2][field] == 'body' then gone = gone + #one[2][field + 1] end
  end
end
redis.call('HINCRBY', KEYS[1], 'bytes', -gone)
redis.call('XTRIM', KEYS[2], 'MINID', '=', ARGV[5] .. '-' .. (tonumber(ARGV[6]) + 1))
return 'ok'
"""
)
"""KEYS head, wal, segs. ARGV log id, owner, epoch, id of the log's first record, turn and number of the last one that
goes, name of the segment that has them or nothing. Never the newest turn. A segment is where its last record was:
Redis itself refuses one that ends before another does, and nothing was written then."""
SHORTEN_SCRIPT = Script(SHORTEN)


class RedisShortenedLog:
    """Implements ports.ShortenedLog, on the client and under the name of a RedisSessionStore."""

    def __init__(self, redis: Client, owner: str) -> None:
        self._redis, self._owner = redis, owner

    async def entries(self, key: str, start: Position, count: int) -> Sequence[Entry]:
        wal, first = keys.wal(key), "{}-{}".format(*start)
        found = await self._redis.run("XRANGE", wal, first, "+", "COUNT", count, key=wal.encode())
        return [entry(_place(name), dict(zip(flat[::2], flat[1::2], strict=True))) for name, flat in found]

    async def shelved(self, key: str, position: Position) -> Shelved | None:
        segs, first = keys.segments(key), "{}-{}".format(*position)
        found = await self._redis.run("XRANGE", segs, first, "+", "COUNT", 1, key=segs.encode())
        if not found:
            return None
        place, flat = found[0]
        shelved = Shelved.of(flat[1].decode(errors="replace"))
        if shelved.last != _place(place):
            raise CorruptRecord("a segment is not where its name says")
        return shelved

    async def shorten(self, key: str, log_id: str, epoch: int, first: Position, last: Position, name: str) -> bool:
        """As ports.ShortenedLog has it."""
        where = (keys.head(key), keys.wal(key), keys.segments(key))
        arguments: list[Word] = [log_id, self._owner, epoch, "{}-{}".format(*first), *last, name]
        outcome = await self._redis.call(SHORTEN_SCRIPT, where, arguments, line=key.encode())
        if outcome == b"superseded":
            raise Superseded()
        return bool(outcome == b"ok")


def _place(name: bytes) -> Position:
    turn, _, number = name.partition(b"-")
    return int(turn), int(number)

"""What Redis does by itself, in one step, for the register, for copied logs and for forgetting.

As in `scripts`, everything is validated before the first write.
"""

from rolehost_runtime.gateway.broker.state.scripts import LASTS

ENLIST = """
local there = redis.call('ZSCORE', KEYS[1], ARGV[1]) or redis.call('ZSCORE', KEYS[2], ARGV[1])
for number = 1, 2 do
  local most = tonumber(ARGV[2 + number])
  if not there and most > 0 and redis.call('ZCARD', KEYS[number]) >= most then return 'full ' .. number end
end
for number = 1, 2 do
  if not redis.call('ZSCORE', KEYS[number], ARGV[1]) then
    redis.call('ZADD', KEYS[number], there or ARGV[2], ARGV[1])
  end
end
local said = redis.call('HGET', KEYS[3], ARGV[1])
local before, promise = string.match(said or '', '^(%d+) (%d+)$')
local at, keep = string.match(ARGV[6], '^(%d+) (%d+)$')
if at and tonumber(before or -1) <= tonumber(at) then
  if ARGV[7] == '' and promise then keep = promise end
  redis.call('HSET', KEYS[3], ARGV[1], at .. ' ' .. keep)
end
for number = 1, 3 do redis.call('EXPIRE', KEYS[number], ARGV[5]) end
return 'ok'
"""
"""KEYS everybody's rows, one principal's, and when who was active. ARGV row, began_ms, most rows of each (0: no bound),
seconds that all of it is kept from now on, an `Active` or nothing, and `1` where its promise counts though there is one. A
row that is there is not written again: it is asked for with every opening of a session, and one that a failover lost is
written with the next."""

DELIST = """
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('ZREM', KEYS[4], ARGV[1])
redis.call('HDEL', KEYS[5], ARGV[1])
return 'ok'
"""
"""KEYS as of ENLIST, then due and timers. ARGV row: what has left the register has no timers."""

DRAFT = """
if redis.call('EXISTS', KEYS[1]) == 1 then return 'taken' end
for at = 2, #ARGV, 5 do
  if #redis.call('XRANGE', KEYS[2], ARGV[at], ARGV[at]) == 0 then
    local entry = {ARGV[at], 'v', ARGV[at + 1], 'crc32', ARGV[at + 2], 'body', ARGV[at + 3]}
    if ARGV[at + 4] ~= '0' then
      table.insert(entry, 'uv')
      table.insert(entry, ARGV[at + 4])
    end
    redis.call('XADD', KEYS[2], unpack(entry))
  end
end
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 'ok'
"""
"""KEYS head, wal. ARGV seconds, then per record: place, v, crc32, body, version of user-scope state or 0."""

FOUND = (
    LASTS
    + """
local there = redis.call('HGET', KEYS[1], 'log_id')
if there and there ~= ARGV[1] then return 'taken' end
if there and redis.call('HGET', KEYS[1], 'seq') ~= ARGV[4] then return 'ok' end
if redis.call('EXISTS', KEYS[2]) == 0 then return 'gone' end
if not there then
  redis.call('HSET', KEYS[1], 'log_id', ARGV[1], 'epoch', ARGV[2], 'turn', ARGV[3], 'seq', ARGV[4], 'version', ARGV[5],
    'revision', ARGV[6], 'at_ms', ARGV[7], 'amends', ARGV[8], 'origin', ARGV[9], 'bytes', ARGV[10], 'owner', '')
end
lasts(ARGV[11])
return 'ok'
"""
)
"""KEYS head, wal. ARGV log id, epoch, turn, seq, version, revision, at_ms, amends, origin, bytes of the log, seconds that it is kept."""

FORGET = """
local head = redis.call('HMGET', KEYS[1], 'epoch', 'turn', 'forgotten', 'receipt', 'counts')
if not head[1] then
  for number = 2, #KEYS do redis.call('UNLINK', KEYS[number]) end
  return {'nothing'}
end
local receipt, counts = head[4], head[5]
if head[2] ~= '0' or not head[3] then
  receipt, counts = ARGV[2], ''
  for number = 2, #KEYS do
    local kind = redis.call('TYPE', KEYS[number])['ok']
    local many = 0
    if kind == 'stream' then
      many = redis.call('XLEN', KEYS[number])
    elseif kind == 'hash' and string.sub(KEYS[number], -4) == ':mem' then
      for _, name in ipairs(redis.call('HKEYS', KEYS[number])) do
        if string.sub(name, 1, 1) == 'a' then many = many + 1 end
      end
    elseif kind ~= 'none' then
      many = 1
    end
    counts = counts .. many .. ' '
  end
end
local epoch = tonumber(head[1]) + 1
for number = 1, #KEYS do redis.call('UNLINK', KEYS[number]) end
redis.call('HSET', KEYS[1], 'log_id', ARGV[1], 'owner', '', 'epoch', epoch, 'turn', 0, 'seq', 0, 'version', 0,
  'revision', '', 'at_ms', 0, 'forgotten', epoch, 'receipt', receipt, 'counts', counts)
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {'forgotten', receipt, counts}
"""
"""KEYS head, and every other key of the session. ARGV a new log id, receipt, seconds to remember it.

The epoch goes on from where it was: who held the session is refused whatever it writes, before and after somebody says
something new in it."""

KEEP_RECEIPT = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 'ok'
"""
"""KEYS receipt. ARGV its body, seconds."""

"""What Redis does by itself, in one step, for sessions' timers."""

SET_TIMERS = """
local before = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if before == ARGV[3] and ARGV[4] ~= '' then
  redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
  return 'ok'
end
if before ~= ARGV[2] then return 'moved' end
if ARGV[4] == '' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HDEL', KEYS[2], ARGV[1])
  return 'ok'
end
if before == '' and redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then return 'full' end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[4], ARGV[1])
for number = 1, 2 do redis.call('EXPIRE', KEYS[number], ARGV[6]) end
return 'ok'
"""
"""KEYS due, timers. ARGV row, the schedule that is expected, the one in its place, when it is to be looked at or nothing, most
sessions, seconds that all of it is kept from now on. Said again it is the same."""

CLAIM_TIMERS = """
local at = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not at or tonumber(at) ~= tonumber(ARGV[2]) then return 'taken' end
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
return 'ok'
"""
"""KEYS due. ARGV row, when it was due, when it is due again."""

DROP_TIMERS = """
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
"""
"""KEYS due, timers. ARGV row. Whether there was one."""

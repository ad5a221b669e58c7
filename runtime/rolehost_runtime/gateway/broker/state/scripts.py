"""What Redis does by itself, in one step: taking a session over, appending a record, noting the open turn.

A script validates everything before its first write, so that it writes whole or not at
all. Redis 6.2 is enough. All keys of a session carry the same hash tag. What was there
already is written once more where it is acknowledged: WAIT asks for the last write of its
own connection, and the first time may have been another one's.
"""

MARGIN_SECONDS = 60
"""What lies beside a head outlives it by so much: who has read the head finds all of it, and without a head there is
nothing."""

LASTS = f"""
local function lasts(seconds)
  if tonumber(seconds) < 0 then return end
  redis.call('EXPIRE', KEYS[1], seconds)
  for number = 2, #KEYS do redis.call('EXPIRE', KEYS[number], seconds + {MARGIN_SECONDS}) end
end

local function lasts_as_head(key)
  local left = redis.call('TTL', KEYS[1])
  if left >= 0 then redis.call('EXPIRE', key, left + {MARGIN_SECONDS}) end
end
"""
"""How long what a script has written lasts, where KEYS[1] is a head."""

HEAD = (
    "log_id",
    "epoch",
    "turn",
    "seq",
    "version",
    "revision",
    "at_ms",
    "amends",
    "deaths",
    "forgotten",
    "origin",
    "bytes",
    "open",
)
"""Fields of a session's head, in the order in which whoever reads one gets them."""

OPEN = """
local head = redis.call('HMGET', KEYS[1], 'log_id', 'turn', 'owner', 'open', 'epoch', 'raised_ms')
local first = 9 + tonumber(ARGV[8])
local given = false
for other = first, #ARGV, 2 do
  if head[3] == ARGV[other] and head[5] == ARGV[other + 1] then given = true end
end
for other = 9, first - 1 do
  if head[3] == ARGV[other] and not given then return {'held', head[3], head[5]} end
end
local how = 'new'
if head[3] == ARGV[1] then
  how = head[5] == ARGV[7] and '' or 'own'
elseif head[3] then
  how = given and 'handover' or 'takeover'
end
if how == 'takeover' then
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  local since = now - tonumber(head[6] or 0)
  if since >= 0 and since < tonumber(ARGV[4]) then return {'raised', ARGV[4] - since} end
  redis.call('HSET', KEYS[1], 'raised_ms', string.format('%.0f', now))
end
if not head[1] then
  redis.call('HSET', KEYS[1], 'log_id', ARGV[2], 'epoch', 0, 'turn', 0, 'seq', 0, 'version', 0,
    'revision', '', 'at_ms', 0)
  redis.call('EXPIRE', KEYS[1], ARGV[3])
  redis.call('UNLINK', KEYS[2], KEYS[3], KEYS[4], KEYS[5])
elseif head[2] == '0' then
  redis.call('EXPIRE', KEYS[1], ARGV[3])
end
if head[4] and head[3] ~= ARGV[1] then
  redis.call('HINCRBY', KEYS[1], 'deaths', 1)
end
if how ~= '' then
  redis.call('HINCRBY', KEYS[1], 'epoch', 1)
  redis.call('HSET', KEYS[1], 'owner', ARGV[1])
end
local taken = redis.call('HMGET', KEYS[1], $HEAD)
table.insert(taken, 1, how)
local entries, room = {}, tonumber(ARGV[6])
if ARGV[5] ~= '0' and not taken[14] then
  for _, entry in ipairs(redis.call('XREVRANGE', KEYS[3], '+', '-', 'COUNT', ARGV[5])) do
    for _, word in ipairs(entry[2]) do room = room - #word end
    if room < 0 then break end
    table.insert(entries, entry)
  end
end
local newest = false
if #entries == 0 then
  for _, seq in ipairs(redis.call('HKEYS', KEYS[2])) do
    if tonumber(seq) <= tonumber(taken[5]) and (not newest or tonumber(seq) > tonumber(newest)) then
      newest = seq
    end
  end
end
table.insert(taken, newest)
table.insert(taken, newest and redis.call('HGET', KEYS[2], newest))
table.insert(taken, entries)
return taken
""".replace("$HEAD", ", ".join(f"'{name}'" for name in HEAD))
"""KEYS head, snap, wal, segs, the session's own mem. ARGV owner, log id for a new session, seconds that a head without turns is kept, ms between two
takeovers, how many of the newest records are enough and of how many bytes in all (0: what makes the session is read), the
epoch in which it may be this owner's, how many owners to yield to, those, and then of each owner that gave the session
away itself and the epoch in which it did: one that took it up again since did not give that.

The first word of the answer says what became of it: `new`, `own` (it was this owner's already), nothing (it was, in that
epoch: it is only read), `handover`, or `takeover` from an owner that did not say so and is taken for dead. Of those there
is one a second at most, by the store's own clock, so that two who each believe the other dead do not fence each other all
the time: `raised` says for how many ms it is too early. A clock that was set back delays nobody.

An owner that finds a turn open that was another's counts one death more of it, in the step that fences the other.
The newest snapshot of what the log has comes after its seq. Last come the newest records, the last one first, where they
are enough and no turn was left open; then no snapshot comes. What a session that lasted its time has left beside its head
goes before another one begins in its place."""

RENAME = """
local head = redis.call('HMGET', KEYS[1], 'log_id', 'owner', 'epoch')
if head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then return 'superseded' end
if head[1] ~= ARGV[1] and head[1] ~= ARGV[4] then return 'superseded' end
redis.call('HSET', KEYS[1], 'log_id', ARGV[4])
return 'ok'
"""
"""KEYS head. ARGV log id, owner, epoch, new log id."""

MERGE = """
local function number(n) return string.format('%.0f', n) end

local function read(stored)
  if not stored then return nil end
  local gap = string.find(stored, ' ', 1, true)
  return {written = tonumber(string.sub(stored, 1, gap - 1)), kind = string.sub(stored, gap + 1, gap + 1),
    value = string.sub(stored, gap + 2)}
end

local function whole(packed)
  local first = string.byte(packed, 1)
  if first <= 127 or first >= 224 or (first >= 204 and first <= 211) then
    local n = cmsgpack.unpack(packed)
    if math.abs(n) <= 9007199254740991 then return n end
  end
  return nil
end

local function merged(user, first)
  local at = redis.call('HMGET', user, '@', '#')
  local version, before = tonumber(at[1] or '0'), tonumber(at[2] or '0')
  local base = tonumber(ARGV[first])
  local plan = {mark = ARGV[first + 1], set = {}, kept = {}, size = before}
  local seen = base
  if base > version then
    version = (math.floor(base / 4294967296) + 1) * 4294967296
    seen = 0
  end
  plan.version = version + 1

  local function get(name)
    local pending = plan.set[name]
    if pending ~= nil then return pending end
    return redis.call('HGET', user, name)
  end
  local function put(name, value)
    local old = get(name)
    if old then plan.size = plan.size - #name - #old end
    if value then plan.size = plan.size + #name + #value end
    plan.set[name] = value
  end
  local function displace(field, entry, kind, value)
    if not entry then return end
    local names, elements, prefix = {}, {}, '+' .. field .. '/'
    if entry.kind == 's' then
      for _, name in ipairs(redis.call('HKEYS', user)) do
        if string.sub(name, 1, #prefix) == prefix then table.insert(names, name) end
      end
      table.sort(names)
      for _, name in ipairs(names) do table.insert(elements, string.sub(name, #prefix + 1)) end
    end
    local empty = entry.kind == 's' and #names == 0
    if entry.written > seen and not empty and not (entry.kind == kind and entry.value == value) then
      local lost = entry.value
      if entry.kind == 's' then lost = cmsgpack.pack(elements) end
      if entry.kind == 'c' then lost = cmsgpack.pack(tonumber(entry.value)) end
      table.insert(plan.kept, {field, number(entry.written), lost})
    end
    for _, name in ipairs(names) do put(name, false) end
  end

  for place = first + 4, #ARGV, 3 do
    local kind, field, what = ARGV[place], ARGV[place + 1], ARGV[place + 2]
    local name, element = '.' .. field, '+' .. field .. '/' .. what
    local entry = read(get(name))
    local now = number(plan.version) .. ' '
    if kind == 'put' then
      displace(field, entry, 'l', what)
      put(name, now .. 'l' .. what)
    elseif kind == 'drop' then
      displace(field, entry, '', '')
      put(name, false)
    elseif kind == 'add' then
      local count = 0
      local plain = entry and entry.kind == 'l' and whole(entry.value)
      if entry and entry.kind == 'c' then
        count = tonumber(entry.value)
      elseif plain then
        count = plain
      else
        displace(field, entry, 'c', '')
      end
      count = count + tonumber(what)
      if math.abs(count) > 9007199254740991 then return {refused = 'counter_too_large'} end
      put(name, now .. 'c' .. number(count))
    elseif kind == 'join' then
      if entry and entry.kind ~= 's' then displace(field, entry, 's', '') end
      put(name, now .. 's')
      put(element, number(plan.version))
    elseif kind == 'leave' then
      local added = get(element)
      if entry and entry.kind == 's' and added and tonumber(added) <= base then
        put(element, false)
        put(name, now .. 's')
      end
    end
  end
  if plan.size > tonumber(ARGV[first + 2]) and plan.size > before then return {refused = 'state_too_large'} end
  return plan
end

local function keep(plan, user, compensations, session, turn)
  for name, value in pairs(plan.set) do
    if value then redis.call('HSET', user, name, value) else redis.call('HDEL', user, name) end
  end
  redis.call('HSET', user, '@', number(plan.version), '!', plan.mark, '#', number(plan.size))
  for place, kept in ipairs(plan.kept) do
    redis.call('XADD', compensations, 'MAXLEN', 1024, number(plan.version) .. '-' .. place, 'field', kept[1],
      'written', kept[2], 'value', kept[3], 'session', session, 'turn', turn)
  end
end
"""
"""What `core.merge.merge` does, over the same bytes, for whatever script appends a record: `merged` decides and writes
nothing, `keep` writes. ARGV from `first` on: base, mark, most bytes, session, then (kind, field, what) of each change.
A compensation's id is the version that overrode it, and its number there."""

MEMORIZE = """
local function memorized(key, first, count)
  local at = redis.call('HMGET', key, '@', '#')
  local there = redis.call('HLEN', key)
  local before = tonumber(at[2] or '0')
  local plan = {set = {}, size = before, gone = 0, mark = ARGV[first]}
  plan.version = string.format('%.0f', tonumber(at[1] or '0') + 1)
  local fields = there + (at[1] and 0 or 3)
  local function get(name)
    local pending = plan.set[name]
    if pending ~= nil then return pending end
    return redis.call('HGET', key, name)
  end
  local function put(name, value)
    local old = get(name)
    if old and not value then fields = fields - 1 end
    if value and not old then fields = fields + 1 end
    plan.set[name] = value
  end
  for place = first + 3, first + count - 1, 3 do
    local kind, id, what = ARGV[place], ARGV[place + 1], ARGV[place + 2]
    local atom, confirmed, gone = 'a' .. id, 'c' .. id, 'x' .. id
    if kind == 'x' or kind == 'd' then
      local old = get(atom)
      if old then
        plan.size = plan.size - #old
        plan.gone = plan.gone + 1
      end
      put(atom, false)
      put(confirmed, false)
      if kind == 'x' and not get(gone) then put(gone, what) end
    elseif kind == 't' then
      put(gone, false)
    elseif kind == 'c' then
      if get(atom) and not get(confirmed) then put(confirmed, what) end
    elseif kind == 'm' then
      local old = get(atom)
      if (get(confirmed) or '') == what then
        if old then plan.size = plan.size - #old end
        put(atom, false)
        put(confirmed, false)
      end
    elseif not get(gone) and not get(atom) then
      put(atom, what)
      plan.size = plan.size + #what
    end
  end
  if fields > tonumber(ARGV[first + 1]) and fields > there then return {refused = 'memory_full'} end
  if plan.size > tonumber(ARGV[first + 2]) and plan.size > before then return {refused = 'memory_full'} end
  return plan
end

local function memorize(plan, key)
  for name, value in pairs(plan.set) do
    if value then redis.call('HSET', key, name, value) else redis.call('HDEL', key, name) end
  end
  redis.call('HSET', key, '@', plan.version, '!', plan.mark, '#', string.format('%.0f', plan.size))
end
"""
"""What `core.memory.atoms.kept` does, over the same bytes: `memorized` decides and writes nothing, `memorize` writes.
ARGV from `first` on, `count` of them: mark, most fields, most bytes, then (kind, id, what) of each change."""

REMEMBER = (
    MEMORIZE
    + """
local memory = memorized(KEYS[1], 2, #ARGV - 1)
if memory.refused then return memory.refused end
memorize(memory, KEYS[1])
local keep = tonumber(ARGV[1])
if keep < 0 or redis.call('TTL', KEYS[1]) == -1 then redis.call('EXPIRE', KEYS[1], math.abs(keep)) end
return {'ok', memory.version, memory.gone}
"""
)
"""KEYS mem. ARGV seconds that it is kept, where it was not there before, or (negative) whether it was there or not; what
MEMORIZE takes."""

DROP_MEMORIES = """
local atoms = 0
for _, name in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(name, 1, 1) == 'a' then atoms = atoms + 1 end
end
redis.call('UNLINK', KEYS[1])
return atoms
"""
"""KEYS mem. How many atoms it held."""

MEMORIES = """
local at = redis.call('HMGET', KEYS[1], '@', '!')
if (at[1] or '0') == ARGV[1] and (at[2] or '') == ARGV[2] then return 'same' end
return redis.call('HGETALL', KEYS[1])
"""
"""KEYS mem. ARGV version and mark of the copy that is known."""

USER = (
    """
if ARGV[3] ~= '0' then
  redis.pcall('EXPIRE', KEYS[1], ARGV[3])
  redis.pcall('EXPIRE', KEYS[2], ARGV[3])
end
"""
    + MEMORIES
)
"""KEYS user and its compensations. ARGV version and mark of the copy that is known, seconds that both are kept from now
on, or 0: then it only reads. A store that takes no writes is read all the same."""

COMMIT = (
    MERGE
    + MEMORIZE
    + LASTS
    + """
local head = redis.call('HMGET', KEYS[1], 'log_id', 'owner', 'epoch', 'turn', 'seq', 'amends')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then
  return 'superseded'
end
local id = ARGV[4] .. '-' .. ARGV[5]
local amends = head[6] or '0'
local amend = ARGV[5] ~= '0'
if head[4] == ARGV[4] and (not amend or amends == ARGV[5]) then
  local kept = redis.call('XRANGE', KEYS[2], id, id)[1]
  if kept then
    local same, told = false, '0'
    for field = 1, #kept[2], 2 do
      if kept[2][field] == 'body' and kept[2][field + 1] == ARGV[13] then same = true end
      if kept[2][field] == 'uv' then told = kept[2][field + 1] end
    end
    if same then
      redis.call('HSET', KEYS[1], 'turn', ARGV[4])
      return told == '0' and 'ok' or {'ok', told, 0}
    end
  end
  return 'superseded'
end
if tonumber(head[5]) ~= tonumber(ARGV[6]) - 1 then
  return 'superseded'
end
if amend then
  if head[4] ~= ARGV[4] or tonumber(amends) ~= tonumber(ARGV[5]) - 1 then
    return 'superseded'
  end
elseif tonumber(head[4]) ~= tonumber(ARGV[4]) - 1 then
  return 'superseded'
end
local words = 15
local remembers = tonumber(ARGV[words])
local merges = words + 1 + remembers
local mem, compensations, user = KEYS[#KEYS], KEYS[#KEYS - 1], KEYS[#KEYS - 2]
local plan = #ARGV >= merges and merged(user, merges)
if plan and plan.refused then return plan.refused end
local memory = remembers > 0 and memorized(mem, words + 1, remembers)
if memory and memory.refused then return memory.refused end
if plan then
  redis.call('XADD', KEYS[2], id, 'v', ARGV[11], 'crc32', ARGV[12], 'body', ARGV[13], 'uv', number(plan.version))
  keep(plan, user, compensations, ARGV[merges + 3], ARGV[4])
else
  redis.call('XADD', KEYS[2], id, 'v', ARGV[11], 'crc32', ARGV[12], 'body', ARGV[13])
end
if amend then
  redis.call('HSET', KEYS[1], 'seq', ARGV[7], 'at_ms', ARGV[10], 'amends', ARGV[5])
else
  redis.call('HSET', KEYS[1], 'turn', ARGV[4], 'seq', ARGV[7], 'version', ARGV[8], 'revision', ARGV[9])
  if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'at_ms', ARGV[10]) end
  redis.call('HDEL', KEYS[1], 'open', 'deaths')
end
redis.call('HINCRBY', KEYS[1], 'bytes', #ARGV[13])
if memory then memorize(memory, mem) end
if ARGV[10] ~= '' then
  lasts(ARGV[14])
else
  for number = 2, #KEYS do
    if redis.call('TTL', KEYS[number]) == -1 then lasts_as_head(KEYS[number]) end
  end
end
if plan or memory then
  return {'ok', plan and number(plan.version) or '0', plan and #plan.kept or 0, memory and memory.version or '0'}
end
return 'ok'
"""
)
"""KEYS head, wal, snap, segs; for a turn that changes user-scope state user and its compensations; last mem, whether the
turn remembers or not. ARGV log id, owner, epoch, turn, number, first seq, last seq, version, revision, at_ms, v, crc32,
body, seconds that all of it is kept from now on, how many words follow for MEMORIZE, those, and then, for user-scope
state, what MERGE takes: the version that the change got goes into the record's entry as `uv`. Number 0 is the turn
itself, and the note of the open turn goes with it; any other is an amend of the newest turn, counted over the whole log,
which leaves version, revision and the open turn as they are. The head counts the bytes of what is in the log. A turn
without a message has no at_ms: nobody spoke, so what there is lasts no longer, and what is new as long as the head."""

NOTE = """
local head = redis.call('HMGET', KEYS[1], 'log_id', 'owner', 'epoch', 'turn')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then
  return 'superseded'
end
if tonumber(head[4]) ~= tonumber(ARGV[4]) - 1 then
  return 'superseded'
end
redis.call('HDEL', KEYS[1], 'open', 'deaths')
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], 'open', ARGV[5])
end
return 'ok'
"""
"""KEYS head. ARGV log id, owner, epoch, turn, the open turn or nothing: it is given up."""

KEEP = (
    LASTS
    + """
local head = redis.call('HMGET', KEYS[1], 'log_id', 'owner', 'epoch', 'seq')
if head[1] ~= ARGV[1] or head[2] ~= ARGV[2] or head[3] ~= ARGV[3] then
  return 'superseded'
end
local mine, last = tonumber(ARGV[4]), tonumber(head[4])
if mine > last then
  return 'superseded'
end
local others, newer = {}, 0
for _, seq in ipairs(redis.call('HKEYS', KEYS[2])) do
  local at = tonumber(seq)
  if at > last then
    redis.call('HDEL', KEYS[2], seq)
  elseif at ~= mine then
    table.insert(others, seq)
    newer = newer + (at > mine and 1 or 0)
  end
end
if newer > 1 then
  return 'ok'
end
table.sort(others, function(one, other) return tonumber(one) > tonumber(other) end)
for place = 2, #others do
  redis.call('HDEL', KEYS[2], others[place])
end
redis.call('HSET', KEYS[2], ARGV[4], ARGV[5])
lasts_as_head(KEYS[2])
return 'ok'
"""
)
"""KEYS head, snap. ARGV log id, owner, epoch, seq of the snapshot, the snapshot. The newest two are kept, as
long as the head; what a store that went back in time has of later ones is not its log's, and goes."""

QUARANTINE = """
if not redis.call('HGET', KEYS[1], ARGV[1]) then
  if #redis.call('HKEYS', KEYS[1]) >= tonumber(ARGV[3]) then
    return 'full'
  end
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  local left, seconds = redis.call('TTL', KEYS[3]), tonumber(ARGV[4])
  redis.call('EXPIRE', KEYS[1], left >= 0 and math.min(left, seconds) or seconds)
end
if ARGV[5] ~= '' and redis.call('HGET', KEYS[2], ARGV[5]) == ARGV[6] then
  redis.call('HDEL', KEYS[2], ARGV[5])
end
return 'ok'
"""
"""KEYS quarantine, snap, head. ARGV name, a copy, how many copies there may be, seconds that they are kept, if the session
is; a snapshot's seq
and what stands there, where it is to go (else two empty words)."""

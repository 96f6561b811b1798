"""The scripts that Redis runs, each as one atomic step: append to channels, read one, and agree.

Rule: everything that has to be decided together is decided here, and nothing else. A channel is a
hash of facts, a stream of messages, whose ids are the offsets, and a hash of slots. All keys of a
command are in one slot of a cluster.

The facts of a channel: `e` epoch, `s` offset of the newest message, `r` the run of Redis that wrote
last, `g` its generation, `b` the generations that are known with the offset behind which each
began, `t` when the last ones began, `k` whether messages have slots, `l` the highest offset that is
lost where they have.
"""

from __future__ import annotations

__all__ = ["AGREE", "APPEND", "READ", "REIGN"]

_STAND = """
local known_generations = 16
local unsteady_in, unsteady_after = 60, 4
local unsteady = 0

-- What nobody has used: the number of the command, added to what its connection alone has. `fresh`
-- is the run, the epoch and the generation of the connection, the number, and what tells several
-- channels of one command apart.
local function fresh_epoch(fresh) return fresh[2] .. fresh[4] .. fresh[5] end
local function fresh_generation(fresh) return string.format('%.0f', fresh[3] + fresh[4]) end

-- Another run of Redis than the one that wrote last: the next messages are of a new generation.
local function begin_generation(meta, run, generation, b, s, t)
  local now = redis.call('TIME')[1]
  local times, begins = {}, {}
  for time in string.gmatch(t or '', '%d+') do times[#times + 1] = time end
  times[#times + 1] = now
  if #times > unsteady_after then
    if now - table.remove(times, 1) < unsteady_in then unsteady = 1 end
  end
  for begin in string.gmatch(b, '%d+:%d+') do begins[#begins + 1] = begin end
  begins[#begins + 1] = generation .. ':' .. s
  if #begins > known_generations then table.remove(begins, 1) end
  local text = ' ' .. table.concat(begins, ' ')
  redis.call('HSET', meta, 'r', run, 'g', generation, 'b', text, 't', table.concat(times, ' '))
  return text
end

-- Whether what a worker has seen is a beginning of what is here.
local function covers(b, g, s, seen_generation, seen_offset)
  if seen_generation == g then return seen_offset <= s end
  local ends = string.match(b, ' ' .. seen_generation .. ':%d+ %d+:(%d+)')
  return ends and seen_offset <= tonumber(ends)
end

-- A channel as it stands, for a worker that has seen so much of it: begun anew where it must be.
local function stand(meta, stream, slots, fresh, seen, anew)
  local run = fresh[1]
  local e, s, r, g, b, t, k, l = unpack(
    redis.call('HMGET', meta, 'e', 's', 'r', 'g', 'b', 't', 'k', 'l'))
  if e and not anew then
    s = tonumber(s)
    if run ~= '' and r ~= run then
      g = fresh_generation(fresh)
      b = begin_generation(meta, run, g, b, s, t)
    end
    if seen[1] ~= e or covers(b, g, s, seen[2], tonumber(seen[3])) then
      return e, s, g, b, k, tonumber(l or '0')
    end
  end
  -- First what is refused when memory is full: then nothing has happened.
  local epoch = fresh_epoch(fresh)
  redis.call('HSET', meta, 'e', epoch, 's', 0, 'r', run, 'g', '0', 'b', ' 0:0')
  redis.call('HDEL', meta, 't', 'k', 'l')
  redis.call('DEL', stream, slots)
  return epoch, 0, '0', ' 0:0', false, 0
end

-- Now and then: whether what has been kept for too long is looked for.
local function looks(offset) return offset % 8 == 0 end

-- The highest offset that is lost of a channel without slots.
local function lost_of(stream, s)
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  return first and tonumber(string.match(first[1], '^%d+')) - 1 or s
end
"""

APPEND = (
    _STAND
    + """
-- KEYS  for each message: facts, stream, slots, what this worker has done; then the idempotency key
-- ARGV  1 run 2 command that publishes, and 3 seconds that what is done, and 4 a key, are known
--       5 epoch and 6 generation of the connection 7 number 8 oldest
--       9 '' or '=' and the digest of the key
--       for each message: channel, messages kept, seconds kept ('' for ever), seconds of the facts,
--       '' or '=' and the slot, epoch, generation and offset seen, payload
-- Answers 'outcome receivers unsteady' and for each message ' epoch generation offset'.
local publishes, known_for, key_for = ARGV[2], ARGV[3], ARGV[4]
local fresh = {ARGV[1], ARGV[5], ARGV[6], ARGV[7], ''}
local number = tonumber(ARGV[7])
local oldest = math.min(tonumber(ARGV[8]), number)
local key = ARGV[9] ~= '' and KEYS[#KEYS]

local function number_of(done) return tonumber(string.match(done, '^%d+')) end

-- The answer that was given then. Numbers rise: it is found by halves, since after a lost
-- connection many come again, and the list is as long.
local function answered(done)
  local low, high = 0, redis.call('LLEN', done) - 1
  while low < high do
    local middle = math.floor((low + high) / 2)
    if number_of(redis.call('LINDEX', done, middle)) < number then low = middle + 1
    else high = middle end
  end
  local found, answer = string.match(redis.call('LINDEX', done, low), '^(%d+)(.*)$')
  return tonumber(found) == number and answer
end

local is_late = false
for item = 1, math.floor(#KEYS / 4) do
  local last = redis.call('LINDEX', KEYS[item * 4], -1)
  if last and number_of(last) >= number then
    local answer = answered(KEYS[item * 4])
    if answer then return 'repeated 0 0' .. answer end
    is_late = true
  end
end
if is_late then return 'repeated 0 0' end
if key then
  local digest, where = unpack(redis.call('HMGET', key, 'd', 'p'))
  if digest and digest ~= ARGV[9] then return 'mismatch 0 0' end
  if digest then return 'duplicate 0 0' .. where end
end

-- Now and then: what this worker has done, and does not ask about again. Of a long list no more is
-- looked at than the first entries: it is long where nothing can be forgotten.
local function forget(done, oldest)
  local found, count = redis.call('LRANGE', done, 0, 63), 0
  while found[count + 1] and number_of(found[count + 1]) < oldest do count = count + 1 end
  if count > 0 then redis.call('LTRIM', done, count, -1) end
end

local function expire(name, seconds)
  if seconds == '' then redis.call('PERSIST', name) else redis.call('EXPIRE', name, seconds) end
end

-- Without slots: drop what has been kept for too long, by the nodes in which a stream has it.
local function drop(stream, since)
  local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
  if tonumber(first[2][6]) >= since then return end
  local found = redis.call('XRANGE', stream, '-', '+', 'COUNT', 64)
  for number, entry in ipairs(found) do
    if tonumber(entry[2][6]) >= since or number == #found then
      if number > 1 then redis.call('XTRIM', stream, 'MINID', entry[1]) end
      return
    end
  end
end

-- Where messages have slots: put one into its own, in place of the one before; and trim.
local function fill(meta, stream, slots, slot, offset, most, since, l)
  local before = slot and redis.call('HGET', slots, slot)
  local replaced = before and redis.call('XDEL', stream, before .. '-0') == 1
  if slot then redis.call('HSET', slots, slot, offset) end
  local length, lost = redis.call('XLEN', stream), l
  if length == 1 and not replaced then lost = offset - 1 end
  while length > most or (since and length > 1) do
    local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if length <= most and tonumber(first[2][6]) >= since then break end
    redis.call('XDEL', stream, first[1])
    lost = tonumber(string.match(first[1], '^%d+'))
    if first[2][8] then redis.call('HDEL', slots, first[2][8]) end
    length = length - 1
  end
  redis.call('HSET', meta, 'k', 1, 'l', lost)
end

local receivers, positions = 0, ''
local now = tonumber(redis.call('TIME')[1])
for item = 0, #KEYS / 4 - 1 do
  local meta, stream, slots = KEYS[item * 4 + 1], KEYS[item * 4 + 2], KEYS[item * 4 + 3]
  local channel, most, seconds, life, slot, seen_epoch, seen_generation, seen_offset, payload =
    unpack(ARGV, item * 9 + 10, item * 9 + 18)
  local seen = {seen_epoch, seen_generation, seen_offset}
  -- Two channels that begin anew in one step have an epoch each.
  if item > 0 then fresh[5] = '~' .. item end
  local e, s, g, b, k, l = stand(meta, stream, slots, fresh, seen)
  local offset = s + 1
  most = tonumber(most)
  redis.call('HSET', meta, 's', offset)
  local id, since = offset .. '-0', nil
  if looks(offset) and seconds ~= '' then since = now - tonumber(seconds) end
  if slot == '' and not k then
    redis.call('XADD', stream, 'MAXLEN', '~', most, id, 'd', payload, 'g', g, 't', now)
    if since then drop(stream, since) end
  else
    if not k then l = lost_of(stream, s) end
    if slot == '' then
      redis.call('XADD', stream, id, 'd', payload, 'g', g, 't', now)
    else
      redis.call('XADD', stream, id, 'd', payload, 'g', g, 't', now, 'k', slot)
    end
    fill(meta, stream, slots, slot ~= '' and slot, offset, most, since, l)
    expire(slots, seconds)
  end
  expire(stream, seconds)
  expire(meta, life)
  local where = ' ' .. e .. ' ' .. g .. ' ' .. offset
  positions = positions .. where
  receivers = receivers + redis.call(publishes, channel,
    offset .. ' ' .. g .. ' ' .. e .. ' ' .. payload)
end

for item = 0, #KEYS / 4 - 1 do
  local done = KEYS[item * 4 + 4]
  if redis.call('RPUSH', done, number .. positions) % 16 == 0 then forget(done, oldest) end
  redis.call('EXPIRE', done, known_for)
end
if key then
  redis.call('HSET', key, 'd', ARGV[9], 'p', positions)
  redis.call('EXPIRE', key, key_for)
end
return 'accepted ' .. receivers .. ' ' .. unsteady .. positions
"""
)

READ = (
    _STAND
    + """
-- KEYS  facts, stream, slots
-- ARGV  1 run 2 epoch and 3 generation of the connection 4 number 5 seconds that the facts are
--       kept at least 6 epoch, 7 generation and 8 offset seen 9 first offset wanted ('' none)
--       10 messages and 11 bytes at most 12 '1': the channel begins anew 13 seconds of facts
--       without a message
-- Answers 'epoch generation top lost complete unsteady begins', and for each message two texts,
-- 'offset generation' and the payload.
local meta, stream, slots = KEYS[1], KEYS[2], KEYS[3]
local seen = {ARGV[6], ARGV[7], ARGV[8]}
local fresh = {ARGV[1], ARGV[2], ARGV[3], ARGV[4], ''}
local e, s, g, b, k, lost = stand(meta, stream, slots, fresh, seen, ARGV[12] == '1')
local life, ttl = tonumber(ARGV[s == 0 and 13 or 5]), redis.call('TTL', meta)
if s == 0 or (ttl >= 0 and ttl < life) then redis.call('EXPIRE', meta, life) end
if not k or redis.call('XLEN', stream) == 0 then lost = lost_of(stream, s) end
local answer, complete = {''}, s
if ARGV[9] ~= '' then
  local most, size = tonumber(ARGV[10]), 0
  local found = redis.call('XRANGE', stream, ARGV[9], '+', 'COUNT', most)
  if #found == most then complete = tonumber(string.match(found[most][1], '^%d+')) end
  for _, entry in ipairs(found) do
    local offset = string.match(entry[1], '^%d+')
    answer[#answer + 1] = offset .. ' ' .. entry[2][4]
    answer[#answer + 1] = entry[2][2]
    size = size + #entry[2][2]
    if size >= tonumber(ARGV[11]) then
      complete = tonumber(offset)
      break
    end
  end
end
answer[1] = e .. ' ' .. g .. ' ' .. s .. ' ' .. lost .. ' ' .. complete .. ' ' .. unsteady .. b
return answer
"""
)

AGREE = """
-- KEYS  the workers that have what is agreed, each with the time until which that holds, and what
--       is agreed, which publishers read
-- ARGV  1 this worker 2 what it has 3 seconds that it holds 4 '1': whatever the others have
-- Answers what the others have, if it is something else.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local theirs = redis.call('GET', KEYS[2])
if theirs ~= ARGV[2] then
  if ARGV[4] ~= '1' and theirs and redis.call('EXISTS', KEYS[1]) == 1 then return theirs end
  redis.call('DEL', KEYS[1])
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[2])
return false
"""

REIGN = """
-- KEYS  who reigns, and a key that is written to see whether that may be
-- ARGV  1 the process 2 a fresh text
-- Answers the text of this reign: the fresh one, if another process has reigned before.
redis.call('SET', KEYS[2], '', 'EX', 60)
local known = redis.call('HMGET', KEYS[1], 'r', 't')
if known[1] == ARGV[1] then return known[2] end
redis.call('HSET', KEYS[1], 'r', ARGV[1], 't', ARGV[2])
return ARGV[2]
"""

-- Writes purges to the log, and reads those that the caller does not know.
--
-- KEYS[1]  sorted set: the last stamp of each purged target
-- KEYS[2]  hash: epoch, floor, last, flushed
-- ARGV     the epoch and the last stamp that the caller knows; the maximum number of targets to
--          return; the maximum number to keep; the time to keep them, in microseconds; the floor and
--          the last target that the caller knows; the channel; the targets to purge, "*" for all
--
-- Returns the epoch, the floor, the last stamp, the stamp of the last purge of all, the time in
-- microseconds, and targets with their stamps.
--
-- Stamps are the time in microseconds. They are at least 1,000 apart: a process uses the ones in
-- between for its purges until it knows their final stamps.
local names, state = KEYS[1], KEYS[2]
local known_epoch, known = tonumber(ARGV[1]), tonumber(ARGV[2])
local page, most, keep = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known_floor, known_name, channel = tonumber(ARGV[6]), ARGV[7], ARGV[8]

-- A key of another type is not from this crate.
for key, kind in pairs({ [names] = 'zset', [state] = 'hash' }) do
  local is = redis.call('TYPE', key).ok
  if is ~= kind and is ~= 'none' then redis.call('DEL', key) end
end
-- Once it has written, a script may go on when the memory is full. Purges need little memory, and
-- make entries useless that Redis can evict.
redis.call('HDEL', state, '')

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number) return string.format('%.0f', number) end

local kept = redis.call('HMGET', state, 'epoch', 'floor', 'last', 'flushed')
local epoch, floor, last, flushed =
  tonumber(kept[1] or ''), tonumber(kept[2] or ''), tonumber(kept[3] or ''), tonumber(kept[4] or '')
local changed = false

-- The log was lost if a part of it is missing, if it ends before what the caller has read, or if it
-- lacks the last target that the caller has read: after a restart with an older state, or on a
-- replica that has become the primary. Any entry from before may have been purged.
local lost = not (epoch and floor and last and flushed) or known > last
  or (last > floor and redis.call('EXISTS', names) == 0)
  or known_floor > floor or (known_epoch ~= epoch and known > epoch)
  or (known > floor and tonumber(redis.call('ZSCORE', names, known_name) or 0) < known)
if lost then
  epoch = math.max(now, known + 1000, (last or 0) + 1000)
  floor, last, flushed, changed = epoch, epoch, epoch, true
  redis.call('DEL', names, state)
end

for at = 9, #ARGV do
  last, changed = math.max(now, last + 1000), true
  if ARGV[at] == '*' then
    redis.call('DEL', names)
    floor, flushed = last, last
  else
    redis.call('ZADD', names, text(last), ARGV[at])
  end
end

if changed then
  local over = redis.call('ZCARD', names) - most
  local old = redis.call('ZCOUNT', names, '-inf', text(now - keep))
  local cut = math.max(over, old)
  if cut > 0 then
    local newest = redis.call('ZRANGE', names, cut - 1, cut - 1, 'WITHSCORES')
    floor = math.max(floor, tonumber(newest[2]))
    redis.call('ZREMRANGEBYRANK', names, 0, cut - 1)
  end
  redis.call('HSET', state, 'epoch', text(epoch), 'floor', text(floor), 'last', text(last),
    'flushed', text(flushed))
  redis.call('PUBLISH', channel, text(last))
end

if epoch ~= known_epoch then known = floor end
local news =
  redis.call('ZRANGEBYSCORE', names, '(' .. text(known), '+inf', 'WITHSCORES', 'LIMIT', 0, page)
return {text(epoch), text(floor), text(last), text(flushed), text(now), news}

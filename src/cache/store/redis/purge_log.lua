-- Writes purges to the log, and reads those that the caller does not know.
--
-- KEYS[1]  sorted set: the last stamp of each purged target whose entries may still be in Redis
-- KEYS[2]  hash: epoch, floor, last, flushed, removed
-- KEYS[3]  sorted set: the last stamp of each name whose entry was removed or replaced in Redis
-- ARGV     the epoch and the last stamp that the caller knows; the maximum number of targets to
--          return of each set; the maximum number to keep of each set; the time to keep them, in
--          microseconds; the floor that the caller knows; its last target of KEYS[1] with the stamp,
--          and the same of KEYS[3]; the channel; the targets to purge, "*" for all, those of KEYS[3]
--          with an "r"
--
-- Returns a list of the epoch, the floor, the floor of KEYS[3], the last stamp, the stamp of the last
-- purge of all, the time in microseconds, and the stamp of the first target that was written; then the
-- targets of both sets with their stamps.
--
-- Stamps are the time in microseconds. They are at least 1,000 apart: a process uses the ones in
-- between for its purges until it knows their final stamps.
local names, state, removed = KEYS[1], KEYS[2], KEYS[3]
local known_epoch, known = tonumber(ARGV[1]), tonumber(ARGV[2])
local page, most, keep = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known_floor, channel = tonumber(ARGV[6]), ARGV[11]

-- A key of another type is not from this crate.
for key, kind in pairs({ [names] = 'zset', [state] = 'hash', [removed] = 'zset' }) do
  local is = redis.call('TYPE', key).ok
  if is ~= kind and is ~= 'none' then redis.call('DEL', key) end
end
-- Once it has written, a script may go on when the memory is full. Purges need little memory, and
-- make entries useless that Redis can evict.
redis.call('HDEL', state, '')

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number) return string.format('%.0f', number) end

local kept = redis.call('HMGET', state, 'epoch', 'floor', 'last', 'flushed', 'removed')
local epoch, floor, last, flushed =
  tonumber(kept[1] or ''), tonumber(kept[2] or ''), tonumber(kept[3] or ''), tonumber(kept[4] or '')
-- A version without the second set has made the state anew: entries from before its floor are purged.
local removed_floor = tonumber(kept[5] or '') or floor
local changed = false

-- Returns true if a set lacks the last target that the caller has read of it.
local function lacks(set, name, stamp, from)
  return stamp > from and tonumber(redis.call('ZSCORE', set, name) or 0) < stamp
end

-- The log was lost if a part of it is missing, if it ends before what the caller has read, or if it
-- lacks the last target that the caller has read: after a restart with an older state, or on a
-- replica that has become the primary. Any entry from before may have been purged.
local lost = not (epoch and floor and last and flushed) or known > last
  or (last > math.max(floor, removed_floor)
    and redis.call('EXISTS', names) + redis.call('EXISTS', removed) == 0)
  or known_floor > floor or (known_epoch ~= epoch and known > epoch)
  or lacks(names, ARGV[7], tonumber(ARGV[8]), floor)
  or lacks(removed, ARGV[9], tonumber(ARGV[10]), math.max(floor, removed_floor))
if lost then
  epoch = math.max(now, known + 1000, (last or 0) + 1000)
  floor, removed_floor, last, flushed, changed = epoch, epoch, epoch, epoch, true
  redis.call('DEL', names, state, removed)
end

local first = math.max(now, last + 1000)
local marked
for at = 12, #ARGV do
  local target = ARGV[at]
  last, changed = math.max(now, last + 1000), true
  if target == '*' then
    redis.call('DEL', names, removed)
    floor, removed_floor, flushed, marked = last, last, last, nil
  elseif string.sub(target, 1, 1) == 'r' then
    redis.call('ZADD', removed, text(last), target)
    marked = last
  else
    redis.call('ZADD', names, text(last), target)
  end
end

-- A version that does not know the second set takes this target for a purge of everything.
if marked then redis.call('ZADD', names, text(marked), 'r') end

-- Forgets the targets that are too old or too many, and returns the floor of the set. A full set
-- forgets a tenth at once: each process goes through its tables whenever a floor rises.
local function forget(set, from)
  local over = redis.call('ZCARD', set) - most
  if over > 0 then over = over + math.floor(most / 10) end
  local cut = math.max(over, redis.call('ZCOUNT', set, '-inf', text(now - keep)))
  if cut <= 0 then return from end
  local newest = redis.call('ZRANGE', set, cut - 1, cut - 1, 'WITHSCORES')
  redis.call('ZREMRANGEBYRANK', set, 0, cut - 1)
  return math.max(from, tonumber(newest[2]))
end

if changed then
  floor = forget(names, floor)
  -- What was removed from Redis is not there to be purged, so this floor is none for Redis.
  removed_floor = forget(removed, removed_floor)
  redis.call('HSET', state, 'epoch', text(epoch), 'floor', text(floor), 'last', text(last),
    'flushed', text(flushed), 'removed', text(removed_floor))
  redis.call('PUBLISH', channel, text(last))
end

if epoch ~= known_epoch then known = floor end
local function news(set)
  return redis.call('ZRANGEBYSCORE', set, '(' .. text(known), '+inf', 'WITHSCORES', 'LIMIT', 0, page)
end
local numbers = { epoch, floor, removed_floor, last, flushed, now, first }
for at = 1, #numbers do numbers[at] = text(numbers[at]) end
return { numbers, news(names), news(removed) }

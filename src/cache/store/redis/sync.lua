-- Writes purges into the log, and reads what is new in it.
--
-- KEYS[1]  sorted set: what was purged last by which stamp
-- KEYS[2]  hash: epoch, floor, last, flushed
-- ARGV     epoch and last stamp that the caller knows; most names to return; most names to keep;
--          how long to keep them, in microseconds; floor and last name that the caller knows;
--          channel; names to purge, "*" for all
--
-- Stamps are the time in microseconds, and leave room for a thousand that a process makes up for
-- itself until it knows the next one.
local names, state = KEYS[1], KEYS[2]
local known_epoch, known = tonumber(ARGV[1]), tonumber(ARGV[2])
local page, most, keep = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local known_floor, known_name, channel = tonumber(ARGV[6]), ARGV[7], ARGV[8]

-- Of others' making, and of no use.
for key, kind in pairs({ [names] = 'zset', [state] = 'hash' }) do
  local is = redis.call('TYPE', key).ok
  if is ~= kind and is ~= 'none' then redis.call('DEL', key) end
end
-- A script that has written may go on when the memory is full: purges need little, and are what
-- makes entries useless that others may free.
redis.call('HDEL', state, '')

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local function text(number) return string.format('%.0f', number) end

local kept = redis.call('HMGET', state, 'epoch', 'floor', 'last', 'flushed')
local epoch, floor, last, flushed =
  tonumber(kept[1] or ''), tonumber(kept[2] or ''), tonumber(kept[3] or ''), tonumber(kept[4] or '')
local changed = false

-- A log that is not there, in part or as a whole, or that ends before what the caller has read of
-- it, was lost; what was kept before may have been purged. So was one that had ended there, and was
-- written into since: after a restart with an older state, or on a replica that has become primary.
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
return {text(epoch), text(floor), text(last), text(flushed), news}

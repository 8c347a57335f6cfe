-- Remove a worker that left, was killed or lost: it is out, and its running tasks are queued again or failed.
-- KEYS: clients, workers, running, queued, failed, started, idle, waiting, unwanted, unique, the worker's sign of life
-- ARGV: worker_id, packed end of the worker, packed worker_id, packed end of its tasks, wake prefix,
--       how often a task may be queued again, '1' to remove it only if its sign of life has expired,
--       '1' if it is not to join any more, should it not have joined yet
-- Returns: 1; -1: it takes no part, or lives; no task was moved
-- Guard: the worker takes part: of several that find it lost, one wins. The places of its tasks are given back.
-- Uses: wake.lua
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then
  local ended = redis.call('HGET', KEYS[2], ARGV[1])
  if not ended and ARGV[8] == '1' then redis.call('SADD', KEYS[9], ARGV[1]) end
  -- The end holds a time of the caller's own clock: it was this call, and its reply was lost.
  return ended and string.sub(ended, -#ARGV[2]) == ARGV[2] and 1 or -1
end
if ARGV[7] == '1' and redis.call('EXISTS', KEYS[11]) == 1 then return -1 end
local function corrupt(key, what)
  return redis.error_reply('CORRUPT ' .. key .. ' holds bytes that are no ' .. what)
end
-- Everything is looked at before the first write: an error in the middle would leave a worker half removed.
local worker = redis.call('HGET', KEYS[2], ARGV[1])
if not worker or string.byte(worker) ~= 150 then return corrupt(KEYS[2], 'record of worker ' .. ARGV[1]) end
if not tonumber(redis.call('GET', KEYS[6]) or 0) then return corrupt(KEYS[6], 'number') end
redis.call('LLEN', KEYS[4])
redis.call('LLEN', KEYS[5])
local running, mine = redis.call('HGETALL', KEYS[3]), {}
for i = 1, #running, 2 do
  local record = running[i + 1]
  if string.sub(record, 2, 1 + #ARGV[3]) == ARGV[3] then
    -- Behind the worker_id: attempt in one byte; at the end: started_at in nine.
    if string.byte(record) ~= 150 or #record < #ARGV[3] + 13 or string.byte(record, -9) ~= 203 then
      return corrupt(KEYS[3], 'task record: ' .. running[i])
    end
    mine[#mine + 1] = i
  end
end
-- Writes that need memory come first: a server without any refuses them, and then nothing has changed.
redis.call('HSET', KEYS[2], ARGV[1], '\153' .. string.sub(worker, 2) .. ARGV[2])
local requeued, failed = 0, 0
for _, i in ipairs(mine) do
  local record = running[i + 1]
  local attempt = string.byte(record, 2 + #ARGV[3])
  if attempt < tonumber(ARGV[6]) then
    local rest = string.sub(record, 3 + #ARGV[3], -10)
    redis.call('LPUSH', KEYS[4], '\149\160' .. string.char(attempt + 1) .. rest)
    requeued = requeued + 1
  else
    redis.call('RPUSH', KEYS[5], '\154' .. string.sub(record, 2) .. ARGV[4])
    -- Nobody knows what it would have come to: its like may be started again.
    if string.sub(running[i], 9, 9) == ':' then redis.pcall('SREM', KEYS[10], string.sub(running[i], 1, 8)) end
    failed = failed + 1
  end
  redis.call('HDEL', KEYS[3], running[i])
end
redis.call('DECRBY', KEYS[6], requeued + failed)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[11])
-- One that sleeps, and lives, is to learn that it is out.
if redis.pcall('ZREM', KEYS[7], ARGV[1]) == 1 then wake({ARGV[1]}, ARGV[5]) end
-- The worker itself may have been woken for a waiting task: others look after those.
local waiting_tasks = redis.call('LLEN', KEYS[4])
if waiting_tasks > 0 then wake_claimers(KEYS[7], waiting_tasks, ARGV[5]) end
wake_all(KEYS[8], ARGV[5])
return 1

-- Claim the longest waiting task: it leaves the queue and is running in the same step.
-- KEYS: clients, started, queued, running, idle
-- ARGV: client, epoch, limit ('' for none), packed worker_id, packed started_at,
--       the wake prefix if the client slept in idle, else ''
-- Returns: the running record; nil: nothing waits or the budget is used up; -1: out; -2: asked to stop
-- Guard: the client's epoch.
-- Uses: wake.lua
local slept = ARGV[6] ~= ''
if slept then redis.call('SREM', KEYS[5], ARGV[1]) end
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] then
  -- It may have been woken for a task that it must not take now: another one takes its turn.
  if slept and redis.call('LLEN', KEYS[3]) > 0 then wake(redis.call('SPOP', KEYS[5], 1), ARGV[6]) end
  return epoch == ARGV[2] .. 's' and -2 or -1
end
if redis.call('LLEN', KEYS[3]) == 0 then return false end
if redis.call('INCR', KEYS[2]) > (tonumber(ARGV[3]) or math.huge) then
  redis.call('DECR', KEYS[2])
  return false
end
-- A queued record: array header, '' as worker_id, attempt, then the key (its length in the low bits of one byte).
local queued = redis.call('LPOP', KEYS[3])
local header, worker, _, length = string.byte(queued, 1, 4)
local fault
if header ~= 149 or worker ~= 160 or not length or length < 161 or length > 191 or #queued < length - 154 then
  fault = redis.error_reply('CORRUPT ' .. KEYS[3] .. ' holds bytes that are no task record')
else
  local record = '\150' .. ARGV[4] .. string.sub(queued, 3) .. ARGV[5]
  fault = redis.pcall('HSET', KEYS[4], string.sub(queued, 5, length - 156), record)
  if type(fault) == 'number' then return record end
end
-- Another program spoiled one of the keys: everything goes back to where it was.
redis.call('LPUSH', KEYS[3], queued)
redis.call('DECR', KEYS[2])
return fault

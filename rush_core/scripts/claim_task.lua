-- Claim the longest waiting task: it leaves the queue and is running in the same step.
-- KEYS: clients, started, queued, running, idle
-- ARGV: client, epoch, limit ('' for none), deadline ('' for none), packed worker_id, packed started_at,
--       the wake prefix if the client slept in idle, else ''
-- Returns: the running record; nil: nothing waits or the budget is used up; -1: out; -2: asked to stop, or too late
-- Guard: the client's epoch.
-- Uses: wake.lua, late.lua
local call = redis.call
local slept = ARGV[7] ~= ''
if slept then call('ZREM', KEYS[5], ARGV[1]) end
local epoch = call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] or is_late(ARGV[4], ARGV[6]) then
  -- It may have been woken for a task that it must not take now: another one takes its turn.
  if slept and call('LLEN', KEYS[3]) > 0 then wake_claimers(KEYS[5], 1, ARGV[7]) end
  return (epoch == ARGV[2] or epoch == ARGV[2] .. 's') and -2 or -1
end
-- Taking it out comes first: then a server out of memory refuses none of the writes that follow.
local queued = call('LPOP', KEYS[3])
if not queued then return false end
-- A queued record: array header, '' as worker_id, attempt, then the key (its length in the low bits of one byte).
local header, worker, _, length = string.byte(queued, 1, 4)
local reply
if header ~= 149 or worker ~= 160 or not length or length < 161 or length > 191 or #queued < length - 154 then
  reply = redis.error_reply('CORRUPT ' .. KEYS[3] .. ' holds bytes that are no task record')
else
  reply = redis.pcall('INCR', KEYS[2])
  if type(reply) == 'number' then
    if reply <= (tonumber(ARGV[3]) or math.huge) then
      local record = '\150' .. ARGV[5] .. string.sub(queued, 3) .. ARGV[6]
      reply = redis.pcall('HSET', KEYS[4], string.sub(queued, 5, length - 156), record)
      if type(reply) == 'number' then return record end
    else
      reply = false
    end
    call('DECR', KEYS[2])
  end
end
-- The budget is used up, or another program spoiled one of the keys: the task goes back to where it was.
call('LPUSH', KEYS[3], queued)
return reply

-- Claim the task that has waited longest: it leaves the queue and becomes running in the same step.
-- KEYS: clients, started, queued, running, idle
-- ARGV: client, epoch, limit ('' for none), deadline ('' for none), packed worker_id, wake prefix, packed started_at,
--       '1' if the client waited in idle, else ''
-- Returns: the running record; nil: no task waits or the budget is used up; -1: the client is out; -2: it was asked to
--          stop, or it is too late
-- Guard: the client's epoch.
-- Uses: record.lua, float.lua, wake.lua, late.lua
local call = redis.call
local waited = ARGV[8] ~= ''
if waited then call('ZREM', KEYS[5], ARGV[1]) end
local epoch = call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] or is_late(ARGV[4], ARGV[7]) then
  -- The client may have been woken for a task that it must not take now: wake another one for it.
  if waited and call('LLEN', KEYS[3]) > 0 then wake_claimers(KEYS[5], 1, ARGV[6]) end
  return (epoch == ARGV[2] or epoch == ARGV[2] .. 's') and -2 or -1
end
-- The task is taken out first: this frees memory, so a server out of memory refuses none of the later writes.
local queued = call('LPOP', KEYS[3])
if not queued then return false end
-- A queued record: two bytes, attempt in one byte, the size of the key in one byte, the key.
local key_size = (string.byte(queued, 4) or 0) - TEXT
local reply
if string.sub(queued, 1, 2) ~= QUEUED_BEGIN or key_size < 1 or key_size > 31 or #queued < key_size + 6 then
  reply = redis.error_reply('CORRUPT ' .. KEYS[3] .. ' holds bytes that are no task record')
else
  reply = redis.pcall('INCR', KEYS[2])
  if type(reply) == 'number' then
    if reply <= (tonumber(ARGV[3]) or math.huge) then
      local record = RUNNING .. ARGV[5] .. string.sub(queued, 3) .. ARGV[7]
      reply = redis.pcall('HSET', KEYS[4], string.sub(queued, 5, 4 + key_size), record)
      if type(reply) == 'number' then return record end
    else
      reply = false
    end
    call('DECR', KEYS[2])
  end
end
-- The budget is used up, or another program spoiled one of the keys: put the task back in front.
call('LPUSH', KEYS[3], queued)
return reply

-- Remove a worker that left, was killed or lost: it is out, and its running tasks are failed.
-- KEYS: clients, workers, running, failed, started, idle, waiting
-- ARGV: worker_id, packed end of the worker, packed worker_id, packed end of its tasks, wake prefix
-- Returns: how many tasks were failed; -1: no such worker takes part, nothing was written
-- Guard: the worker takes part: of several that find it lost, one wins. The places of its tasks are given back.
-- Uses: wake.lua
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return -1 end
-- Writes that need memory come first: a server without any refuses them, and then nothing has changed.
local worker = redis.call('HGET', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], '\153' .. string.sub(worker, 2) .. ARGV[2])
local failed = 0
local running = redis.call('HGETALL', KEYS[3])
for i = 1, #running, 2 do
  local record = running[i + 1]
  if string.sub(record, 2, 1 + #ARGV[3]) == ARGV[3] then
    redis.call('RPUSH', KEYS[4], '\154' .. string.sub(record, 2) .. ARGV[4])
    redis.call('HDEL', KEYS[3], running[i])
    failed = failed + 1
  end
end
redis.call('DECRBY', KEYS[5], failed)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SREM', KEYS[6], ARGV[1])
wake_all(KEYS[7], ARGV[5])
return failed

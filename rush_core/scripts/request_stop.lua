-- Ask workers to stop after their current task. They learn it from the reply to their next command.
-- KEYS: clients, workers, stop, idle, waiting
-- ARGV: wake prefix, then worker_ids; none for all workers, also those that join later
-- Returns: how many were asked that had not been asked before
-- Uses: wake.lua
local prefix, workers, asked = table.remove(ARGV, 1), ARGV, 0
if #workers == 0 then
  redis.call('SET', KEYS[3], '1')
  workers = redis.call('HKEYS', KEYS[2])
end
for _, worker in ipairs(workers) do
  local epoch = redis.call('HGET', KEYS[1], worker)
  if epoch and string.sub(epoch, -1) ~= 's' then
    redis.call('HSET', KEYS[1], worker, epoch .. 's')
    asked = asked + 1
    local waited = {redis.pcall('ZREM', KEYS[4], worker), redis.pcall('SREM', KEYS[5], worker)}
    if waited[1] == 1 or waited[2] == 1 then
      wake({worker}, prefix)
    end
  end
end
return asked

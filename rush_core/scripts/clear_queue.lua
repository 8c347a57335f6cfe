-- Clear the front of the queue: the tasks that have waited longest become failed.
-- KEYS: clients, queued, failed, waiting
-- ARGV: client, epoch, wake prefix, packed end of the tasks, how many tasks at most
-- Returns: how many tasks became failed; -1: the client is out
-- Guard: the client's epoch.
-- Uses: record.lua, wake.lua
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] and epoch ~= ARGV[2] .. 's' then return -1 end
local records = redis.call('LRANGE', KEYS[2], 0, ARGV[5] - 1)
for _, record in ipairs(records) do
  if string.sub(record, 1, 1) ~= QUEUED then
    return redis.error_reply('CORRUPT ' .. KEYS[2] .. ' holds bytes that are no task record; nothing was moved')
  end
end
for i, record in ipairs(records) do
  records[i] = ENDED .. string.sub(record, 2) .. NIL .. ARGV[4] -- started_at is nil
end
-- A hundred at a time: one call for each record would take several times as long.
for i = 1, #records, 100 do redis.call('RPUSH', KEYS[3], unpack(records, i, math.min(i + 99, #records))) end
redis.call('LTRIM', KEYS[2], #records, -1)
wake_all(KEYS[4], ARGV[3])
return #records

-- Clear the queue: all queued tasks become failed.
-- KEYS: clients, queued, failed, waiting
-- ARGV: client, epoch, wake prefix, packed end
-- Returns: how many; -1: the client is out
-- Guard: the client's epoch.
-- Uses: wake.lua
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] and epoch ~= ARGV[2] .. 's' then return -1 end
local records = redis.call('LRANGE', KEYS[2], 0, -1)
for _, record in ipairs(records) do
  if string.byte(record) ~= 149 then
    return redis.error_reply('CORRUPT ' .. KEYS[2] .. ' holds bytes that are no task record; nothing was moved')
  end
end
for _, record in ipairs(records) do
  redis.call('RPUSH', KEYS[3], '\154' .. string.sub(record, 2) .. '\192' .. ARGV[4])
end
redis.call('DEL', KEYS[2])
wake_all(KEYS[4], ARGV[3])
return #records

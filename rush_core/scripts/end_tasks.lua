-- End running tasks: each record leaves running and is appended, with its end, to finished or failed.
-- KEYS: clients, running, destination (finished or failed), waiting
-- ARGV: client, epoch, packed worker_id, wake prefix, then key and packed end of each task
-- Returns: 1 or 0 for each task (0: not this worker's to end, nothing was written), then 1 if asked to stop;
--          -1: the client is out, nothing was written
-- Guard: the client's epoch, and that the record is running under this worker: first writer wins.
-- Uses: wake.lua
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
local reply = {}
if epoch ~= ARGV[2] and epoch ~= ARGV[2] .. 's' then return -1 end
for i = 5, #ARGV, 2 do
  local record = redis.call('HGET', KEYS[2], ARGV[i])
  local mine = record and string.sub(record, 2, 1 + #ARGV[3]) == ARGV[3]
  if mine then
    -- The append comes first: a server out of memory refuses it, and then nothing has changed.
    redis.call('RPUSH', KEYS[3], '\154' .. string.sub(record, 2) .. ARGV[i + 1])
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
  reply[#reply + 1] = mine and 1 or 0
end
wake_all(KEYS[4], ARGV[4])
reply[#reply + 1] = epoch == ARGV[2] and 0 or 1
return reply

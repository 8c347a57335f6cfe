-- End running tasks: each record leaves running and is appended, with its end, to finished or failed.
-- KEYS: clients, running, destination (finished or failed), waiting
-- ARGV: client, epoch, packed worker_id, wake prefix, then key and packed end of each task
-- Returns: how many, if all were ended and there is no more to say; -1: the client is out, nothing was written;
--          else a list: 1 or 0 for each task (0: not this worker's to end, nothing was written), then 1 if asked to stop
-- Guard: the client's epoch, and that the record is running under this worker: first writer wins.
-- Uses: wake.lua
local call = redis.call
local epoch = call('HGET', KEYS[1], ARGV[1])
local stop = epoch ~= ARGV[2]
if stop and epoch ~= ARGV[2] .. 's' then return -1 end
local reply, n_ended = {}, 0
for i = 5, #ARGV, 2 do
  local record = call('HGET', KEYS[2], ARGV[i])
  if record and string.sub(record, 2, 1 + #ARGV[3]) == ARGV[3] then
    -- The append comes first: a server out of memory refuses it, and then nothing has changed.
    call('RPUSH', KEYS[3], '\154' .. string.sub(record, 2) .. ARGV[i + 1])
    call('HDEL', KEYS[2], ARGV[i])
    reply[#reply + 1] = 1
    n_ended = n_ended + 1
  else
    reply[#reply + 1] = 0
  end
end
wake_all(KEYS[4], ARGV[4])
if n_ended == #reply and not stop then return n_ended end
reply[#reply + 1] = stop and 1 or 0
return reply

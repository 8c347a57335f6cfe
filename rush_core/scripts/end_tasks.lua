-- End running tasks: each record leaves running and is appended, with its end, to finished or failed.
-- KEYS: clients, running, finished or failed, waiting
-- ARGV: client, epoch, packed worker_id, wake prefix, then key and packed end of each task
-- Returns: the number of tasks, if all were ended and the client was not asked to stop; -1: the client is out, nothing
--          was written; else a list: 1 or 0 for each task (0: this worker does not run it, nothing was written), then
--          1 if the client was asked to stop, else 0
-- Guard: the client's epoch, and that the task runs under this worker: the first writer wins.
-- Uses: record.lua, owner.lua, wake.lua
local call = redis.call
local epoch = call('HGET', KEYS[1], ARGV[1])
local stop = epoch ~= ARGV[2]
if stop and epoch ~= ARGV[2] .. 's' then return -1 end
local reply, n_ended = {}, 0
for i = 5, #ARGV, 2 do
  local record = call('HGET', KEYS[2], ARGV[i])
  if record and belongs_to(record, ARGV[3]) then
    -- The append comes first: if a server out of memory refuses it, nothing has changed.
    call('RPUSH', KEYS[3], ENDED .. string.sub(record, 2) .. ARGV[i + 1])
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

-- Report on a running task: a record is appended to the reports.
-- KEYS: clients, running, reports
-- ARGV: client, epoch, packed worker_id, then the task's key and the packed end of the report
-- Returns: 1, if it was appended and the client was not asked to stop; -1: the client is out, nothing was written;
--          else a list: 1 or 0 (0: this worker does not run the task, nothing was written), then 1 if the client was
--          asked to stop, else 0
-- Guard: the client's epoch, and that the task runs under this worker.
-- Uses: record.lua, owner.lua
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
local stop = epoch ~= ARGV[2]
if stop and epoch ~= ARGV[2] .. 's' then return -1 end
local record, won = redis.call('HGET', KEYS[2], ARGV[4]), 0
if record and belongs_to(record, ARGV[3]) then
  -- The first fields of the report are copied from the task: worker_id, attempt in one byte, one byte and the key.
  redis.call('RPUSH', KEYS[3], REPORT .. string.sub(record, 2, 3 + #ARGV[3] + #ARGV[4]) .. ARGV[5])
  won = 1
end
if won == 1 and not stop then return 1 end
return {won, stop and 1 or 0}

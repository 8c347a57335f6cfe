-- Report on a running task: a record is appended to the reports.
-- KEYS: clients, running, reports
-- ARGV: client, epoch, packed worker_id, then the task's key and the packed end of the report
-- Returns: 1, if it was appended and there is no more to say; -1: the client is out, nothing was written;
--          else a list: 1 or 0 (0: not this worker's to report on, nothing was written), then 1 if asked to stop
-- Guard: the client's epoch, and that the record is running under this worker.
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
local stop = epoch ~= ARGV[2]
if stop and epoch ~= ARGV[2] .. 's' then return -1 end
local record, won = redis.call('HGET', KEYS[2], ARGV[4]), 0
if record and string.sub(record, 2, 1 + #ARGV[3]) == ARGV[3] then
  -- Whose report it is, is said by the running record: worker_id, attempt in one byte, and the key behind one more.
  redis.call('RPUSH', KEYS[3], '\149' .. string.sub(record, 2, 3 + #ARGV[3] + #ARGV[4]) .. ARGV[5])
  won = 1
end
if won == 1 and not stop then return 1 end
return {won, stop and 1 or 0}

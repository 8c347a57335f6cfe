-- Send a worker's heartbeat: count one more. Observers see that the number changes, whatever the clocks say.
-- KEYS: clients, workers, the worker's heartbeat
-- ARGV: worker_id
-- Returns: 'running' or 'stopping'; of a worker that is out: the state in which it ended, or '' if it is not known
-- Guard: a worker that is out leaves no heartbeat behind.
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if not epoch then
  local worker = redis.call('HGET', KEYS[2], ARGV[1])
  local readable, fields = pcall(cmsgpack.unpack, worker)
  return readable and type(fields) == 'table' and fields[8] or ''
end
redis.call('INCR', KEYS[3])
return string.sub(epoch, -1) == 's' and 'stopping' or 'running'

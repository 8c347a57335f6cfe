-- A sign of life of a worker, for some time.
-- KEYS: clients, workers, the worker's sign of life
-- ARGV: worker_id, for how many milliseconds
-- Returns: 'running' or 'stopping'; of a worker that takes no part: how it ended, or '' if nothing is known of it
-- Guard: a worker that is out leaves no sign of life behind.
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if not epoch then
  local worker = redis.call('HGET', KEYS[2], ARGV[1])
  local readable, fields = pcall(cmsgpack.unpack, worker)
  return readable and type(fields) == 'table' and fields[8] or ''
end
redis.call('SET', KEYS[3], '', 'PX', ARGV[2])
return string.sub(epoch, -1) == 's' and 'stopping' or 'running'

-- Send the heartbeats of workers: count one more for each. Observers see that the numbers change, whatever the clocks
-- say.
-- KEYS: clients, workers
-- ARGV: heartbeat prefix, then worker_ids
-- Returns: a list: of each worker that is out its worker_id, then the state in which it ended, or '' if it is not known
-- Guard: a worker that is out leaves no heartbeat behind.
local out = {}
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('INCR', ARGV[1] .. ARGV[i])
  else
    local readable, fields = pcall(cmsgpack.unpack, redis.call('HGET', KEYS[2], ARGV[i]))
    out[#out + 1] = ARGV[i]
    out[#out + 1] = readable and type(fields) == 'table' and fields[8] or ''
  end
end
return out

-- Send the heartbeats of workers: count one more for each. Observers see that the numbers change, whatever the clocks
-- say.
-- KEYS: clients, workers, hosts
-- ARGV: heartbeat prefix, node id, the record of its host without the time, then worker_ids; a worker that sends its own
--       heartbeat has no node: both are empty
-- Returns: a list: of each worker that is out its worker_id, then the state in which it ended, or '' if it is not known
-- Guard: a worker that is out leaves no heartbeat behind.
-- The heartbeats count even if another program spoiled the key of the hosts (hence pcall).
local out = {}
if ARGV[2] ~= '' then
  local time = redis.call('TIME')
  redis.pcall('HSET', KEYS[3], ARGV[2], ARGV[3] .. cmsgpack.pack(time[1] + time[2] / 1e6))
end
for i = 4, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    redis.call('INCR', ARGV[1] .. ARGV[i])
  else
    local readable, fields = pcall(cmsgpack.unpack, redis.call('HGET', KEYS[2], ARGV[i]))
    out[#out + 1] = ARGV[i]
    out[#out + 1] = readable and type(fields) == 'table' and fields[8] or ''
  end
end
return out

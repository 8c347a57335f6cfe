-- Prepare to sleep until a task is queued; a blocking pop of the client's wake list follows in the same send.
-- KEYS: clients, queued, idle, the client's wake list
-- ARGV: client, epoch
-- Returns: nothing. A client that is out or asked to stop does not sleep: the claim that follows tells it.
redis.call('DEL', KEYS[4])
if redis.call('LLEN', KEYS[2]) > 0 or redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  redis.call('RPUSH', KEYS[4], '')
else
  redis.call('SADD', KEYS[3], ARGV[1])
end

-- Prepare to sleep until a task is queued; a blocking pop of the client's wake list follows in the same send.
-- KEYS: clients, queued, idle, started, the client's wake list
-- ARGV: client, epoch, limit ('' for none)
-- Returns: nothing. A client that is out or asked to stop does not sleep: the claim that follows tells it.
-- What waits beyond the budget is nobody's to claim: sleep until a lost task gives its place back.
redis.call('DEL', KEYS[5])
local places = (tonumber(ARGV[3]) or math.huge) - tonumber(redis.call('GET', KEYS[4]) or 0)
if places > 0 and redis.call('LLEN', KEYS[2]) > 0 or redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then
  redis.call('RPUSH', KEYS[5], '')
else
  redis.call('SADD', KEYS[3], ARGV[1])
end

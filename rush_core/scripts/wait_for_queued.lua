-- Prepare to sleep until a task is queued; a blocking pop of the client's wake list follows in the same send.
-- KEYS: clients, queued, idle, started, the client's wake list
-- ARGV: client, epoch, limit ('' for none)
-- Returns: nothing. A client that is out or asked to stop does not sleep: the claim that follows tells it. Nor does it
--          after an error.
redis.call('DEL', KEYS[5])
local waiting, started, reply = redis.pcall('LLEN', KEYS[2]), redis.pcall('GET', KEYS[4])
if type(waiting) == 'number' and type(started) ~= 'table' then
  -- What waits beyond the budget is nobody's to claim: sleep until a lost task gives its place back.
  local most = tonumber(ARGV[3]) or math.huge
  if (waiting == 0 or most <= (tonumber(started) or 0)) and redis.pcall('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
    reply = redis.pcall('ZADD', KEYS[3], most, ARGV[1])
    if type(reply) == 'number' then return end
  end
else
  reply = type(waiting) == 'table' and waiting or started
end
redis.call('RPUSH', KEYS[5], '')
return reply

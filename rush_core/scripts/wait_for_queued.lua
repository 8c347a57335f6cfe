-- Prepare to wait until a task is queued. A blocking pop of the client's wake list follows in the same send.
-- KEYS: clients, queued, idle, started, the client's wake list
-- ARGV: client, epoch, limit ('' for none)
-- Returns: nothing. A push to the wake list ends the wait at once: if a task can be claimed, if the client is out or
--          was asked to stop (it learns this from the claim that follows), or after an error.
redis.call('DEL', KEYS[5])
local n_queued, started, reply = redis.pcall('LLEN', KEYS[2]), redis.pcall('GET', KEYS[4])
if type(n_queued) == 'number' and type(started) ~= 'table' then
  -- If the budget is used up, queued tasks cannot be claimed: wait until a lost task gives its place back.
  local limit = tonumber(ARGV[3]) or math.huge
  if (n_queued == 0 or limit <= (tonumber(started) or 0)) and redis.pcall('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
    reply = redis.pcall('ZADD', KEYS[3], limit, ARGV[1])
    if type(reply) == 'number' then return end
  end
else
  reply = type(n_queued) == 'table' and n_queued or started
end
redis.call('RPUSH', KEYS[5], '')
return reply

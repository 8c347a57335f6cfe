-- Prepare to sleep until a task is queued; a blocking pop of the client's wake list follows in the same send.
-- KEYS: clients, queued, idle, the client's wake list
-- ARGV: client, epoch
-- Returns: nothing. A client that is out or asked to stop does not sleep: the claim that follows tells it. Nor does it
--          after an error.
redis.call('DEL', KEYS[4])
local waiting = redis.pcall('LLEN', KEYS[2])
local reply = waiting
if waiting == 0 and redis.pcall('HGET', KEYS[1], ARGV[1]) == ARGV[2] then
  reply = redis.pcall('SADD', KEYS[3], ARGV[1])
  if type(reply) == 'number' then return end
end
redis.call('RPUSH', KEYS[4], '')
if type(reply) == 'table' then return reply end

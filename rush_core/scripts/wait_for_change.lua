-- Prepare to wait until the network changes. A blocking pop of the client's wake list follows in the same send.
-- KEYS: finished, failed, workers, waiting, the client's wake list, clients
-- ARGV: client, then the numbers that the client knows: of finished tasks, failed tasks, workers that ever joined,
--       clients
-- Returns: nothing. A push to the wake list ends the wait at once: if a number has changed, if the client is a worker
--          that was asked to stop (it is not woken for this a second time), or after an error.
local lengths = {redis.pcall('LLEN', KEYS[1]), redis.pcall('LLEN', KEYS[2]), redis.pcall('HLEN', KEYS[3]),
                 redis.pcall('HLEN', KEYS[6])}
local reply = redis.pcall('HGET', KEYS[6], ARGV[1])
local waits = type(reply) ~= 'table' and string.sub(reply or '', -1) ~= 's'
for i = 1, 4 do waits = waits and lengths[i] == tonumber(ARGV[1 + i]) end
if waits then
  reply = redis.pcall('SADD', KEYS[4], ARGV[1])
  if type(reply) == 'number' then return end
end
redis.call('RPUSH', KEYS[5], '')
if type(reply) == 'table' then return reply end

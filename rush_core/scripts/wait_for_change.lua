-- Prepare to sleep until something changes; a blocking pop of the client's wake list follows in the same send.
-- KEYS: finished, failed, workers, waiting, the client's wake list, clients
-- ARGV: client, how many finished tasks, failed tasks, workers that ever joined and clients the client knows of
-- Returns: nothing. A worker that is asked to stop does not sleep: nobody would wake it for that again. Nor does a
--          client after an error.
local lengths = {redis.pcall('LLEN', KEYS[1]), redis.pcall('LLEN', KEYS[2]), redis.pcall('HLEN', KEYS[3]),
                 redis.pcall('HLEN', KEYS[6])}
local reply = redis.pcall('HGET', KEYS[6], ARGV[1])
local asleep = type(reply) ~= 'table' and string.sub(reply or '', -1) ~= 's'
for i = 1, 4 do asleep = asleep and lengths[i] == tonumber(ARGV[1 + i]) end
if asleep then
  reply = redis.pcall('SADD', KEYS[4], ARGV[1])
  if type(reply) == 'number' then return end
end
redis.call('RPUSH', KEYS[5], '')
if type(reply) == 'table' then return reply end

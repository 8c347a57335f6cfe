-- Prepare to sleep until something changes; a blocking pop of the client's wake list follows in the same send.
-- KEYS: finished, failed, workers, waiting, the client's wake list
-- ARGV: client, how many finished tasks, failed tasks and workers that ever joined the client knows of
-- Returns: nothing. A client does not sleep after an error.
local lengths = {redis.pcall('LLEN', KEYS[1]), redis.pcall('LLEN', KEYS[2]), redis.pcall('HLEN', KEYS[3])}
local asleep = true
for i = 1, 3 do asleep = asleep and lengths[i] == tonumber(ARGV[1 + i]) end
local reply = asleep and redis.pcall('SADD', KEYS[4], ARGV[1])
if type(reply) == 'number' then return end
redis.call('RPUSH', KEYS[5], '')
if reply then return reply end

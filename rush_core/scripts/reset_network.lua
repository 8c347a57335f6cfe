-- Delete the tasks of a network, what was said of them and what they are about; workers, clients, loops if asked to.
-- KEYS: clients, workers, started, stop, loops, queued, running, finished, failed, idle, waiting, log, reports, unique,
--       about
-- ARGV: '1' to delete workers, clients and loops as well, wake prefix, prefix of signs of life
-- Returns: nothing. Clients that go on learn at their next command that they are out, and those that sleep now.
-- Uses: wake.lua
redis.call('DEL', KEYS[3], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[13], KEYS[14], KEYS[15])
if ARGV[1] ~= '1' then return end
local sleepers = {redis.pcall('ZRANGE', KEYS[10], 0, -1), redis.pcall('SMEMBERS', KEYS[11])}
-- Whatever another program left in a key goes, too: this is how a spoiled network is mended.
for _, client in ipairs(redis.pcall('HKEYS', KEYS[1])) do
  redis.call('DEL', ARGV[2] .. client, ARGV[3] .. client)
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[4], KEYS[5], KEYS[10], KEYS[11], KEYS[12])
for _, clients in ipairs(sleepers) do wake(clients, ARGV[2]) end

-- Delete all tasks of a network, their reports, description and notes; if asked to, also workers, clients, loops and the format.
-- KEYS: clients, workers, started, stop, loops, queued, running, finished, failed, idle, waiting, log, reports, unique,
--       about, notes, format, hosts
-- ARGV: wake prefix, heartbeat prefix, '1' to delete workers, clients, loops and the format as well
-- Returns: nothing. Clients that go on learn at their next command that they are out; those that wait are woken.
-- The memory of large keys is freed by another thread of the server (UNLINK): DEL would hold the server meanwhile.
-- Uses: wake.lua
redis.call('UNLINK', KEYS[3], KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[13], KEYS[14], KEYS[15], KEYS[16])
if ARGV[3] ~= '1' then return end
local waiting = {redis.pcall('ZRANGE', KEYS[10], 0, -1), redis.pcall('SMEMBERS', KEYS[11])}
-- A key that another program spoiled is deleted, too (hence pcall): a reset is how a spoiled network is mended.
for _, client in ipairs(redis.pcall('HKEYS', KEYS[1])) do
  redis.call('UNLINK', ARGV[1] .. client, ARGV[2] .. client)
end
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[4], KEYS[5], KEYS[10], KEYS[11], KEYS[12], KEYS[17], KEYS[18])
for _, clients in ipairs(waiting) do wake(clients, ARGV[1]) end

-- Push tasks: the given records join the end of the queue, and as many waiting workers are woken.
-- KEYS: clients, queued, idle
-- ARGV: client, epoch, wake prefix, then records
-- Returns: how many were pushed; -1: the client is out
-- Guard: the client's epoch.
-- Uses: wake.lua
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] and epoch ~= ARGV[2] .. 's' then return -1 end
-- A hundred at a time: one call for each record would take several times as long.
for i = 4, #ARGV, 100 do redis.call('RPUSH', KEYS[2], unpack(ARGV, i, math.min(i + 99, #ARGV))) end
wake_claimers(KEYS[3], #ARGV - 3, ARGV[3])
return #ARGV - 3

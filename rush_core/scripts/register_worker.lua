-- Register a worker, and wake who waits for workers.
-- KEYS: clients, workers, stop, waiting
-- ARGV: worker_id, epoch, record, wake prefix
-- Returns: its number in this network, from 0; -1: a worker of this name takes part already
-- Guard: no such worker takes part.
-- Uses: wake.lua
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return -1 end
-- A worker that comes back under its name keeps its number.
local before = redis.call('HGET', KEYS[2], ARGV[1])
local number = before and cmsgpack.unpack(before)[6] or redis.call('HLEN', KEYS[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. cmsgpack.pack(number))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. (redis.call('EXISTS', KEYS[3]) == 1 and 's' or ''))
wake_all(KEYS[4], ARGV[4])
return number

-- Register a worker, and wake who waits for workers.
-- KEYS: clients, workers, counts, stop, waiting
-- ARGV: worker_id, epoch, record, wake prefix
-- Returns: its number in this network, from 0; -1: a worker of this name takes part already
-- Guard: no such worker takes part.
-- Uses: wake.lua
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return -1 end
local number = redis.call('HINCRBY', KEYS[3], 'joined', 1) - 1
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. cmsgpack.pack(number))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. (redis.call('EXISTS', KEYS[4]) == 1 and 's' or ''))
wake_all(KEYS[5], ARGV[4])
return number

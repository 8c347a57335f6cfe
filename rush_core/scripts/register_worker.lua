-- Register a worker, and wake who waits for workers.
-- KEYS: clients, workers, stop, waiting, the worker's sign of life
-- ARGV: worker_id, epoch, record, wake prefix, for how many milliseconds it counts as alive ('' if it gives no signs),
--       '1' if it comes back after it was lost
-- Returns: its number in this network, from 0; -1: a worker of this name takes part already; -2: it was not lost
-- Guard: no such worker takes part; one that was killed or forgotten cannot come back.
-- Uses: wake.lua
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then return -1 end
-- A worker that comes back under its name keeps its number.
local before = redis.call('HGET', KEYS[2], ARGV[1])
if ARGV[6] == '1' and not (before and cmsgpack.unpack(before)[8] == 'lost') then return -2 end
local number = before and cmsgpack.unpack(before)[6] or redis.call('HLEN', KEYS[2])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. cmsgpack.pack(number))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. (redis.call('EXISTS', KEYS[3]) == 1 and 's' or ''))
if ARGV[5] ~= '' then redis.call('SET', KEYS[5], '', 'PX', ARGV[5]) end
wake_all(KEYS[4], ARGV[4])
return number

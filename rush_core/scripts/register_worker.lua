-- Register a worker, and wake the clients that wait for workers.
-- KEYS: clients, workers, stop, waiting, unwanted, the worker's heartbeat
-- ARGV: wake prefix, worker_id, epoch, record without its number, '1' if it sends heartbeats,
--       '1' if the worker returns after it was lost
-- Returns: its number in this network, from 0; -1: a worker of this name is registered; -2: it was not lost;
--          -3: its manager does not want it any more
-- Guard: no such worker is registered, unless it is this one and its reply was lost. A worker that was killed or
--        forgotten cannot return.
-- Uses: wake.lua
local before = redis.call('HGET', KEYS[2], ARGV[2])
if redis.call('HEXISTS', KEYS[1], ARGV[2]) == 1 then
  -- The same registration, sent again: no other process's record has the same start by this process's clock.
  local mine = before and string.sub(before, 1, #ARGV[4]) == ARGV[4]
  return mine and cmsgpack.unpack(string.sub(before, #ARGV[4] + 1)) or -1
end
if redis.call('SISMEMBER', KEYS[5], ARGV[2]) == 1 then return -3 end
local number = redis.call('HLEN', KEYS[2])
if before then
  -- The same registration, sent again after the worker has joined and ended.
  if string.sub(before, 2, #ARGV[4]) == string.sub(ARGV[4], 2) then return -3 end
  local readable, fields = pcall(cmsgpack.unpack, before)
  if not (readable and type(fields) == 'table' and type(fields[6]) == 'number') then
    return redis.error_reply('CORRUPT ' .. KEYS[2] .. ' holds bytes that are no record of worker ' .. ARGV[2])
  end
  if ARGV[6] == '1' and fields[8] ~= 'lost' then return -2 end
  number = fields[6] -- a name that is used again keeps its number
elseif ARGV[6] == '1' then
  return -2
end
redis.call('HSET', KEYS[2], ARGV[2], ARGV[4] .. cmsgpack.pack(number))
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3] .. (redis.call('EXISTS', KEYS[3]) == 1 and 's' or ''))
if ARGV[5] == '1' then redis.call('INCR', KEYS[6]) end
wake_all(KEYS[4], ARGV[1])
return number

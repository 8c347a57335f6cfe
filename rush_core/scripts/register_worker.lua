-- Register a worker, and wake who waits for workers.
-- KEYS: clients, workers, stop, waiting, unwanted, the worker's sign of life
-- ARGV: worker_id, epoch, record, wake prefix, for how many milliseconds it counts as alive ('' if it gives no signs),
--       '1' if it comes back after it was lost
-- Returns: its number in this network, from 0; -1: a worker of this name takes part already; -2: it was not lost;
--          -3: its manager does not want it any more
-- Guard: no such worker takes part, other than this one whose reply was lost; one that was killed or forgotten cannot
--        come back.
-- Uses: wake.lua
local before = redis.call('HGET', KEYS[2], ARGV[1])
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  -- The record holds the time by this process's own clock: nobody else's begins with the same bytes.
  local mine = before and string.sub(before, 1, #ARGV[3]) == ARGV[3]
  return mine and cmsgpack.unpack(string.sub(before, #ARGV[3] + 1)) or -1
end
if redis.call('SISMEMBER', KEYS[5], ARGV[1]) == 1 then return -3 end
local number = redis.call('HLEN', KEYS[2])
if before then
  -- The same registration, come late: the worker has joined, and ended since.
  if string.sub(before, 2, #ARGV[3]) == string.sub(ARGV[3], 2) then return -3 end
  local readable, fields = pcall(cmsgpack.unpack, before)
  if not (readable and type(fields) == 'table' and type(fields[6]) == 'number') then
    return redis.error_reply('CORRUPT ' .. KEYS[2] .. ' holds bytes that are no record of worker ' .. ARGV[1])
  end
  if ARGV[6] == '1' and fields[8] ~= 'lost' then return -2 end
  number = fields[6] -- a worker that comes back under its name keeps its number
elseif ARGV[6] == '1' then
  return -2
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3] .. cmsgpack.pack(number))
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. (redis.call('EXISTS', KEYS[3]) == 1 and 's' or ''))
if ARGV[5] ~= '' then redis.call('SET', KEYS[6], '', 'PX', ARGV[5]) end
wake_all(KEYS[4], ARGV[4])
return number

-- Start a task unless one with the same mark was started before. The mark is the first eight bytes of the key.
-- KEYS: clients, started, running, unique
-- ARGV: client, epoch, limit ('' for none), deadline ('' for none), key and running record of the task
-- Returns: 1; 0: the budget is used up; -1: the client is out; -2: it was asked to stop, or it is too late;
--          -3: the mark is taken
-- Guard: the client's epoch. Mark and place are taken in one step: of several clients that try, one wins.
-- Uses: float.lua, late.lua
local call = redis.call
local epoch = call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] then return epoch == ARGV[2] .. 's' and -2 or -1 end
if is_late(ARGV[4], ARGV[6]) then return -2 end -- a running record ends with started_at
local mark = string.sub(ARGV[5], 1, 8)
if call('SISMEMBER', KEYS[4], mark) == 1 then return -3 end
local reply = 0
if call('INCR', KEYS[2]) <= (tonumber(ARGV[3]) or math.huge) then
  reply = redis.pcall('HSET', KEYS[3], ARGV[5], ARGV[6])
  if reply == 1 then
    call('SADD', KEYS[4], mark)
    return 1
  end
end
-- The budget is used up, or another program spoiled the key.
call('DECR', KEYS[2])
return reply

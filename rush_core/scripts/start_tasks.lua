-- Start tasks: the given records become running, the first ones as far as the budget goes.
-- KEYS: clients, started, running
-- ARGV: client, epoch, limit ('' for none), deadline ('' for none), then key and running record of each task
-- Returns: how many were started; -1: the client is out; -2: it was asked to stop, or it is too late
-- Guard: the client's epoch. All places are taken in one step, so concurrent starts never exceed the limit.
-- Uses: float.lua, late.lua
local call = redis.call
local epoch = call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] then return epoch == ARGV[2] .. 's' and -2 or -1 end
if is_late(ARGV[4], ARGV[6]) then return -2 end -- a running record ends with started_at
local n = (#ARGV - 4) / 2
-- One task is the usual number. INCR is faster than INCRBY, which needs the number as text.
local started = n == 1 and call('INCR', KEYS[2]) or call('INCRBY', KEYS[2], n)
if ARGV[3] ~= '' and started > tonumber(ARGV[3]) then
  local refused = math.min(n, started - tonumber(ARGV[3]))
  call('DECRBY', KEYS[2], refused)
  n = n - refused
end
for i = 5, 3 + 2 * n, 2 do
  local written = redis.pcall('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  if type(written) == 'table' then -- another program spoiled the key, so the first task fails already
    call('DECRBY', KEYS[2], n)
    return written
  end
end
return n

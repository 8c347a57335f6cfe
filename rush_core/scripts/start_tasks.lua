-- Start tasks: given records become running, the first ones as far as the budget goes.
-- KEYS: clients, started, running
-- ARGV: client, epoch, limit ('' for none), deadline ('' for none), then key and running record of each task
-- Returns: how many were started; -1: the client is out; -2: it was asked to stop, or it is too late
-- Guard: the client's epoch. The places are taken in one step, so concurrent starts share the limit exactly.
-- Uses: late.lua
local call = redis.call
local epoch = call('HGET', KEYS[1], ARGV[1])
if epoch ~= ARGV[2] then return epoch == ARGV[2] .. 's' and -2 or -1 end
-- A running record ends with its started_at, in nine bytes.
if is_late(ARGV[4], string.sub(ARGV[6], -9)) then return -2 end
local n = (#ARGV - 4) / 2
-- One is the usual number, and INCR saves turning it into text.
local started = n == 1 and call('INCR', KEYS[2]) or call('INCRBY', KEYS[2], n)
if ARGV[3] ~= '' and started > tonumber(ARGV[3]) then
  local refused = math.min(n, started - tonumber(ARGV[3]))
  call('DECRBY', KEYS[2], refused)
  n = n - refused
end
for i = 5, 3 + 2 * n, 2 do
  local written = redis.pcall('HSET', KEYS[3], ARGV[i], ARGV[i + 1])
  if type(written) == 'table' then -- another program spoiled the key: at the first task, or not at all
    call('DECRBY', KEYS[2], n)
    return written
  end
end
return n

-- Renew a client's epoch. No command that the client sent before can be executed after this.
-- KEYS: clients
-- ARGV: client, new epoch, '1' to register a client that is not registered yet
-- Returns: 1; -1: the client is out
-- Guard: epochs only grow, so that a delayed renewal changes nothing.
local epoch = redis.call('HGET', KEYS[1], ARGV[1])
if not epoch and ARGV[3] ~= '1' then return -1 end
local number, stop = string.match(epoch or '0', '^(%d+)(s?)$')
if not number then
  return redis.error_reply('CORRUPT ' .. KEYS[1] .. ' holds bytes that are no epoch of client ' .. ARGV[1])
end
if tonumber(number) < tonumber(ARGV[2]) then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. stop)
end
return 1

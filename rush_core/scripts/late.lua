-- Tell whether it is too late to start tasks. Put in front of the scripts that use it.
-- Both must lie before the deadline: the start that the record tells, and this moment, for a command can be held up.
local function is_late(deadline, started_at)
  if deadline == '' then return false end
  local time = redis.call('TIME')
  return math.max(time[1] + time[2] / 1e6, cmsgpack.unpack(started_at)) >= tonumber(deadline)
end

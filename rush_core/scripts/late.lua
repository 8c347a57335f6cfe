-- Tell whether the deadline has passed. Put in front of the scripts that use it, after float.lua.
-- The second argument ends with a packed started_at. Two times are checked: this one, which the record will state, and
-- the server's own, because a command may be held up on its way. Both must lie before the deadline.
local function is_late(deadline, record)
  if deadline == '' then return false end
  local time, started_at = redis.call('TIME'), cmsgpack.unpack(string.sub(record, -FLOAT_SIZE))
  return math.max(time[1] + time[2] / 1e6, started_at) >= tonumber(deadline)
end
